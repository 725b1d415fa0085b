"""Tests of the batcher: a failed call is retried in halves until the failing request is alone."""

import asyncio

import pytest

from app.errors import DeadlineExceeded, EngineFailed
from app.serving.batcher import Batcher, Call
from tests.app.serving.batcher_harness import BatcherHarness, outcomes_of, succeeded
from tests.fakes import BadItems, FakeEngineCall, result_of
from tests.virtual_time import in_virtual_time, now, sleep_until


@in_virtual_time
async def test_failed_call_of_one_request_raises_its_exception() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {2}
    outcome = await harness.request(1, 2)
    assert outcome.type_and_time == (BadItems, 1.0)
    assert str(outcome.value) == "cannot compute [2]"
    assert harness.call.starts == [(0.0, [1, 2])]  # a single request is neither split nor retried
    assert harness.batcher.is_healthy
    assert await harness.request(3, at_s=2.0) == succeeded(3, at_s=3.0)


@in_virtual_time
async def test_failing_request_is_isolated_by_halves() -> None:
    harness = BatcherHarness(max_batch_windows=8)
    harness.call.bad_items = {4}
    one, two, three, bad, five = await outcomes_of(*[harness.request(item) for item in range(1, 6)])
    assert harness.call.starts == [
        (0.0, [1, 2, 3, 4, 5]),
        (1.0, [1, 2]),
        (2.0, [3, 4, 5]),
        (3.0, [3]),
        (4.0, [4, 5]),
        (5.0, [4]),
        (6.0, [5]),
    ]
    assert [one, two] == [succeeded(1, at_s=2.0), succeeded(2, at_s=2.0)]
    assert three == succeeded(3, at_s=4.0)
    assert five == succeeded(5, at_s=7.0)
    assert bad.type_and_time == (BadItems, 6.0)
    assert isinstance(bad.value, BadItems)
    assert bad.value.items == [4]


@in_virtual_time
async def test_two_failing_requests_get_their_own_exceptions() -> None:
    harness = BatcherHarness(max_batch_windows=8)
    harness.call.bad_items = {2, 6}
    outcomes = await outcomes_of(harness.request(1, 2), harness.request(3), harness.request(4, 5), harness.request(6))
    assert [str(outcome.value) for outcome in outcomes] == [
        "cannot compute [2]",
        "['<3>']",
        "['<4>', '<5>']",
        "cannot compute [6]",
    ]


@in_virtual_time
async def test_arrival_during_retries_waits_for_a_free_call() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {2}
    bad, other, late = harness.request(2), harness.request(3), harness.request(4, at_s=0.5)
    assert await outcomes_of(other, late) == [succeeded(3, at_s=3.0), succeeded(4, at_s=4.0)]
    assert (await bad).type_and_time == (BadItems, 2.0)


@in_virtual_time
async def test_cancel_during_failed_call_does_not_blame_the_others() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {1}
    cancelled, other = harness.request(1), harness.request(2)
    await sleep_until(0.5)
    cancelled.cancel()
    assert await other == succeeded(2, at_s=2.0)
    assert harness.call.starts == [(0.0, [1, 2]), (1.0, [2])]


@in_virtual_time
async def test_expired_request_is_dropped_from_retries() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {1}
    requests = [
        harness.request(1),
        harness.request(2),
        harness.request(3, deadline_s=1.5),
        harness.request(4, deadline_s=1.25),
    ]
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [
        (BadItems, 3.0),
        (list, 4.0),
        (DeadlineExceeded, 1.5),
        (DeadlineExceeded, 1.25),
    ]
    assert harness.call.starts == [(0.0, [1, 2, 3, 4]), (1.0, [1, 2]), (2.0, [1]), (3.0, [2])]


@in_virtual_time
async def test_split_request_fails_with_its_first_failing_part() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {5}
    large, other = harness.request(*range(1, 15)), harness.request(20)
    assert (await large).type_and_time == (BadItems, 2.0)
    assert await other == succeeded(20, at_s=3.0)
    # The rest of the failed request is not computed.
    assert harness.call.starts == [(0.0, [1, 2, 3, 4]), (1.0, [5, 6, 7, 8]), (2.0, [20])]


@in_virtual_time
async def test_wrong_number_of_results_fails_a_lone_request() -> None:
    harness = BatcherHarness()
    harness.call.dropped_items = {2}
    outcome = await harness.request(1, 2, 3)
    assert outcome.type_and_time == (EngineFailed, 1.0)
    assert str(outcome.value) == "the engine returned 2 forecasts for 3 windows"


@in_virtual_time
async def test_wrong_number_of_results_is_isolated_by_halves() -> None:
    harness = BatcherHarness()
    harness.call.dropped_items = {2}
    one, lost, three = await outcomes_of(harness.request(1), harness.request(2), harness.request(3))
    assert one == succeeded(1, at_s=2.0)
    assert lost.type_and_time == (EngineFailed, 4.0)
    assert three == succeeded(3, at_s=5.0)


@in_virtual_time
async def test_cancelled_engine_call_counts_as_failed() -> None:
    calls: list[list[int]] = []

    async def cancel_itself(items: list[int]) -> list[str]:
        calls.append(items)
        if 1 in items:
            raise asyncio.CancelledError  # like an executor shut down with `cancel_futures`
        return [result_of(item) for item in items]

    batcher = Batcher(cancel_itself, concurrent_calls=1, max_batch_windows=4, max_queued_windows=100)
    one, two = [asyncio.create_task(batcher.submit([item])) for item in (1, 2)]
    with pytest.raises(EngineFailed, match="the engine call was cancelled"):
        await one
    assert await two == [result_of(2)]
    assert calls == [[1, 2], [1], [2]]
    assert batcher.is_healthy


@in_virtual_time
async def test_on_call_reports_windows_and_times_of_each_call() -> None:
    harness = BatcherHarness()
    harness.call.bad_items = {6}
    harness.call.duration_s_per_item = 0.5
    await outcomes_of(harness.request(1, 2), harness.request(3, 4, 5, at_s=0.5), harness.request(6, at_s=1.0))
    assert harness.reported == [
        Call(windows=2, waited_s=0.0, took_s=2.0, failed=False),
        Call(windows=4, waited_s=1.5, took_s=3.0, failed=True),
        Call(windows=2, waited_s=4.5, took_s=2.0, failed=False),
        Call(windows=2, waited_s=6.5, took_s=2.0, failed=True),
        Call(windows=1, waited_s=8.5, took_s=1.5, failed=False),
        Call(windows=1, waited_s=9.5, took_s=1.5, failed=True),
    ]


@in_virtual_time
async def test_batcher_without_callbacks_works() -> None:
    batcher = Batcher(FakeEngineCall(), concurrent_calls=1, max_batch_windows=4, max_queued_windows=100)
    assert await batcher.submit([1, 2]) == ["<1>", "<2>"]
    assert now() == 1.0
