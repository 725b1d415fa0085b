"""Tests of the batcher: each caller gets its own results, and cancelling a request does not affect others."""

import asyncio

import pytest

from app.serving.batcher import Call
from tests.app.serving.batcher_harness import BatcherHarness, is_cancelled, outcomes_of, succeeded
from tests.fakes import result_of
from tests.virtual_time import in_virtual_time, now, sleep_until


@in_virtual_time
async def test_each_caller_gets_its_own_results() -> None:
    harness = BatcherHarness(concurrent_calls=2, max_batch_windows=5)
    sizes = [1, 3, 12, 2, 1, 7, 5]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    requests = [harness.request(*range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    outcomes = await outcomes_of(*requests)
    assert [outcome.value for outcome in outcomes] == [
        [result_of(item) for item in range(start, start + size)] for start, size in zip(starts, sizes, strict=True)
    ]
    assert [item for _, items in harness.call.starts for item in items] == list(range(sum(sizes)))


@in_virtual_time
async def test_cancel_while_waiting_drops_the_request_and_frees_room() -> None:
    harness = BatcherHarness(max_queued_windows=4)
    first, cancelled, other = harness.request(1), harness.request(2, 3, at_s=0.25), harness.request(4, 5, at_s=0.25)
    await sleep_until(0.5)
    assert harness.batcher.queued_windows == 4
    cancelled.cancel()
    assert await is_cancelled(cancelled)
    assert harness.batcher.queued_windows == 2
    late = harness.request(6, 7, at_s=0.75)
    assert await first == succeeded(1, at_s=1.0)
    assert await other == succeeded(4, 5, at_s=2.0)
    assert await late == succeeded(6, 7, at_s=2.0)
    assert harness.call.starts == [(0.0, [1]), (1.0, [4, 5, 6, 7])]


@in_virtual_time
async def test_cancel_while_computing_affects_no_other_request() -> None:
    harness = BatcherHarness()
    before, cancelled, after = harness.request(1), harness.request(2), harness.request(3)
    await sleep_until(0.5)
    cancelled.cancel()
    assert await is_cancelled(cancelled)
    assert now() == 0.5
    assert await outcomes_of(before, after) == [succeeded(1, at_s=1.0), succeeded(3, at_s=1.0)]
    assert harness.reported == [Call(windows=3, waited_s=0.0, took_s=1.0, failed=False)]
    assert harness.batcher.is_healthy


@in_virtual_time
async def test_cancel_drops_the_waiting_parts_of_a_split_request() -> None:
    harness = BatcherHarness()
    large, other = harness.request(*range(10)), harness.request(10)
    await sleep_until(0.5)
    assert harness.batcher.queued_windows == 7
    large.cancel()
    assert await is_cancelled(large)
    assert harness.batcher.queued_windows == 1
    assert await other == succeeded(10, at_s=2.0)
    assert harness.call.starts == [(0.0, [0, 1, 2, 3]), (1.0, [10])]


@in_virtual_time
async def test_cancel_between_dispatch_and_call_prevents_the_call() -> None:
    harness = BatcherHarness()
    cancelled = asyncio.create_task(harness.batcher.submit([1]))
    await asyncio.sleep(0)  # dispatched; its call starts next
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await harness.request(2, at_s=0.5) == succeeded(2, at_s=1.5)
    assert harness.call.starts == [(0.5, [2])]
    assert len(harness.reported) == 1


@in_virtual_time
async def test_cancel_at_call_start_frees_its_place_in_the_call() -> None:
    harness = BatcherHarness()
    first = harness.request(1)
    cancelled, behind = harness.request(2, 3, at_s=0.5), harness.request(4, 5, 6, 7, at_s=0.75)
    await sleep_until(0.875)
    # The call ends first, so the batcher task continues before the request is cancelled.
    asyncio.get_running_loop().call_at(1.0, cancelled.cancel)
    assert await is_cancelled(cancelled)
    assert await outcomes_of(first, behind) == [succeeded(1, at_s=1.0), succeeded(4, 5, 6, 7, at_s=2.0)]
    assert harness.call.starts == [(0.0, [1]), (1.0, [4, 5, 6, 7])]


@in_virtual_time
async def test_cancel_of_all_at_call_start_prevents_the_call() -> None:
    harness = BatcherHarness()
    first, cancelled = harness.request(1), harness.request(2, at_s=0.5)
    await sleep_until(0.875)
    asyncio.get_running_loop().call_at(1.0, cancelled.cancel)
    assert await is_cancelled(cancelled)
    assert await first == succeeded(1, at_s=1.0)
    assert harness.batcher.queued_windows == 0
    assert await harness.request(3, at_s=1.25) == succeeded(3, at_s=2.25)
    assert harness.call.starts == [(0.0, [1]), (1.25, [3])]


@in_virtual_time
async def test_failed_call_of_a_cancelled_request_is_ignored() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {1}
    cancelled = harness.request(1)
    await sleep_until(0.5)
    cancelled.cancel()
    assert await is_cancelled(cancelled)
    assert await harness.request(2, at_s=0.75) == succeeded(2, at_s=2.0)
    assert harness.batcher.is_healthy
