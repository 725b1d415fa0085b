"""Tests of the batcher's own failures: every waiting request fails, and no further request is accepted."""

import asyncio

import pytest

from app.errors import NotReady
from app.serving.batcher import Batcher, Call
from tests.app.serving.batcher_harness import HOUR_S, BatcherHarness, outcomes_of
from tests.fakes import FakeEngineCall, ManualClock
from tests.virtual_time import in_virtual_time, now, sleep_until


async def assert_dead(harness: BatcherHarness, error: BaseException) -> None:
    """Check that the batcher has reported its death once, and that it accepts no request."""
    assert not harness.batcher.is_healthy
    assert harness.deaths == [error]
    assert harness.batcher.queued_windows == 0
    calls = len(harness.call.starts)
    dead_since_s = now()
    assert (await harness.request(99, at_s=dead_since_s)).type_and_time == (NotReady, dead_since_s)
    await sleep_until(dead_since_s + HOUR_S)
    assert harness.deaths == [error]
    assert len(harness.call.starts) == calls


@in_virtual_time
async def test_working_batcher_is_healthy() -> None:
    harness = BatcherHarness()
    assert harness.batcher.is_healthy
    await harness.request(1)
    assert harness.batcher.is_healthy
    assert harness.deaths == []


@in_virtual_time
async def test_on_call_error_fails_all_requests() -> None:
    error = LookupError("no such metric")

    def fail(call: Call) -> None:
        raise error

    harness = BatcherHarness(concurrent_calls=2, max_batch_windows=1, on_call=fail)
    requests = [harness.request(1), harness.request(2), harness.request(3), harness.request(4, 5)]
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 1.0)] * 4
    await assert_dead(harness, error)  # reported once, though both tasks fail


@in_virtual_time
async def test_on_coalesced_error_fails_all_requests() -> None:
    error = LookupError("no such metric")

    def fail(windows: int) -> None:
        raise error

    harness = BatcherHarness(on_coalesced=fail)
    requests = [harness.request(1), harness.request(2, at_s=0.25), harness.request(1, 3, at_s=0.5)]
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 0.5)] * 3
    assert harness.batcher.requests_in_flight == 0
    await assert_dead(harness, error)


@in_virtual_time
async def test_clock_error_after_a_call_fails_all_requests() -> None:
    clock = ManualClock(base=now)
    harness = BatcherHarness(clock=clock)
    requests = [harness.request(1), harness.request(2, 3)]
    await sleep_until(0.5)
    clock.error = OSError("no clock")
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 1.0)] * 2
    await assert_dead(harness, clock.error)


@in_virtual_time
async def test_clock_error_at_the_end_of_a_delay_fails_all_requests() -> None:
    clock = ManualClock(base=now)
    harness = BatcherHarness(delay_s=0.5, clock=clock)
    requests = [harness.request(1), harness.request(2)]
    await sleep_until(0.25)
    clock.error = OSError("no clock")
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 0.5)] * 2
    assert harness.call.starts == []
    await assert_dead(harness, clock.error)


@in_virtual_time
async def test_clock_error_at_an_arrival_fails_all_requests() -> None:
    clock = ManualClock(base=now)
    harness = BatcherHarness(clock=clock)
    requests = [harness.request(1), harness.request(2), harness.request(3, at_s=0.5)]
    await sleep_until(0.25)
    clock.error = OSError("no clock")
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 0.5)] * 3
    await assert_dead(harness, clock.error)


@in_virtual_time
async def test_on_death_error_still_fails_all_requests() -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context["exception"]))
    error = LookupError("no listener")

    def fail(argument: object) -> None:
        raise error

    batcher = Batcher(
        FakeEngineCall(), concurrent_calls=1, max_batch_windows=4, max_queued_windows=100, on_call=fail, on_death=fail
    )
    with pytest.raises(NotReady):
        await batcher.submit([1])
    assert not batcher.is_healthy
    assert set(unhandled) <= {error}  # whether or not the event loop sees it


@in_virtual_time
async def test_call_running_at_death_answers_no_request() -> None:
    clock = ManualClock(base=now)
    harness = BatcherHarness(concurrent_calls=2, clock=clock)
    requests = [harness.request(1), harness.request(2, at_s=0.5)]
    await sleep_until(0.75)
    clock.error = OSError("no clock")
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 1.0)] * 2
    error, clock.error = clock.error, None  # so that the second call ends normally
    await assert_dead(harness, error)
    assert [call.ended_s for call in harness.call.calls] == [1.0, 1.5]


@in_virtual_time
async def test_cancelled_batcher_task_fails_all_requests() -> None:
    harness = BatcherHarness(concurrent_calls=2)
    requests = [harness.request(1), harness.request(2), harness.request(3, at_s=0.25)]
    await sleep_until(0.5)
    task, *_ = asyncio.all_tasks() - {asyncio.current_task(), *requests}
    task.cancel()
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(NotReady, 0.5)] * 3
    assert isinstance(harness.deaths[0], asyncio.CancelledError)
    await assert_dead(harness, harness.deaths[0])


@in_virtual_time
async def test_cancelled_batcher_task_ends_close() -> None:
    harness = BatcherHarness()
    request = harness.request(1)
    await sleep_until(0.25)
    (task,) = asyncio.all_tasks() - {asyncio.current_task(), request}
    asyncio.get_running_loop().call_at(0.5, task.cancel)
    await harness.batcher.close(HOUR_S)
    assert (await request).type_and_time == (NotReady, 0.5)
    assert now() == 0.5


@in_virtual_time
async def test_close_after_death_returns_immediately() -> None:
    clock = ManualClock(base=now)
    harness = BatcherHarness(clock=clock)
    request = harness.request(1)
    await sleep_until(0.5)
    clock.error = OSError("no clock")
    await request
    await harness.batcher.close(HOUR_S)
    assert now() == 1.0
    assert (await harness.request(2, at_s=1.0)).type_and_time == (NotReady, 1.0)
