"""Tests of the event loop with virtual time."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.virtual_time import Deadlock, Unhandled, VirtualTimeLoop, in_virtual_time, now, run, sleep_until

HOUR_S = 3600.0
MONTH_S = 30 * 24 * HOUR_S


def test_time_stands_still_while_callbacks_are_ready() -> None:
    async def busy() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return now()

    assert run(busy()) == 0.0


@pytest.mark.parametrize("seconds", [2**-30, 0.1, HOUR_S, MONTH_S])
def test_sleep_takes_virtual_time_only(seconds: float) -> None:
    async def sleeper() -> float:
        await asyncio.sleep(seconds)
        return now()

    assert run(sleeper()) == seconds  # a real sleep of a month would not go unnoticed


def test_timers_fire_in_order_at_their_times() -> None:
    async def sleepers() -> list[tuple[str, float]]:
        fired: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append((name, now()))

        await asyncio.gather(sleeper("late", 2 * HOUR_S), sleeper("soon", 0.25), sleeper("later", 1.5))
        return fired

    assert run(sleepers()) == [("soon", 0.25), ("later", 1.5), ("late", 2 * HOUR_S)]


def test_cancelled_timer_does_not_move_the_clock() -> None:
    async def scenario() -> float:
        asyncio.get_running_loop().call_later(HOUR_S, lambda: None).cancel()
        await asyncio.sleep(1)
        return now()

    assert run(scenario()) == 1.0


def test_timeout_fires_in_virtual_time() -> None:
    async def scenario() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HOUR_S):
                await asyncio.sleep(MONTH_S)
        return now()

    assert run(scenario()) == HOUR_S


def test_sleep_until_past_time_returns_immediately() -> None:
    async def scenario() -> list[float]:
        times = []
        for at_s in (1.0, 3.5, 2.0):
            await sleep_until(at_s)
            times.append(now())
        return times

    assert run(scenario()) == [1.0, 3.5, 3.5]


def test_call_soon_threadsafe_wakes_loop_without_advancing_time() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        loop.call_soon(loop.call_soon_threadsafe, woken.set_result, None)
        loop.call_later(HOUR_S, lambda: None)
        await woken
        await asyncio.sleep(1)
        return now()

    assert run(scenario()) == 1.0


def test_run_waiting_forever_raises_deadlock() -> None:
    async def scenario() -> None:
        await asyncio.sleep(1)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="deadlock: no callback is ready and no timer is scheduled"):
        run(scenario())


def test_run_that_never_ends_raises_overflow() -> None:
    async def poll_forever() -> None:
        def again() -> None:
            asyncio.get_running_loop().call_later(HOUR_S, again)

        again()
        await asyncio.Event().wait()

    with pytest.raises(OverflowError, match="still not done after 4194304 s"):
        run(poll_forever())


def test_run_cancels_the_tasks_left_behind() -> None:
    ends: list[str] = []

    async def wait_forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def scenario() -> asyncio.Task[None]:
        task = asyncio.create_task(wait_forever())
        await asyncio.sleep(1)
        return task

    assert run(scenario()).cancelled()
    assert ends == ["cancelled"]


def test_run_that_fails_raises_and_closes_the_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def scenario() -> None:
        loops.append(asyncio.get_running_loop())
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        run(scenario())
    assert [loop.is_closed() for loop in loops] == [True]


def test_run_with_failed_callback_raises_unhandled() -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(Unhandled) as caught:
        run(scenario())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_run_with_failed_task_raises_unhandled() -> None:
    async def fails() -> None:
        raise LookupError("unnoticed")

    async def scenario() -> None:
        task = asyncio.create_task(fails())
        await asyncio.sleep(1)
        del task

    with pytest.raises(Unhandled) as caught:
        run(scenario())
    assert isinstance(caught.value.__cause__, LookupError)


def test_in_virtual_time_wraps_async_test_as_sync() -> None:
    @in_virtual_time
    async def sleeps(seconds: float, *, twice: bool) -> float:
        await asyncio.sleep(seconds * (2 if twice else 1))
        return now()

    assert sleeps(HOUR_S, twice=True) == 2 * HOUR_S
    assert sleeps.__name__ == "sleeps"


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    """A loop that the test drives itself."""
    loop = VirtualTimeLoop()
    yield loop
    loop.close()


def test_run_once_runs_ready_callbacks_only(loop: VirtualTimeLoop) -> None:
    happened: list[str] = []
    loop.call_soon(lambda: loop.call_soon(happened.append, "next"))
    loop.call_soon(happened.append, "now")
    loop.run_once()
    assert happened == ["now"]
    loop.run_once()
    assert happened == ["now", "next"]


def test_settle_runs_everything_that_takes_no_time(loop: VirtualTimeLoop) -> None:
    async def counts(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    counting, sleeping = loop.create_task(counts(100)), loop.create_task(asyncio.sleep(HOUR_S))
    loop.settle()
    assert counting.result() == 100
    assert not sleeping.done()
    assert loop.time() == 0.0
    loop.run_until_complete(sleeping)  # afterwards, time jumps as usual
    assert loop.time() == HOUR_S


def test_settle_with_nothing_to_do_is_no_deadlock(loop: VirtualTimeLoop) -> None:
    loop.settle()
    loop.settle()
    assert loop.time() == 0.0


def test_advance_runs_due_timers_and_settles(loop: VirtualTimeLoop) -> None:
    happened: list[tuple[str, float]] = []

    def record(event: str) -> None:
        happened.append((event, loop.time()))

    loop.call_later(1.0, record, "before")
    loop.call_later(2.0, lambda: loop.call_soon(record, "just now"))
    loop.call_later(2.25, record, "after")
    loop.advance(2.0)
    assert happened == [("before", 1.0), ("just now", 2.0)]
    assert loop.time() == 2.0
