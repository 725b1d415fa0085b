"""Tests of the batcher: when calls start, and which windows go into them."""

import asyncio

from app.serving.batcher import BULK_WINDOWS
from tests.app.serving.batcher_harness import BatcherHarness, Outcome, outcomes_of, succeeded
from tests.virtual_time import in_virtual_time, now, sleep_until


@in_virtual_time
async def test_submit_with_free_call_starts_immediately() -> None:
    harness = BatcherHarness()
    assert await harness.request(1, 2, at_s=5.0) == succeeded(1, 2, at_s=6.0)
    assert harness.call.starts == [(5.0, [1, 2])]


@in_virtual_time
async def test_submit_of_simultaneous_requests_shares_one_call() -> None:
    harness = BatcherHarness()
    requests = [harness.request(1), harness.request(2), harness.request(3)]
    assert await outcomes_of(*requests) == [succeeded(1, at_s=1.0), succeeded(2, at_s=1.0), succeeded(3, at_s=1.0)]
    assert harness.call.starts == [(0.0, [1, 2, 3])]


@in_virtual_time
async def test_submit_while_busy_joins_next_call_oldest_first() -> None:
    harness = BatcherHarness()
    requests = [
        harness.request(1),
        harness.request(5, at_s=0.75),  # started out of order; the time of arrival counts
        harness.request(4, at_s=0.5),
        harness.request(2, 3, at_s=0.25),
    ]
    assert await outcomes_of(*requests) == [
        succeeded(1, at_s=1.0),
        succeeded(5, at_s=2.0),
        succeeded(4, at_s=2.0),
        succeeded(2, 3, at_s=2.0),
    ]
    assert harness.call.starts == [(0.0, [1]), (1.0, [2, 3, 4, 5])]


@in_virtual_time
async def test_submit_after_an_answer_queues_behind_waiting_requests() -> None:
    harness = BatcherHarness(max_batch_windows=1)

    async def twice() -> Outcome:
        await harness.batcher.submit([1])
        return await harness.request(2, at_s=now())

    again, waiting = asyncio.create_task(twice()), harness.request(3, at_s=0.5)
    assert await waiting == succeeded(3, at_s=2.0)
    assert await again == succeeded(2, at_s=3.0)


@in_virtual_time
async def test_two_concurrent_calls_run_side_by_side() -> None:
    harness = BatcherHarness(concurrent_calls=2)
    requests = [
        harness.request(1),
        harness.request(2, at_s=0.25),
        harness.request(3, at_s=0.5),
        harness.request(4, at_s=0.75),
    ]
    assert await outcomes_of(*requests) == [
        succeeded(1, at_s=1.0),
        succeeded(2, at_s=1.25),
        succeeded(3, at_s=2.0),
        succeeded(4, at_s=2.0),
    ]
    assert harness.call.starts == [(0.0, [1]), (0.25, [2]), (1.0, [3, 4])]


@in_virtual_time
async def test_free_calls_share_waiting_windows_evenly() -> None:
    harness = BatcherHarness(concurrent_calls=3, max_batch_windows=8)
    requests = [harness.request(*range(5)), harness.request(5, 6), harness.request(7)]
    assert await outcomes_of(*requests) == [
        succeeded(*range(5), at_s=1.0),
        succeeded(5, 6, at_s=1.0),
        succeeded(7, at_s=1.0),
    ]
    assert harness.call.starts == [(0.0, [0, 1, 2]), (0.0, [3, 4, 5]), (0.0, [6, 7])]


@in_virtual_time
async def test_busy_call_takes_no_share() -> None:
    harness = BatcherHarness(concurrent_calls=3, max_batch_windows=8)
    requests = [harness.request(0), harness.request(*range(1, 6), at_s=0.5)]
    await outcomes_of(*requests)
    assert harness.call.starts == [(0.0, [0]), (0.5, [1, 2, 3]), (0.5, [4, 5])]


@in_virtual_time
async def test_bulk_request_gets_the_bulk_call_limit() -> None:
    harness = BatcherHarness(concurrent_calls=1, bulk_concurrent_calls=3)
    assert await harness.request(*range(14)) == succeeded(*range(14), at_s=2.0)
    assert [at for at, _ in harness.call.starts] == [0.0, 0.0, 0.0, 1.0]


@in_virtual_time
async def test_small_requests_keep_the_normal_call_limit() -> None:
    harness = BatcherHarness(concurrent_calls=1, bulk_concurrent_calls=3)
    await outcomes_of(*[harness.request(*range(first, first + BULK_WINDOWS - 1)) for first in (0, 10)])
    assert [at for at, _ in harness.call.starts] == [0.0, 1.0, 2.0, 3.0]


@in_virtual_time
async def test_call_limit_drops_after_a_bulk_request() -> None:
    harness = BatcherHarness(concurrent_calls=1, bulk_concurrent_calls=2, max_batch_windows=8)
    large = harness.request(*range(16))
    small = [harness.request(item, at_s=0.5) for item in range(20, 40)]
    assert await large == succeeded(*range(16), at_s=1.0)
    await outcomes_of(*small)
    assert [(at, len(items)) for at, items in harness.call.starts] == [(0.0, 8), (0.0, 8), (1.0, 8), (2.0, 8), (3.0, 4)]


@in_virtual_time
async def test_calls_above_the_lowered_limit_finish() -> None:
    harness = BatcherHarness(concurrent_calls=1, bulk_concurrent_calls=3, max_batch_windows=4)
    harness.call.duration_s_per_item = 0.5
    large = harness.request(*range(9))  # three calls of 3, followed by calls for the arrivals
    small = [harness.request(item, at_s=0.5) for item in range(20, 30)]
    assert (await large).at_s == 2.5
    assert {outcome.type_and_time[0] for outcome in await outcomes_of(*small)} == {list}
    assert [len(items) for _, items in harness.call.starts] == [3, 3, 3, 4, 4, 2]


@in_virtual_time
async def test_slow_call_does_not_delay_other_calls() -> None:
    harness = BatcherHarness(concurrent_calls=2, max_batch_windows=1)
    harness.call.duration_s = 10.0
    slow = harness.request(1)
    await sleep_until(0.5)
    harness.call.duration_s = 1.0
    requests = [harness.request(2), harness.request(3, at_s=0.75), harness.request(4, at_s=0.875)]
    assert await outcomes_of(*requests) == [
        succeeded(2, at_s=1.5),
        succeeded(3, at_s=2.5),
        succeeded(4, at_s=3.5),
    ]
    assert await slow == succeeded(1, at_s=10.0)


@in_virtual_time
async def test_call_never_exceeds_max_batch_windows() -> None:
    harness = BatcherHarness()
    requests = [harness.request(0)]
    requests += [
        harness.request(1, 2, 3, at_s=0.25),
        harness.request(4, 5, 6, at_s=0.5),
        harness.request(7, 8, 9, at_s=0.75),
    ]
    assert await outcomes_of(*requests) == [
        succeeded(0, at_s=1.0),
        succeeded(1, 2, 3, at_s=2.0),
        succeeded(4, 5, 6, at_s=3.0),
        succeeded(7, 8, 9, at_s=4.0),
    ]
    assert harness.call.starts == [(0.0, [0]), (1.0, [1, 2, 3, 4]), (2.0, [5, 6, 7, 8]), (3.0, [9])]


@in_virtual_time
async def test_large_request_is_split_and_its_last_part_shared() -> None:
    harness = BatcherHarness(concurrent_calls=2)
    harness.call.duration_s_per_item = 0.5
    large, other = harness.request(*range(10)), harness.request(10, at_s=0.5)
    assert await other == succeeded(10, at_s=5.5)
    assert await large == succeeded(*range(10), at_s=5.5)
    assert harness.call.starts == [(0.0, [0, 1, 2, 3]), (0.0, [4, 5, 6, 7]), (3.0, [8, 9, 10])]


@in_virtual_time
async def test_split_request_is_rejoined_in_order() -> None:
    harness = BatcherHarness(concurrent_calls=2, max_batch_windows=2)
    harness.request(0)
    await sleep_until(0.5)
    harness.call.duration_s = 4.0
    large = harness.request(1, 2, 3, 4)
    await sleep_until(0.75)
    harness.call.duration_s = 1.0
    assert await large == succeeded(1, 2, 3, 4, at_s=4.5)
    assert harness.call.starts == [(0.0, [0]), (0.5, [1, 2]), (1.0, [3, 4])]
    assert [call.ended_s for call in harness.call.calls] == [1.0, 4.5, 2.0]
