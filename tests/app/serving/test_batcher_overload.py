"""Tests of the batcher: requests predicted to miss their deadline are rejected."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import DeadlineExceeded, Overloaded
from tests.app.serving.batcher_harness import (
    HOUR_S,
    BatcherHarness,
    Outcome,
    assert_rejected,
    deadline_for,
    measured_harness,
    outcomes_of,
    succeeded,
)
from tests.virtual_time import in_virtual_time, now, run, sleep_until


@in_virtual_time
async def test_submit_predicted_too_late_is_rejected_immediately() -> None:
    harness = await measured_harness()  # 4 windows/s
    requests = [harness.request(1, 2, 3, 4, at_s=2.0), harness.request(5, 6, 7, 8, at_s=2.25)]
    await sleep_until(2.5)
    outcome = await harness.request(9, 10, 11, 12, at_s=2.5, deadline_s=deadline_for(2.0))  # 12 windows take 3 s
    assert outcome.type_and_time == (Overloaded, 2.5)
    assert str(outcome.value) == "the queue is too long to answer this request within its deadline"
    assert isinstance(outcome.value, Overloaded)
    assert outcome.value.retry_after_s == 1.0
    assert harness.batcher.queued_windows == 4
    assert harness.batcher.requests_in_flight == 2
    await outcomes_of(*requests)
    assert harness.call.starts[2:] == [(2.0, [1, 2, 3, 4]), (3.0, [5, 6, 7, 8])]


@in_virtual_time
async def test_submit_predicted_in_time_is_accepted() -> None:
    harness = await measured_harness()
    harness.request(1, 2, 3, 4, at_s=2.0)
    harness.request(5, 6, 7, 8, at_s=2.25)
    retry_after_s = await assert_rejected(harness, 9, 10, 11, 12, at_s=2.5, deadline_s=deadline_for(2.95))
    assert retry_after_s == pytest.approx(0.05)
    request = harness.request(9, 10, 11, 12, at_s=2.5, deadline_s=deadline_for(3.05))
    assert await request == succeeded(9, 10, 11, 12, at_s=5.0)


@in_virtual_time
async def test_submit_of_smaller_request_may_be_in_time() -> None:
    harness = await measured_harness()
    harness.request(1, 2, 3, 4, at_s=2.0)
    harness.request(5, 6, 7, at_s=2.25)
    await assert_rejected(harness, 8, 9, at_s=2.5, deadline_s=deadline_for(2.1))
    assert await harness.request(8, at_s=2.5, deadline_s=deadline_for(2.1)) == succeeded(8, at_s=4.0)


@in_virtual_time
async def test_submit_without_deadline_is_never_too_late() -> None:
    harness = await measured_harness()
    harness.request(*range(50), at_s=2.0)
    request = harness.request(99, at_s=2.25)
    await assert_rejected(harness, 100, at_s=2.25, deadline_s=10.0)
    assert await request == succeeded(99, at_s=15.0)


@in_virtual_time
async def test_drain_rate_counts_all_concurrent_calls() -> None:
    harness = BatcherHarness(concurrent_calls=2)
    harness.request(-1)
    first_items = range(-8, -120, -4)
    await outcomes_of(*[harness.request(*range(first, first + 4), at_s=0.5) for first in first_items])  # 8 windows/s
    harness.request(*range(8), at_s=15.0)
    harness.request(*range(8, 16), at_s=15.25)
    items = range(16, 24)
    retry_after_s = await assert_rejected(harness, *items, at_s=15.5, deadline_s=deadline_for(2.0))
    assert retry_after_s == pytest.approx(1.0, abs=0.1)
    assert await harness.request(*items, at_s=15.5, deadline_s=deadline_for(3.2)) == succeeded(*items, at_s=18.0)


@in_virtual_time
async def test_submit_with_nothing_in_flight_is_never_too_late() -> None:
    harness = await measured_harness()
    harness.batcher.reject_early(1, 0.25)
    request = harness.request(1, at_s=2.5, deadline_s=0.25)
    assert (await request).type_and_time == (DeadlineExceeded, 2.75)  # it was accepted and computed
    assert harness.call.starts[2:] == [(2.5, [1])]


@in_virtual_time
@pytest.mark.parametrize("windows", [1, 5])
async def test_submit_before_any_queue_drained_is_never_too_late(windows: int) -> None:
    harness = BatcherHarness(max_batch_windows=5)
    await harness.request(*range(-windows, 0))
    harness.request(1, at_s=1.0)
    harness.request(*range(2, 50), at_s=1.25)
    assert (await harness.request(99, at_s=1.5, deadline_s=0.25)).type_and_time == (DeadlineExceeded, 1.75)


@in_virtual_time
async def test_drain_rate_ignores_slow_calls_without_a_queue() -> None:
    harness = await measured_harness()
    harness.call.duration_s = 8.0
    await harness.request(1)  # 1/8 windows/s, as for any call that is nearly empty
    harness.call.duration_s = 1.0
    harness.request(2, 3, 4, 5, at_s=10.0)
    retry_after_s = await assert_rejected(harness, 6, 7, 8, 9, at_s=10.25, deadline_s=deadline_for(1.0))
    assert retry_after_s == 1.0  # still 4 windows/s


@in_virtual_time
async def test_underestimated_drain_rate_recovers() -> None:
    harness = await measured_harness(duration_s=64.0)  # 1/16 windows/s, as if the machine had been busy
    harness.call.duration_s = 0.125

    async def is_accepted(item: int) -> bool:
        """Whether a second window is accepted while one is in flight."""
        first, second = harness.request(2 * item, at_s=now()), harness.request(2 * item + 1, at_s=now(), deadline_s=2.0)
        await first
        return isinstance((await second).value, list)

    accepted = [await is_accepted(item) for item in range(40)]
    assert not any(accepted[:10])
    assert all(accepted[30:])  # the rate was corrected by the calls of single windows


@in_virtual_time
async def test_drain_rate_weights_recent_calls_most() -> None:
    harness = await measured_harness()  # 4 windows in 1 s
    harness.call.duration_s = 2.0
    await harness.request(*range(8))  # two calls; the second drains a queue: 4 windows in 2 s
    rate = (0.9 * 4 + 4) / (0.9 * 1 + 2)
    harness.request(5, 6, 7, 8, at_s=7.0)
    retry_after_s = await assert_rejected(harness, 9, 10, at_s=7.25, deadline_s=deadline_for(0.4))
    assert retry_after_s == pytest.approx(6 / rate - 0.4)


@in_virtual_time
async def test_reject_early_predicted_too_late_raises_overloaded() -> None:
    harness = await measured_harness()  # 4 windows/s
    harness.request(*range(15), at_s=2.0)
    await sleep_until(2.5)
    harness.batcher.reject_early(5, deadline_for((15 + 5) / 4) + 1e-9)
    harness.batcher.reject_early(1, deadline_for((15 + 1) / 4) + 1e-9)
    with pytest.raises(Overloaded, match="within its deadline") as caught:
        harness.batcher.reject_early(5, deadline_for(0.8))
    assert caught.value.retry_after_s == pytest.approx((15 + 5) / 4 - 0.8)
    assert (harness.batcher.requests_in_flight, harness.batcher.windows_in_flight) == (1, 15)  # nothing was accepted


@in_virtual_time
async def test_reject_early_without_room_raises_overloaded() -> None:
    harness = BatcherHarness(max_queued_windows=6)
    harness.request(1, 2, 3, 4)
    harness.request(5, 6, at_s=0.25)
    await sleep_until(0.5)
    harness.batcher.reject_early(4, HOUR_S)
    with pytest.raises(Overloaded) as caught:
        harness.batcher.reject_early(5, HOUR_S)
    assert str(caught.value) == "the queue is full"
    assert caught.value.retry_after_s == 1.0


@in_virtual_time
async def test_reject_early_lets_small_requests_through() -> None:
    harness = await measured_harness()
    harness.request(*range(12), at_s=2.0)
    await sleep_until(2.5)
    with pytest.raises(Overloaded):
        harness.batcher.reject_early(12, 5.0)
    harness.batcher.reject_early(1, 5.0)


@in_virtual_time
async def test_submit_without_room_and_time_reports_the_full_queue() -> None:
    harness = await measured_harness(max_queued_windows=4)
    harness.request(1, 2, 3, 4, at_s=2.0)
    harness.request(5, 6, 7, at_s=2.25)
    outcome = await harness.request(8, 9, at_s=2.5, deadline_s=0.25)
    assert str(outcome.value) == "the queue is full"
    assert isinstance(outcome.value, Overloaded)
    assert outcome.value.retry_after_s == 0.75


async def flood(
    harness: BatcherHarness, sizes: Sequence[int], every_s: float, deadline_s: float
) -> list[tuple[Outcome, float]]:
    """Make requests of these sizes at a fixed rate, and return their outcomes and times of arrival."""
    start_s = now()
    arrivals_s = [start_s + index * every_s for index in range(len(sizes))]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    requests = [
        harness.request(*range(start, start + size), at_s=at_s, deadline_s=deadline_s)
        for start, size, at_s in zip(starts, sizes, arrivals_s, strict=True)
    ]
    return list(zip(await outcomes_of(*requests), arrivals_s, strict=True))


@in_virtual_time
@pytest.mark.parametrize("concurrent_calls", [1, 2])
@pytest.mark.parametrize("deadline_s", [1.0, 2.0, 5.0])
async def test_flood_meets_deadlines_and_keeps_calls_full(concurrent_calls: int, deadline_s: float) -> None:
    harness = await measured_harness(
        concurrent_calls=concurrent_calls, max_batch_windows=8, duration_s=0.25, max_queued_windows=8192
    )
    capacity = 32 * concurrent_calls  # windows/s
    flooded_s = 8
    outcomes = await flood(harness, [1] * (4 * capacity * flooded_s), 1 / (4 * capacity), deadline_s)
    rejected_immediately = [outcome.type_and_time == (Overloaded, arrived_s) for outcome, arrived_s in outcomes]
    in_time = [
        isinstance(outcome.value, list) and outcome.at_s <= arrived_s + deadline_s for outcome, arrived_s in outcomes
    ]
    assert all(one != other for one, other in zip(rejected_immediately, in_time, strict=True))
    calls = [call for call in harness.call.calls if 2 <= call.started_s < flooded_s]  # while the queue is long
    assert len(calls) == concurrent_calls * (flooded_s - 2) / 0.25
    assert {len(call.items) for call in calls} == {8}  # all calls are full


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=20, max_size=80),
    every_s=st.sampled_from([1 / 64, 1 / 16, 1 / 4]),
    concurrent_calls=st.integers(1, 3),
    deadline_s=st.sampled_from([2.5, 5.0]),
)
def test_flood_of_any_shape_serves_all_accepted_requests(
    sizes: list[int], every_s: float, concurrent_calls: int, deadline_s: float
) -> None:
    async def scenario() -> None:
        harness = await measured_harness(
            concurrent_calls=concurrent_calls, max_batch_windows=8, duration_s=0.25, max_queued_windows=8192
        )
        for outcome, arrived_s in await flood(harness, sizes, every_s, deadline_s):
            assert isinstance(outcome.value, list) or outcome.type_and_time == (Overloaded, arrived_s)

    run(scenario())
