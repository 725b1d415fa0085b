"""The virtual loop: time that jumps, timers in order, and no waiting for what cannot come."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.virtual_time import Deadlock, Unhandled, VirtualTimeLoop, in_virtual_time, now, run, until

HOUR_S = 3600.0
MONTH_S = 30 * 24 * HOUR_S


def test_time_starts_at_zero_and_stands_still_while_something_is_ready() -> None:
    async def busy() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return now()

    assert run(busy()) == 0.0


@pytest.mark.parametrize("seconds", [2**-30, 0.1, HOUR_S, MONTH_S])
def test_a_sleep_takes_its_virtual_time_and_no_other(seconds: float) -> None:
    async def sleeper() -> float:
        await asyncio.sleep(seconds)
        return now()

    assert run(sleeper()) == seconds  # if it really slept, a month would be noticed


def test_timers_fire_in_the_order_of_their_times_each_at_its_own() -> None:
    async def sleepers() -> list[tuple[str, float]]:
        fired: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append((name, now()))

        await asyncio.gather(sleeper("late", 2 * HOUR_S), sleeper("soon", 0.25), sleeper("later", 1.5))
        return fired

    assert run(sleepers()) == [("soon", 0.25), ("later", 1.5), ("late", 2 * HOUR_S)]


def test_a_cancelled_timer_does_not_carry_the_clock_along() -> None:
    async def scenario() -> float:
        asyncio.get_running_loop().call_later(HOUR_S, lambda: None).cancel()
        await asyncio.sleep(1)
        return now()

    assert run(scenario()) == 1.0


def test_a_timeout_works_in_virtual_time() -> None:
    async def scenario() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(HOUR_S):
                await asyncio.sleep(MONTH_S)
        return now()

    assert run(scenario()) == HOUR_S


def test_until_sleeps_to_a_time_and_not_back() -> None:
    async def scenario() -> list[float]:
        times = []
        for at_s in (1.0, 3.5, 2.0):
            await until(at_s)
            times.append(now())
        return times

    assert run(scenario()) == [1.0, 3.5, 3.5]


def test_a_wake_up_through_the_pipe_is_neither_a_deadlock_nor_time() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        loop.call_soon(loop.call_soon_threadsafe, woken.set_result, None)
        loop.call_later(HOUR_S, lambda: None)
        await woken
        await asyncio.sleep(1)
        return now()

    assert run(scenario()) == 1.0


def test_waiting_for_what_cannot_come_is_a_deadlock() -> None:
    async def scenario() -> None:
        await asyncio.sleep(1)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="deadlock: nothing is ready and nothing is scheduled"):
        run(scenario())


def test_time_ends_for_what_never_does() -> None:
    async def polls() -> None:
        def again() -> None:
            asyncio.get_running_loop().call_later(HOUR_S, again)

        again()
        await asyncio.Event().wait()

    with pytest.raises(OverflowError, match="still not done after 4194304 s"):
        run(polls())


def test_what_is_left_behind_is_cancelled() -> None:
    ends: list[str] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def scenario() -> asyncio.Task[None]:
        task = asyncio.create_task(left())
        await asyncio.sleep(1)
        return task

    assert run(scenario()).cancelled()
    assert ends == ["cancelled"]


def test_a_failure_comes_through_and_the_loop_is_closed() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def scenario() -> None:
        loops.append(asyncio.get_running_loop())
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        run(scenario())
    assert [loop.is_closed() for loop in loops] == [True]


def test_a_callback_that_fails_unseen_is_told() -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(Unhandled) as caught:
        run(scenario())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_task_that_fails_unseen_is_told() -> None:
    async def fails() -> None:
        raise LookupError("unseen")

    async def scenario() -> None:
        task = asyncio.create_task(fails())
        await asyncio.sleep(1)
        del task

    with pytest.raises(Unhandled) as caught:
        run(scenario())
    assert isinstance(caught.value.__cause__, LookupError)


def test_the_decorator_makes_an_async_function_a_plain_one() -> None:
    @in_virtual_time
    async def sleeps(seconds: float, *, twice: bool) -> float:
        await asyncio.sleep(seconds * (2 if twice else 1))
        return now()

    assert sleeps(HOUR_S, twice=True) == 2 * HOUR_S
    assert sleeps.__name__ == "sleeps"


@pytest.fixture
def loop() -> Iterator[VirtualTimeLoop]:
    """One to be driven from outside."""
    loop = VirtualTimeLoop()
    yield loop
    loop.close()


def test_a_turn_runs_what_is_ready_and_not_what_that_makes_ready(loop: VirtualTimeLoop) -> None:
    happened: list[str] = []
    loop.call_soon(lambda: loop.call_soon(happened.append, "next"))
    loop.call_soon(happened.append, "now")
    loop.turn()
    assert happened == ["now"]
    loop.turn()
    assert happened == ["now", "next"]


def test_settling_runs_all_that_needs_no_time(loop: VirtualTimeLoop) -> None:
    async def counts(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    counting, sleeping = loop.create_task(counts(100)), loop.create_task(asyncio.sleep(HOUR_S))
    loop.settle()
    assert counting.result() == 100
    assert not sleeping.done()
    assert loop.time() == 0.0
    loop.run_until_complete(sleeping)  # and afterwards time jumps as ever
    assert loop.time() == HOUR_S


def test_settling_where_nothing_is_left_to_do_is_no_deadlock(loop: VirtualTimeLoop) -> None:
    loop.settle()
    loop.settle()
    assert loop.time() == 0.0


def test_time_advances_by_what_was_asked_and_what_happens_at_its_end_settles(loop: VirtualTimeLoop) -> None:
    happened: list[tuple[str, float]] = []

    def note(what: str) -> None:
        happened.append((what, loop.time()))

    loop.call_later(1.0, note, "before")
    loop.call_later(2.0, lambda: loop.call_soon(note, "just now"))
    loop.call_later(2.25, note, "after")
    loop.advance(2.0)
    assert happened == [("before", 1.0), ("just now", 2.0)]
    assert loop.time() == 2.0
