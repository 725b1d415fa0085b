"""Tests of the batcher: deadlines of accepted requests."""

import asyncio

import pytest

from app.errors import DeadlineExceeded
from tests.app.serving.batcher_harness import HOUR_S, BatcherHarness, outcomes_of, succeeded
from tests.virtual_time import Deadlock, in_virtual_time, now, run


@in_virtual_time
async def test_deadline_in_the_queue_drops_the_request() -> None:
    harness = BatcherHarness(max_queued_windows=4)
    first = harness.request(1)
    expired = harness.request(2, 3, at_s=0.125, deadline_s=0.5)
    other = harness.request(4, 5, at_s=0.125)
    late = harness.request(6, 7, at_s=0.75)
    outcome = await expired
    assert outcome.type_and_time == (DeadlineExceeded, 0.625)
    assert str(outcome.value) == "no forecast within 0.5 s"
    assert harness.batcher.queued_windows == 2
    assert await outcomes_of(first, other, late) == [
        succeeded(1, at_s=1.0),
        succeeded(4, 5, at_s=2.0),
        succeeded(6, 7, at_s=2.0),
    ]
    assert harness.call.starts == [(0.0, [1]), (1.0, [4, 5, 6, 7])]


@in_virtual_time
async def test_deadline_covers_queueing_and_computing() -> None:
    harness = BatcherHarness()
    first = harness.request(1)
    expired = harness.request(2, at_s=0.25, deadline_s=1.5)
    other = harness.request(3, at_s=0.25, deadline_s=2.0)
    assert (await expired).type_and_time == (DeadlineExceeded, 1.75)
    assert await first == succeeded(1, at_s=1.0)
    assert await other == succeeded(3, at_s=2.0)
    assert harness.call.starts == [(0.0, [1]), (1.0, [2, 3])]


@in_virtual_time
async def test_deadline_of_a_hanging_call_is_kept() -> None:
    harness = BatcherHarness()
    harness.call.hangs = True
    assert (await harness.request(1, deadline_s=HOUR_S)).type_and_time == (DeadlineExceeded, HOUR_S)


def test_answered_request_leaves_no_timer() -> None:
    ends_s: list[float] = []

    async def scenario() -> None:
        await BatcherHarness().request(1, deadline_s=HOUR_S)
        try:
            await asyncio.Event().wait()
        finally:
            ends_s.append(now())

    with pytest.raises(Deadlock):  # immediately: no timer is left that the clock could jump to
        run(scenario())
    assert ends_s == [1.0]


@in_virtual_time
async def test_deadline_drops_the_waiting_parts_of_a_split_request() -> None:
    harness = BatcherHarness()
    large, other = harness.request(*range(10), deadline_s=1.5), harness.request(10)
    assert (await large).type_and_time == (DeadlineExceeded, 1.5)
    assert harness.batcher.queued_windows == 1
    assert await other == succeeded(10, at_s=3.0)
    assert harness.call.starts == [(0.0, [0, 1, 2, 3]), (1.0, [4, 5, 6, 7]), (2.0, [10])]
