"""A runner has each call computed where that holds up nobody, and takes its share of the cores."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from app.errors import Draining, Overloaded
from app.inference.forecaster import Forecaster
from app.serving.batcher import BULK_WINDOWS, Call
from app.serving.model_runner import QUICK_WINDOWS_PER_S, ModelRunner


@dataclass
class FakeEngine:
    """What a runner asks of an engine."""

    concurrent_calls: int = 2
    preferred_batch_windows: int = 32
    is_on_device: bool = False


@dataclass
class FakeForecaster:
    """Answers each window with itself, in upper case; calls may wait for `go`, and all remembers where it was done."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    calls: list[list[bytes]] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)  # that computed, by the first word of their names
    others: list[str] = field(default_factory=list)  # that did what comes before and after
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go.set()

    def forecast_packed(self, windows: list[bytes]) -> list[bytes]:
        return self.postprocess(self.preprocess(windows), self.infer(windows))

    def preprocess(self, windows: list[bytes]) -> list[bytes]:
        self.others.append(this_thread())
        return windows

    def infer(self, windows: list[bytes]) -> int:
        self.calls.append(windows)
        self.threads.append(this_thread())
        self.begun.release()
        assert self.go.wait(60)
        return len(windows)

    def postprocess(self, windows: list[bytes], outputs: int) -> list[bytes]:
        self.others.append(this_thread())
        assert outputs == len(windows)
        return [window.upper() for window in windows]


def this_thread() -> str:
    return threading.current_thread().name.partition("_")[0]


LOOP = this_thread()


def started(forecaster: FakeForecaster, **how: Any) -> ModelRunner:
    usual: dict[str, Any] = {
        "engine_threads": 0,
        "server_processes": 1,
        "max_batch_windows": 0,
        "max_queued_windows": 1000,
        "delay_s": 0.0,
        "on_call": lambda call: None,
        "on_joined": lambda windows: None,
        "on_death": lambda error: None,
    }
    return ModelRunner(cast("Forecaster", forecaster), **usual | how)


def windows(count: int, first: int = 0) -> list[bytes]:
    return [b"w%d" % number for number in range(first, first + count)]


async def asked(runner: ModelRunner, count: int, first: int = 0) -> None:
    wanted = windows(count, first)
    answers: Sequence[object] = await runner.submit(wanted)
    assert answers == [window.upper() for window in wanted]


async def begun(forecaster: FakeForecaster) -> None:
    """Waits until another call runs."""
    assert await asyncio.to_thread(forecaster.begun.acquire, timeout=60)


# Where


def test_a_lone_window_is_computed_in_the_loop_once_the_model_is_known_to_be_quick() -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster()
        runner = started(forecaster)
        await asked(runner, 1)
        runner.batcher.throughput.windows_per_s = QUICK_WINDOWS_PER_S
        await asked(runner, 1)
        runner.batcher.throughput.windows_per_s = QUICK_WINDOWS_PER_S + 1
        await asked(runner, 1)
        await runner.close(0)
        return forecaster.threads

    assert asyncio.run(scenario()) == ["engine", "engine", LOOP]


def test_a_model_on_a_device_never_holds_up_the_loop() -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster(FakeEngine(is_on_device=True))
        runner = started(forecaster)
        runner.batcher.throughput.windows_per_s = QUICK_WINDOWS_PER_S * 10
        await asked(runner, 1)
        await runner.close(0)
        return [*forecaster.threads, *forecaster.others]

    assert asyncio.run(scenario()) == ["engine"] * 3


def test_beside_the_loop_only_the_network_is_computed() -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        forecaster = FakeForecaster()
        runner = started(forecaster)
        await asked(runner, 2)
        await runner.close(0)
        return forecaster.threads, forecaster.others

    threads, others = asyncio.run(scenario())
    assert set(threads) == {"engine"}
    assert set(others) == {LOOP}


def test_a_window_that_is_not_alone_is_computed_beside_the_loop() -> None:
    async def scenario() -> tuple[list[str], list[list[bytes]]]:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1))
        forecaster.go.clear()
        runner = started(forecaster, max_batch_windows=1)
        runner.batcher.throughput.windows_per_s = QUICK_WINDOWS_PER_S * 10
        asking = [asyncio.create_task(asked(runner, 1, first)) for first in range(2)]
        await begun(forecaster)
        forecaster.go.set()
        await asyncio.gather(*asking)
        await runner.close(0)
        return forecaster.threads, forecaster.calls

    threads, calls = asyncio.run(scenario())
    assert sorted(calls) == [[b"w0"], [b"w1"]]
    assert set(threads) == {"engine"}


def test_two_windows_of_one_request_are_computed_beside_the_loop() -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster()
        runner = started(forecaster)
        runner.batcher.throughput.windows_per_s = QUICK_WINDOWS_PER_S * 10
        await asked(runner, 2)
        await runner.close(0)
        return forecaster.threads

    assert set(asyncio.run(scenario())) == {"engine"}


@pytest.mark.parametrize(("count", "thread"), [(BULK_WINDOWS, "bulk"), (BULK_WINDOWS - 1, "engine"), (1, "engine")])
def test_large_requests_have_all_cores_and_small_ones_leave_one_to_the_loop(count: int, thread: str) -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster()
        runner = started(forecaster)
        await asked(runner, count)
        await runner.close(0)
        return forecaster.threads

    assert asyncio.run(scenario())[0] == thread


def test_many_small_requests_are_no_bulk() -> None:
    async def scenario() -> set[str]:
        forecaster = FakeForecaster()
        runner = started(forecaster)
        await asyncio.gather(*[asked(runner, 1, first) for first in range(50)])
        await runner.close(0)
        return set(forecaster.threads)

    assert asyncio.run(scenario()) <= {"engine", LOOP}


@pytest.mark.parametrize(
    ("engine", "settings", "few", "many", "calls"),
    [
        (FakeEngine(concurrent_calls=1), {}, 1, 1, 2),
        (FakeEngine(concurrent_calls=2), {}, 1, 2, 2),
        (FakeEngine(concurrent_calls=8), {}, 7, 8, 14),
        (FakeEngine(concurrent_calls=8), {"server_processes": 2}, 3, 4, 6),
        (FakeEngine(concurrent_calls=2), {"server_processes": 4}, 1, 1, 2),
        (FakeEngine(concurrent_calls=8), {"engine_threads": 3}, 3, 3, 6),
        (FakeEngine(concurrent_calls=8), {"engine_threads": 3, "server_processes": 4}, 3, 3, 6),
        (FakeEngine(concurrent_calls=2, is_on_device=True), {}, 2, 2, 4),
    ],
)
def test_a_worker_takes_its_share_of_the_cores_and_has_a_call_ready_for_each(
    engine: FakeEngine, settings: dict[str, int], few: int, many: int, calls: int
) -> None:
    async def scenario() -> None:
        runner = started(FakeForecaster(engine), **settings)
        assert runner._beside_the_loop._max_workers == few
        assert runner._all_cores._max_workers == many
        assert (runner._all_cores is runner._beside_the_loop) == (few == many)
        assert runner.batcher._concurrent_calls == calls
        assert runner.batcher._bulk_concurrent_calls == 2 * many
        await runner.close(0)

    asyncio.run(scenario())


@pytest.mark.parametrize(("set_to", "most"), [(0, 32), (5, 5)])
def test_a_call_is_as_large_as_suits_the_engine_unless_that_is_set(set_to: int, most: int) -> None:
    async def scenario() -> list[list[bytes]]:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1))
        runner = started(forecaster, max_batch_windows=set_to)
        await asked(runner, 100)
        await runner.close(0)
        return forecaster.calls

    assert max(map(len, asyncio.run(scenario()))) == most


# As a batcher


def test_it_tells_of_calls_and_of_what_was_joined() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster()
        told: list[Call] = []
        joined: list[int] = []
        runner = started(forecaster, on_call=told.append, on_joined=joined.append)
        forecaster.go.clear()
        asking = asyncio.create_task(asked(runner, 2))
        await begun(forecaster)
        again = asyncio.create_task(asked(runner, 2))
        await asyncio.sleep(0)
        forecaster.go.set()
        await asyncio.gather(asking, again)
        assert sum(call.windows for call in told) == 2
        assert joined == [2]
        await runner.close(0)

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_so_does_what_asks_before_reading() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1, preferred_batch_windows=1))
        forecaster.go.clear()
        runner = started(forecaster, max_queued_windows=2)
        runner.reject_early(2, 1.0)
        asking = [asyncio.create_task(asked(runner, 2))]
        await begun(forecaster)
        asking.append(asyncio.create_task(asked(runner, 2, 10)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await runner.submit(windows(3, 20))
        with pytest.raises(Overloaded):
            runner.reject_early(3, 1.0)
        forecaster.go.set()
        await asyncio.gather(*asking)
        await runner.close(0)

    asyncio.run(scenario())


def test_it_is_healthy_until_it_closes_or_its_batcher_dies() -> None:
    async def scenario() -> None:
        deaths: list[BaseException] = []
        error = LookupError("no such metric")

        def breaks(call: Call) -> None:
            raise error

        closing, dying = started(FakeForecaster()), started(FakeForecaster(), on_call=breaks, on_death=deaths.append)
        assert closing.healthy
        assert dying.healthy
        await closing.close(0)
        assert not closing.healthy
        with pytest.raises(Exception, match="the batcher of this model has stopped"):
            await dying.submit(windows(1))
        assert not dying.healthy
        assert deaths == [error]
        await dying.close(0)

    asyncio.run(scenario())


def test_closing_waits_for_what_was_accepted_and_ends_the_threads() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster()
        runner = started(forecaster)
        forecaster.go.clear()
        asking = asyncio.create_task(asked(runner, 20))
        await begun(forecaster)
        closing = asyncio.create_task(runner.close(60))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await runner.submit(windows(1))
        assert not closing.done()
        forecaster.go.set()
        await asking
        await closing
        for pool in (runner._beside_the_loop, runner._all_cores):
            with pytest.raises(RuntimeError, match="after shutdown"):
                pool.submit(lambda: None)
            for thread in pool._threads:
                thread.join(60)
                assert not thread.is_alive()

    asyncio.run(scenario())


def test_what_is_closed_lets_go_of_its_forecaster_at_once() -> None:
    """Not when garbage is next collected: a server collects hardly any."""

    async def scenario() -> "weakref.ref[FakeForecaster]":
        forecaster = FakeForecaster()
        runner = started(forecaster)
        await asked(runner, 20)
        await runner.close(60)
        for thread in runner._all_cores._threads:  # one may not have come yet to letting go of its last call
            thread.join(60)
        return weakref.ref(forecaster)

    gc.disable()
    try:
        assert asyncio.run(scenario())() is None
    finally:
        gc.enable()


def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1, preferred_batch_windows=1))
        runner = started(forecaster)
        forecaster.go.clear()
        asking = asyncio.create_task(runner.submit(windows(5)))
        await begun(forecaster)
        await runner.close(0)
        with pytest.raises(Draining):
            await asking
        forecaster.go.set()
        for thread in runner._beside_the_loop._threads:
            await asyncio.to_thread(thread.join, 60)
        assert len(forecaster.calls) == 1  # what had not begun never does

    asyncio.run(scenario())
