"""Tests of the model runner: which thread runs a call, how many threads there are, and how it closes."""

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
from app.serving.model_runner import INLINE_WINDOWS_PER_S, ModelRunner


@dataclass
class FakeEngine:
    """The properties of an engine that a runner uses."""

    concurrent_calls: int = 2
    preferred_batch_windows: int = 32
    is_on_device: bool = False


@dataclass
class FakeForecaster:
    """Answers each window with its bytes in upper case.

    Attributes:
        engine: Only its properties are used.
        calls: The windows of each call of the network.
        compute_threads: The kinds of thread that ran the network: `engine`, `bulk` or `MainThread`.
        other_threads: The kinds of thread that ran preprocessing and postprocessing.
        started: Released whenever the network starts.
        may_finish: The network waits for this event.
    """

    engine: FakeEngine = field(default_factory=FakeEngine)
    calls: list[list[bytes]] = field(default_factory=list)
    compute_threads: list[str] = field(default_factory=list)
    other_threads: list[str] = field(default_factory=list)
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    may_finish: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_finish.set()

    def forecast_packed(self, windows: list[bytes]) -> list[bytes]:
        return self.postprocess(self.preprocess(windows), self.infer(windows))

    def preprocess(self, windows: list[bytes]) -> list[bytes]:
        self.other_threads.append(this_thread())
        return windows

    def infer(self, windows: list[bytes]) -> int:
        self.calls.append(windows)
        self.compute_threads.append(this_thread())
        self.started.release()
        assert self.may_finish.wait(60)
        return len(windows)

    def postprocess(self, windows: list[bytes], outputs: int) -> list[bytes]:
        self.other_threads.append(this_thread())
        assert outputs == len(windows)
        return [window.upper() for window in windows]


def this_thread() -> str:
    """Return the kind of the running thread: the first word of its name."""
    return threading.current_thread().name.partition("_")[0]


EVENT_LOOP = this_thread()


def start_runner(forecaster: FakeForecaster, **options: Any) -> ModelRunner:
    defaults: dict[str, Any] = {
        "engine_threads": 0,
        "server_processes": 1,
        "max_batch_windows": 0,
        "max_queued_windows": 1000,
        "delay_s": 0.0,
        "on_call": lambda call: None,
        "on_coalesced": lambda windows: None,
        "on_death": lambda error: None,
    }
    return ModelRunner(cast("Forecaster", forecaster), **defaults | options)


def windows(count: int, first: int = 0) -> list[bytes]:
    return [b"w%d" % number for number in range(first, first + count)]


async def request(runner: ModelRunner, count: int, first: int = 0) -> None:
    """Request windows and check the results."""
    wanted = windows(count, first)
    results: Sequence[object] = await runner.submit(wanted)
    assert results == [window.upper() for window in wanted]


async def next_call(forecaster: FakeForecaster) -> None:
    """Wait until another call runs."""
    assert await asyncio.to_thread(forecaster.started.acquire, timeout=60)


def test_lone_window_of_a_fast_model_runs_in_the_event_loop() -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        await request(runner, 1)
        runner.batcher.throughput.windows_per_s = INLINE_WINDOWS_PER_S
        await request(runner, 1)
        runner.batcher.throughput.windows_per_s = INLINE_WINDOWS_PER_S + 1
        await request(runner, 1)
        await runner.close(0)
        return forecaster.compute_threads

    assert asyncio.run(scenario()) == ["engine", "engine", EVENT_LOOP]


def test_model_on_a_device_never_runs_in_the_event_loop() -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster(FakeEngine(is_on_device=True))
        runner = start_runner(forecaster)
        runner.batcher.throughput.windows_per_s = INLINE_WINDOWS_PER_S * 10
        await request(runner, 1)
        await runner.close(0)
        return [*forecaster.compute_threads, *forecaster.other_threads]

    assert asyncio.run(scenario()) == ["engine"] * 3


def test_engine_thread_runs_only_the_network() -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        await request(runner, 2)
        await runner.close(0)
        return forecaster.compute_threads, forecaster.other_threads

    threads, others = asyncio.run(scenario())
    assert set(threads) == {"engine"}
    assert set(others) == {EVENT_LOOP}


def test_window_that_is_not_alone_runs_in_an_engine_thread() -> None:
    async def scenario() -> tuple[list[str], list[list[bytes]]]:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1))
        forecaster.may_finish.clear()
        runner = start_runner(forecaster, max_batch_windows=1)
        runner.batcher.throughput.windows_per_s = INLINE_WINDOWS_PER_S * 10
        requests = [asyncio.create_task(request(runner, 1, first)) for first in range(2)]
        await next_call(forecaster)
        forecaster.may_finish.set()
        await asyncio.gather(*requests)
        await runner.close(0)
        return forecaster.compute_threads, forecaster.calls

    threads, calls = asyncio.run(scenario())
    assert sorted(calls) == [[b"w0"], [b"w1"]]
    assert set(threads) == {"engine"}


def test_two_windows_of_one_request_run_in_engine_threads() -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        runner.batcher.throughput.windows_per_s = INLINE_WINDOWS_PER_S * 10
        await request(runner, 2)
        await runner.close(0)
        return forecaster.compute_threads

    assert set(asyncio.run(scenario())) == {"engine"}


@pytest.mark.parametrize(("count", "thread"), [(BULK_WINDOWS, "bulk"), (BULK_WINDOWS - 1, "engine"), (1, "engine")])
def test_request_size_decides_between_engine_and_bulk_threads(count: int, thread: str) -> None:
    async def scenario() -> list[str]:
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        await request(runner, count)
        await runner.close(0)
        return forecaster.compute_threads

    assert asyncio.run(scenario())[0] == thread


def test_many_small_requests_are_not_bulk() -> None:
    async def scenario() -> set[str]:
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        await asyncio.gather(*[request(runner, 1, first) for first in range(50)])
        await runner.close(0)
        return set(forecaster.compute_threads)

    assert asyncio.run(scenario()) <= {"engine", EVENT_LOOP}


@pytest.mark.parametrize(
    ("engine", "settings", "threads", "bulk_threads", "concurrent_calls"),
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
def test_threads_and_concurrent_calls_fit_the_share_of_cores(
    engine: FakeEngine, settings: dict[str, int], threads: int, bulk_threads: int, concurrent_calls: int
) -> None:
    async def scenario() -> None:
        runner = start_runner(FakeForecaster(engine), **settings)
        assert runner._threads._max_workers == threads
        assert runner._bulk_threads._max_workers == bulk_threads
        assert (runner._bulk_threads is runner._threads) == (threads == bulk_threads)
        assert runner.batcher._concurrent_calls == concurrent_calls
        assert runner.batcher._bulk_concurrent_calls == 2 * bulk_threads
        await runner.close(0)

    asyncio.run(scenario())


@pytest.mark.parametrize(("setting", "largest"), [(0, 32), (5, 5)])
def test_max_batch_windows_defaults_to_the_engine(setting: int, largest: int) -> None:
    async def scenario() -> list[list[bytes]]:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1))
        runner = start_runner(forecaster, max_batch_windows=setting)
        await request(runner, 100)
        await runner.close(0)
        return forecaster.calls

    assert max(map(len, asyncio.run(scenario()))) == largest


def test_callbacks_report_calls_and_coalesced_windows() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster()
        calls: list[Call] = []
        coalesced: list[int] = []
        runner = start_runner(forecaster, on_call=calls.append, on_coalesced=coalesced.append)
        forecaster.may_finish.clear()
        first = asyncio.create_task(request(runner, 2))
        await next_call(forecaster)
        second = asyncio.create_task(request(runner, 2))
        await asyncio.sleep(0)
        forecaster.may_finish.set()
        await asyncio.gather(first, second)
        assert sum(call.windows for call in calls) == 2
        assert coalesced == [2]
        await runner.close(0)

    asyncio.run(scenario())


def test_full_queue_rejects_submit_and_reject_early() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1, preferred_batch_windows=1))
        forecaster.may_finish.clear()
        runner = start_runner(forecaster, max_queued_windows=2)
        runner.reject_early(2, 1.0)
        requests = [asyncio.create_task(request(runner, 2))]
        await next_call(forecaster)
        requests.append(asyncio.create_task(request(runner, 2, 10)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await runner.submit(windows(3, 20))
        with pytest.raises(Overloaded):
            runner.reject_early(3, 1.0)
        forecaster.may_finish.set()
        await asyncio.gather(*requests)
        await runner.close(0)

    asyncio.run(scenario())


def test_is_healthy_until_closed_or_dead() -> None:
    async def scenario() -> None:
        deaths: list[BaseException] = []
        error = LookupError("no such metric")

        def fail(call: Call) -> None:
            raise error

        closing = start_runner(FakeForecaster())
        dying = start_runner(FakeForecaster(), on_call=fail, on_death=deaths.append)
        assert closing.is_healthy
        assert dying.is_healthy
        await closing.close(0)
        assert not closing.is_healthy
        with pytest.raises(Exception, match="this model has failed and must be reloaded"):
            await dying.submit(windows(1))
        assert not dying.is_healthy
        assert deaths == [error]
        await dying.close(0)

    asyncio.run(scenario())


def test_close_finishes_accepted_requests_and_stops_threads() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        forecaster.may_finish.clear()
        accepted = asyncio.create_task(request(runner, 20))
        await next_call(forecaster)
        closing = asyncio.create_task(runner.close(60))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await runner.submit(windows(1))
        assert not closing.done()
        forecaster.may_finish.set()
        await accepted
        await closing
        for pool in (runner._threads, runner._bulk_threads):
            with pytest.raises(RuntimeError, match="after shutdown"):
                pool.submit(lambda: None)
            for thread in pool._threads:
                thread.join(60)
                assert not thread.is_alive()

    asyncio.run(scenario())


def test_close_releases_the_forecaster_immediately() -> None:
    """Without garbage collection, which hardly ever runs in a server."""

    async def scenario() -> "weakref.ref[FakeForecaster]":
        forecaster = FakeForecaster()
        runner = start_runner(forecaster)
        await request(runner, 20)
        await runner.close(60)
        for thread in runner._bulk_threads._threads:  # a thread may still hold its last call
            thread.join(60)
        return weakref.ref(forecaster)

    gc.disable()
    try:
        assert asyncio.run(scenario())() is None
    finally:
        gc.enable()


def test_close_does_not_wait_for_a_hanging_call() -> None:
    async def scenario() -> None:
        forecaster = FakeForecaster(FakeEngine(concurrent_calls=1, preferred_batch_windows=1))
        runner = start_runner(forecaster)
        forecaster.may_finish.clear()
        accepted = asyncio.create_task(runner.submit(windows(5)))
        await next_call(forecaster)
        await runner.close(0)
        with pytest.raises(Draining):
            await accepted
        forecaster.may_finish.set()
        for thread in runner._threads._threads:
            await asyncio.to_thread(thread.join, 60)
        assert len(forecaster.calls) == 1  # calls that had not started never do

    asyncio.run(scenario())
