"""Cheap time limits: never early, hardly late, and nothing left behind."""

import asyncio

import pytest

from app.api.timeouts import TICK_S, DeadlineScope, TimeoutScheduler
from tests.virtual_time import in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


@in_virtual_time
@pytest.mark.parametrize("after_s", [0.0, 0.01, TICK_S, 0.12, 3.3])
async def test_it_calls_back_once_never_early_and_at_most_a_tick_late(after_s: float) -> None:
    called: list[float] = []
    ticker = TimeoutScheduler()
    began = now()
    ticker.set(lambda: called.append(now() - began), after_s)
    await asyncio.sleep(10)
    [at] = called
    assert after_s <= at <= after_s + TICK_S + 1e-9


@in_virtual_time
async def test_what_is_cancelled_is_not_called_and_cancelling_twice_is_fine() -> None:
    called: list[str] = []
    ticker = TimeoutScheduler()

    def callback() -> None:
        called.append("cancelled")

    ticker.set(callback, 0.1)
    ticker.set(lambda: called.append("kept"), 0.2)
    ticker.cancel(callback)
    ticker.cancel(callback)
    await asyncio.sleep(1)
    assert called == ["kept"]


@in_virtual_time
async def test_while_nobody_waits_it_does_not_tick() -> None:
    ticker = TimeoutScheduler()
    ticker.set(lambda: None, 0.1)
    await asyncio.sleep(1)
    assert not ticker._is_ticking
    called: list[float] = []
    ticker.set(lambda: called.append(now()), 0.1)
    await asyncio.sleep(1)
    assert len(called) == 1


@in_virtual_time
async def test_what_a_callback_sets_is_called_as_well() -> None:
    called: list[float] = []
    ticker = TimeoutScheduler()
    ticker.set(lambda: ticker.set(lambda: called.append(now()), 0.1), 0.1)
    await asyncio.sleep(1)
    assert len(called) == 1


# Limits


@in_virtual_time
async def test_what_takes_longer_is_ended_and_what_does_not_is_left_alone() -> None:
    ticker = TimeoutScheduler()
    with DeadlineScope(ticker, 0.5):
        await asyncio.sleep(0.4)
    began = now()
    with pytest.raises(TimeoutError), DeadlineScope(ticker, 0.5):
        await asyncio.sleep(9)
    assert 0.5 <= now() - began <= 0.5 + TICK_S + 1e-9
    await asyncio.sleep(1)  # and nothing of it is left


@in_virtual_time
async def test_an_error_of_its_own_leaves_it_as_it_is() -> None:
    ticker = TimeoutScheduler()
    with pytest.raises(ValueError, match="mine"), DeadlineScope(ticker, 0.5):
        raise ValueError("mine")
    await asyncio.sleep(1)


@in_virtual_time
async def test_a_cancellation_at_the_same_time_is_one() -> None:
    task: asyncio.Task[None]

    async def limited() -> None:
        ticker = TimeoutScheduler()
        ticker.set(cancel, 0.5)
        with DeadlineScope(ticker, 0.5):
            await asyncio.sleep(9)

    def cancel() -> None:
        task.cancel()

    task = asyncio.create_task(limited())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@in_virtual_time
async def test_a_cancellation_from_outside_is_one() -> None:
    async def limited() -> None:
        with DeadlineScope(TimeoutScheduler(), 5):
            await asyncio.sleep(9)

    task = asyncio.create_task(limited())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
