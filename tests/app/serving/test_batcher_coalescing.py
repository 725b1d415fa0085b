"""Tests of the batcher: identical windows in flight are computed once."""

from tests.app.serving.batcher_harness import (
    BatcherHarness,
    assert_rejected,
    deadline_for,
    measured_harness,
    outcomes_of,
    succeeded,
)
from tests.fakes import BadItems
from tests.virtual_time import in_virtual_time, sleep_until


@in_virtual_time
async def test_identical_windows_in_flight_share_one_result() -> None:
    harness = BatcherHarness()
    requests = [
        harness.request(1, 7),
        harness.request(7, at_s=0.25),  # 7 is being computed
        harness.request(2, 3, at_s=0.25),
        harness.request(3, 7, 4, 3, at_s=0.5),  # 3 waits, 7 is being computed, 4 is new, 3 is a duplicate
    ]
    assert await outcomes_of(*requests) == [
        succeeded(1, 7, at_s=1.0),
        succeeded(7, at_s=1.0),
        succeeded(2, 3, at_s=2.0),
        succeeded(3, 7, 4, 3, at_s=2.0),
    ]
    assert harness.call.starts == [(0.0, [1, 7]), (1.0, [2, 3, 4])]
    assert harness.coalesced == [1, 3]


@in_virtual_time
async def test_identical_windows_in_one_request_share_one_result() -> None:
    harness = BatcherHarness(max_batch_windows=1)
    assert await harness.request(7, 7, 1) == succeeded(7, 7, 1, at_s=2.0)
    assert harness.call.starts == [(0.0, [7]), (1.0, [1])]
    assert harness.coalesced == [1]


@in_virtual_time
async def test_answered_window_is_computed_again() -> None:
    harness = BatcherHarness()
    await harness.request(1)
    assert await harness.request(1, at_s=1.0) == succeeded(1, at_s=2.0)
    assert harness.coalesced == []


@in_virtual_time
async def test_coalesced_windows_take_no_room_in_the_queue() -> None:
    harness = BatcherHarness(max_queued_windows=2)
    harness.request(1)
    harness.request(2, 3, at_s=0.25)
    await assert_rejected(harness, 4, at_s=0.5)
    await assert_rejected(harness, 1, 2, 4, 4, at_s=0.5)
    joined = harness.request(1, 2, 3, 3, at_s=0.5)
    await sleep_until(0.75)
    assert harness.batcher.queued_windows == 2
    assert await joined == succeeded(1, 2, 3, 3, at_s=2.0)
    assert harness.coalesced == [4]  # the rejected requests report nothing


@in_virtual_time
async def test_coalesced_windows_add_no_predicted_delay() -> None:
    harness = await measured_harness()  # 4 windows/s
    harness.request(*range(4), at_s=2.0)
    harness.request(*range(4, 8), at_s=2.25)
    joined = harness.request(*range(8), at_s=2.5, deadline_s=1.75)  # though it is answered only at 4.0
    assert (await harness.request(0, 1, at_s=2.5, deadline_s=0.75)).type_and_time == (list, 3.0)
    assert await joined == succeeded(*range(8), at_s=4.0)


@in_virtual_time
async def test_new_windows_add_predicted_delay_once() -> None:
    harness = await measured_harness()
    harness.request(*range(4), at_s=2.0)
    harness.request(*range(4, 8), at_s=2.25)
    retry_after_s = await assert_rejected(harness, 0, 4, 8, 8, 9, at_s=2.5, deadline_s=deadline_for(2.0))
    assert retry_after_s == 0.5  # 10 windows instead of 8
    items = (*range(8), 8, 8, 8, 8)  # 9 windows
    assert await harness.request(*items, at_s=2.5, deadline_s=deadline_for(2.4)) == succeeded(*items, at_s=5.0)


@in_virtual_time
async def test_shared_waiting_window_survives_one_cancellation() -> None:
    harness = BatcherHarness()
    first, cancelled, stays = harness.request(1), harness.request(2, 3, at_s=0.25), harness.request(3, at_s=0.5)
    await sleep_until(0.75)
    cancelled.cancel()
    assert await outcomes_of(first, stays) == [succeeded(1, at_s=1.0), succeeded(3, at_s=2.0)]
    assert harness.call.starts == [(0.0, [1]), (1.0, [3])]


@in_virtual_time
async def test_shared_running_window_survives_first_cancellation() -> None:
    harness = BatcherHarness()
    cancelled, joined = harness.request(1), harness.request(1, at_s=0.25)
    await sleep_until(0.5)
    cancelled.cancel()
    assert await joined == succeeded(1, at_s=1.0)
    assert harness.call.starts == [(0.0, [1])]


@in_virtual_time
async def test_failed_window_fails_all_its_requests_and_can_be_retried() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {1}
    first, joined = harness.request(1), harness.request(1, at_s=0.5)
    outcomes = await outcomes_of(first, joined)
    assert [outcome.type_and_time for outcome in outcomes] == [(BadItems, 1.0)] * 2
    harness.call.bad_items = set()
    assert await harness.request(1, at_s=1.0) == succeeded(1, at_s=2.0)


@in_virtual_time
async def test_coalesced_request_does_not_fail_for_other_windows() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {2}
    request, joined = harness.request(1, 2), harness.request(1, at_s=0.5)
    assert await joined == succeeded(1, at_s=2.0)
    assert (await request).type_and_time == (BadItems, 3.0)
    assert harness.call.starts == [(0.0, [1, 2]), (1.0, [1]), (2.0, [2])]


@in_virtual_time
async def test_window_dropped_during_retries_can_be_requested_again() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {1}
    bad, cancelled = harness.request(1), harness.request(2)
    await sleep_until(1.5)  # during the retry of the first half
    cancelled.cancel()
    assert (await bad).type_and_time == (BadItems, 2.0)
    assert await harness.request(2, at_s=2.25) == succeeded(2, at_s=3.25)


@in_virtual_time
async def test_request_joining_a_waiting_half_is_answered_with_it() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {1}
    bad, cancelled, joined = harness.request(1), harness.request(2), harness.request(2, at_s=1.5)
    await sleep_until(1.75)
    cancelled.cancel()
    assert await joined == succeeded(2, at_s=3.0)
    assert (await bad).type_and_time == (BadItems, 2.0)
    assert harness.call.starts == [(0.0, [1, 2]), (1.0, [1]), (2.0, [2])]
