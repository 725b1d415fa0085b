"""Tests of the batcher: `close` rejects new requests and lets accepted requests finish."""

import asyncio

from app.errors import Draining
from tests.app.serving.batcher_harness import HOUR_S, BatcherHarness, is_cancelled, outcomes_of, succeeded
from tests.virtual_time import in_virtual_time, now, sleep_until


@in_virtual_time
async def test_close_rejects_new_and_finishes_accepted_requests() -> None:
    harness = BatcherHarness()
    first, waiting, late = harness.request(1), harness.request(2, 3, at_s=0.25), harness.request(4, at_s=0.75)
    await sleep_until(0.5)
    await harness.batcher.close(HOUR_S)
    assert now() == 2.0
    assert await outcomes_of(first, waiting) == [succeeded(1, at_s=1.0), succeeded(2, 3, at_s=2.0)]
    assert (await late).type_and_time == (Draining, 0.75)
    assert harness.call.starts == [(0.0, [1]), (1.0, [2, 3])]
    assert not harness.batcher.is_healthy


@in_virtual_time
async def test_close_fails_unfinished_requests_at_its_deadline() -> None:
    harness = BatcherHarness()
    requests = [harness.request(1), harness.request(2, at_s=0.125), harness.request(*range(3, 9), at_s=0.125)]
    await sleep_until(0.25)
    await harness.batcher.close(1.0)
    assert now() == 1.25
    outcomes = await outcomes_of(*requests)
    assert [outcome.type_and_time for outcome in outcomes] == [(list, 1.0), (Draining, 1.25), (Draining, 1.25)]
    assert harness.batcher.queued_windows == 0
    await asyncio.sleep(HOUR_S)
    assert harness.call.starts == [(0.0, [1]), (1.0, [2, 3, 4, 5])]
    assert harness.call.calls[1].ended_s is None  # it was cancelled
    assert harness.deaths == []  # closing is no failure
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_close_skips_the_delay() -> None:
    harness = BatcherHarness(delay_s=HOUR_S)
    request = harness.request(1)
    await sleep_until(0.5)
    await harness.batcher.close(10.0)
    assert await request == succeeded(1, at_s=1.5)
    assert now() == 1.5


@in_virtual_time
async def test_close_when_idle_returns_immediately() -> None:
    harness = BatcherHarness()
    await harness.batcher.close(HOUR_S)
    assert now() == 0.0
    assert (await harness.request(1)).type_and_time == (Draining, 0.0)
    assert harness.call.starts == []


@in_virtual_time
async def test_close_without_drain_time_fails_requests_immediately() -> None:
    harness = BatcherHarness()
    request = harness.request(1)
    await sleep_until(0.5)
    await harness.batcher.close(0.0)
    assert (await request).type_and_time == (Draining, 0.5)


@in_virtual_time
async def test_close_does_not_wait_for_an_abandoned_call() -> None:
    harness = BatcherHarness()
    harness.call.hangs = True
    cancelled = harness.request(1)
    await sleep_until(0.5)
    cancelled.cancel()
    assert await is_cancelled(cancelled)
    await harness.batcher.close(HOUR_S)
    assert now() == 0.5
    await asyncio.sleep(1)
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_close_twice_is_allowed() -> None:
    harness = BatcherHarness()
    request = harness.request(1)
    await sleep_until(0.5)
    await asyncio.gather(harness.batcher.close(HOUR_S), harness.batcher.close(HOUR_S))
    assert now() == 1.0
    assert await request == succeeded(1, at_s=1.0)
    await harness.batcher.close(HOUR_S)
    assert now() == 1.0


@in_virtual_time
async def test_close_twice_ends_at_the_earlier_deadline() -> None:
    harness = BatcherHarness()
    harness.call.hangs = True
    request = harness.request(1)
    await sleep_until(0.5)
    await asyncio.gather(harness.batcher.close(HOUR_S), harness.batcher.close(1.0))
    assert now() == 1.5
    assert (await request).type_and_time == (Draining, 1.5)
