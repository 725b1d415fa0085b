"""The virtual loop: time that jumps, timers in order, and no waiting for what cannot come."""

import asyncio

import pytest

from tests.virtual_time import Deadlock, Unhandled, in_virtual_time, now, run, until

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
