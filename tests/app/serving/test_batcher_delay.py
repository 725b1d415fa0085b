"""Tests of the batcher: the delay before a call that is not full."""

import pytest

from tests.app.serving.batcher_harness import HOUR_S, BatcherHarness, outcomes_of, succeeded
from tests.fakes import ManualClock
from tests.virtual_time import Deadlock, in_virtual_time, now, run, sleep_until


@in_virtual_time
async def test_delay_counts_from_the_oldest_arrival() -> None:
    harness = BatcherHarness(delay_s=0.5)
    requests = [harness.request(1, at_s=1.0), harness.request(2, at_s=1.25), harness.request(3, at_s=1.4375)]
    assert await outcomes_of(*requests) == [succeeded(item, at_s=2.5) for item in (1, 2, 3)]
    assert harness.call.starts == [(1.5, [1, 2, 3])]


@in_virtual_time
async def test_full_batch_skips_the_delay() -> None:
    harness = BatcherHarness(delay_s=1.5)
    requests = [harness.request(1, 2, 3), harness.request(4, 5, at_s=0.25)]
    assert await outcomes_of(*requests) == [succeeded(1, 2, 3, at_s=1.25), succeeded(4, 5, at_s=2.75)]
    assert harness.call.starts == [(0.25, [1, 2, 3, 4]), (1.75, [5])]  # the delay of 5 counts from its own arrival


@in_virtual_time
async def test_full_batch_shared_by_free_calls_skips_the_delay() -> None:
    harness = BatcherHarness(concurrent_calls=2, delay_s=0.5)
    requests = [harness.request(1, 2, 3), harness.request(4, at_s=0.25)]
    assert await outcomes_of(*requests) == [succeeded(1, 2, 3, at_s=1.25), succeeded(4, at_s=1.25)]
    assert harness.call.starts == [(0.25, [1, 2]), (0.25, [3, 4])]


@in_virtual_time
async def test_delay_that_is_over_starts_all_free_calls() -> None:
    harness = BatcherHarness(concurrent_calls=2, delay_s=0.5)
    await outcomes_of(harness.request(1), harness.request(2, at_s=0.25), harness.request(3, at_s=0.375))
    assert harness.call.starts == [(0.5, [1, 2]), (0.5, [3])]


@in_virtual_time
async def test_exactly_full_batch_skips_the_delay() -> None:
    harness = BatcherHarness(delay_s=0.5)
    requests = [harness.request(1, 2, 3), harness.request(4, at_s=0.25)]
    assert await outcomes_of(*requests) == [succeeded(1, 2, 3, at_s=1.25), succeeded(4, at_s=1.25)]


@in_virtual_time
async def test_delay_includes_the_wait_for_a_free_call() -> None:
    harness = BatcherHarness(delay_s=0.5)
    requests = [harness.request(1), harness.request(2, at_s=0.75), harness.request(3, at_s=1.25)]
    assert await outcomes_of(*requests) == [
        succeeded(1, at_s=1.5),
        succeeded(2, at_s=2.5),
        succeeded(3, at_s=2.5),
    ]
    assert harness.call.starts == [(0.5, [1]), (1.5, [2, 3])]


@in_virtual_time
async def test_delay_continues_after_a_call_is_free() -> None:
    harness = BatcherHarness(delay_s=0.5)
    requests = [harness.request(1), harness.request(2, at_s=1.375), harness.request(3, at_s=1.75)]
    await outcomes_of(*requests)
    assert harness.call.starts == [(0.5, [1]), (1.875, [2, 3])]


@in_virtual_time
async def test_delay_restarts_from_next_oldest_after_cancellation() -> None:
    harness = BatcherHarness(delay_s=0.5)
    oldest, next_oldest = harness.request(1), harness.request(2, at_s=0.125)
    await sleep_until(0.25)
    oldest.cancel()
    assert await next_oldest == succeeded(2, at_s=1.625)
    assert harness.call.starts == [(0.625, [2])]


def test_waiting_batcher_schedules_no_timer() -> None:
    async def scenario() -> None:
        harness = BatcherHarness(delay_s=0.5)
        harness.call.hangs = True
        await outcomes_of(harness.request(1), harness.request(2, at_s=1.0), harness.request(3, at_s=2.0))

    with pytest.raises(Deadlock):  # a batcher that polls would always have a timer
        run(scenario())


@in_virtual_time
async def test_long_delay_is_one_timer() -> None:
    clock = ManualClock(base=now)
    harness = BatcherHarness(delay_s=HOUR_S, clock=clock)
    request = harness.request(1)
    await sleep_until(1.0)
    read = clock.reads
    await sleep_until(HOUR_S - 1)
    assert clock.reads == read
    assert await request == succeeded(1, at_s=HOUR_S + 1)
