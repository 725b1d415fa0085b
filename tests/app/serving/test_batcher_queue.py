"""Tests of the batcher: the bounded queue, and when a rejected caller may retry."""

import pytest

from app.serving.batcher import Call
from tests.app.serving.batcher_harness import BatcherHarness, assert_rejected, outcomes_of, succeeded
from tests.fakes import ManualClock
from tests.virtual_time import in_virtual_time, sleep_until


@in_virtual_time
async def test_full_queue_rejects_until_there_is_room() -> None:
    harness = BatcherHarness(max_queued_windows=6)
    requests = [harness.request(1, 2, 3, 4), harness.request(5, 6, 7, 8, 9, at_s=0.125)]
    await sleep_until(0.25)
    assert harness.batcher.queued_windows == 5
    await assert_rejected(harness, 10, 11, at_s=0.25)
    assert harness.batcher.queued_windows == 5
    requests.append(harness.request(12, at_s=0.5))  # exactly full
    await assert_rejected(harness, 13, at_s=0.75)
    requests.append(harness.request(14, 15, 16, 17, at_s=1.25))  # four windows have left the queue for the second call
    assert await outcomes_of(*requests) == [
        succeeded(1, 2, 3, 4, at_s=1.0),
        succeeded(5, 6, 7, 8, 9, at_s=3.0),
        succeeded(12, at_s=3.0),
        succeeded(14, 15, 16, 17, at_s=4.0),
    ]
    assert harness.call.starts == [(0.0, [1, 2, 3, 4]), (1.0, [5, 6, 7, 8]), (2.0, [9, 12, 14, 15]), (3.0, [16, 17])]


@in_virtual_time
async def test_queued_windows_exclude_running_calls() -> None:
    harness = BatcherHarness(max_queued_windows=8)
    harness.request(*range(8))
    await sleep_until(0.5)
    assert harness.batcher.queued_windows == 4
    await sleep_until(1.5)
    assert harness.batcher.queued_windows == 0


@in_virtual_time
async def test_requests_in_flight_counts_accepted_unfinished_requests() -> None:
    harness = BatcherHarness(max_queued_windows=4)
    harness.request(1)
    harness.request(1, 2, 3, at_s=0.25, deadline_s=0.5)
    harness.request(4, 5, 6, 7, 8, at_s=0.25)  # rejected
    await sleep_until(0.5)
    assert harness.batcher.requests_in_flight == 2
    await sleep_until(0.875)
    assert harness.batcher.requests_in_flight == 1
    await sleep_until(1.125)
    assert harness.batcher.requests_in_flight == 0


@in_virtual_time
async def test_retry_after_before_any_call_is_one_second() -> None:
    harness = BatcherHarness(max_queued_windows=4)
    harness.request(1)
    harness.request(2, 3, 4, 5, at_s=0.25)
    assert await assert_rejected(harness, 6, at_s=0.5) == 1.0


@in_virtual_time
async def test_retry_after_is_the_time_to_drain_the_queue() -> None:
    harness = BatcherHarness(max_queued_windows=6)
    harness.call.duration_s = 2.0
    assert await harness.request(1, 2, 3, 4) == succeeded(1, 2, 3, 4, at_s=2.0)  # 2 windows/s
    harness.request(5, at_s=3.0)
    harness.request(6, 7, 8, 9, 10, at_s=3.25)
    assert await assert_rejected(harness, 11, 12, at_s=3.5) == 2.5


@in_virtual_time
async def test_retry_after_with_two_calls_is_halved() -> None:
    harness = BatcherHarness(concurrent_calls=2, max_queued_windows=6)
    harness.call.duration_s = 2.0
    await harness.request(1, 2, 3, 4)  # two windows in each call: 1 window/s
    harness.request(5, 6, at_s=3.0)
    harness.request(7, 8, 9, 10, 11, at_s=3.25)
    assert await assert_rejected(harness, 12, 13, at_s=3.5) == 2.5


@in_virtual_time
async def test_retry_after_for_small_requests_uses_their_call_limit() -> None:
    harness = BatcherHarness(bulk_concurrent_calls=3, max_batch_windows=1, max_queued_windows=4)
    await harness.request(1)
    for number in range(5):  # one is computed, four wait
        harness.request(2 + number, at_s=1.25 + number / 64)
    assert await assert_rejected(harness, 7, at_s=1.5) == 4.0


@in_virtual_time
async def test_rate_is_a_running_mean_over_calls() -> None:
    harness = BatcherHarness(max_queued_windows=5)
    harness.call.duration_s = 2.0
    await harness.request(1, 2, 3, 4)  # 2 windows/s
    harness.call.duration_s = 4.0
    await harness.request(5, 6, 7, 8)  # 1 window/s
    harness.request(9)
    harness.request(10, 11, 12, 13, 14, at_s=6.25)
    assert await assert_rejected(harness, 15, at_s=6.5) == pytest.approx(5 / (0.9 * 2 + 0.1 * 1))


@in_virtual_time
async def test_rate_is_measured_with_the_given_clock() -> None:
    clock = ManualClock()
    harness = BatcherHarness(max_queued_windows=4, clock=clock)
    first = harness.request(1, 2, 3, 4)
    await sleep_until(0.5)
    clock.advance(8.0)
    await first
    assert harness.reported == [Call(windows=4, waited_s=0.0, took_s=8.0, failed=False)]
    harness.request(5)
    harness.request(6, 7, 8, 9, at_s=1.25)
    assert await assert_rejected(harness, 10, at_s=1.5) == 8.0


@in_virtual_time
async def test_rate_ignores_failed_and_instant_calls() -> None:
    harness = BatcherHarness(max_queued_windows=4)
    harness.call.duration_s = 0.0
    await harness.request(1)
    harness.call.duration_s = 1.0
    harness.call.bad_items = {2}
    await harness.request(2)
    harness.request(3)
    harness.request(4, 5, 6, 7, at_s=1.25)
    assert await assert_rejected(harness, 8, at_s=1.5) == 1.0
