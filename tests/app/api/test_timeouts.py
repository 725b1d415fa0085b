"""Tests of timeouts: the header, the scheduler and the deadline scope."""

import asyncio

import pytest

from app.api.timeouts import TICK_S, DeadlineScope, TimeoutScheduler
from tests.app.api.app_client import JSON_HEADERS, AppClient
from tests.prices import PRICES
from tests.virtual_time import in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


# X-Request-Timeout-Ms


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize(
    "value", ["", "0", "000", "-5", "+5", "1.5", "1e3", "5ms", "soon", "5 0", "0x10", "9999999999", "²", "٣"]
)
def test_invalid_timeout_header_returns_400(client: AppClient, path: str, value: str) -> None:
    headers = JSON_HEADERS | {"x-request-timeout-ms": value}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    response = client.post(path, content=b"{}", headers=raw)
    assert (response.status_code, response.json()["type"]) == (400, "urn:pricecast:invalid-header")
    assert response.json()["detail"].startswith("X-Request-Timeout-Ms: ")


@pytest.mark.parametrize("value", ["1000", "0001000", "999999999"])
def test_valid_timeout_header_is_accepted(client: AppClient, value: str) -> None:
    response = client.post("/predict", json={"prices": PRICES}, headers={"x-request-timeout-ms": value})
    assert response.status_code == 200


# TimeoutScheduler


@in_virtual_time
@pytest.mark.parametrize("delay_s", [0.0, 0.01, TICK_S, 0.12, 3.3])
async def test_scheduler_calls_back_once_within_one_tick(delay_s: float) -> None:
    call_times_s: list[float] = []
    scheduler = TimeoutScheduler()
    started_s = now()
    scheduler.schedule(lambda: call_times_s.append(now() - started_s), delay_s)
    await asyncio.sleep(10)
    [called_s] = call_times_s
    assert delay_s <= called_s <= delay_s + TICK_S + 1e-9


@in_virtual_time
async def test_scheduler_cancel_prevents_call_and_can_repeat() -> None:
    called: list[str] = []
    scheduler = TimeoutScheduler()

    def callback() -> None:
        called.append("cancelled")

    scheduler.schedule(callback, 0.1)
    scheduler.schedule(lambda: called.append("kept"), 0.2)
    scheduler.cancel(callback)
    scheduler.cancel(callback)
    await asyncio.sleep(1)
    assert called == ["kept"]


@in_virtual_time
async def test_scheduler_stops_ticking_when_idle() -> None:
    scheduler = TimeoutScheduler()
    scheduler.schedule(lambda: None, 0.1)
    await asyncio.sleep(1)
    assert not scheduler._is_ticking
    called: list[float] = []
    scheduler.schedule(lambda: called.append(now()), 0.1)
    await asyncio.sleep(1)
    assert len(called) == 1


@in_virtual_time
async def test_scheduler_callback_can_schedule_another() -> None:
    called: list[float] = []
    scheduler = TimeoutScheduler()
    scheduler.schedule(lambda: scheduler.schedule(lambda: called.append(now()), 0.1), 0.1)
    await asyncio.sleep(1)
    assert len(called) == 1


# DeadlineScope


@in_virtual_time
async def test_deadline_scope_cancels_only_a_slow_body() -> None:
    scheduler = TimeoutScheduler()
    with DeadlineScope(scheduler, 0.5):
        await asyncio.sleep(0.4)
    started_s = now()
    with pytest.raises(TimeoutError), DeadlineScope(scheduler, 0.5):
        await asyncio.sleep(9)
    assert 0.5 <= now() - started_s <= 0.5 + TICK_S + 1e-9
    await asyncio.sleep(1)  # a leftover timeout would cancel this


@in_virtual_time
async def test_deadline_scope_propagates_other_errors() -> None:
    scheduler = TimeoutScheduler()
    with pytest.raises(ValueError, match="mine"), DeadlineScope(scheduler, 0.5):
        raise ValueError("mine")
    await asyncio.sleep(1)


@in_virtual_time
async def test_deadline_scope_simultaneous_cancellation_wins() -> None:
    task: asyncio.Task[None]

    async def sleep_under_deadline() -> None:
        scheduler = TimeoutScheduler()
        scheduler.schedule(cancel, 0.5)
        with DeadlineScope(scheduler, 0.5):
            await asyncio.sleep(9)

    def cancel() -> None:
        task.cancel()

    task = asyncio.create_task(sleep_under_deadline())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@in_virtual_time
async def test_deadline_scope_external_cancellation_propagates() -> None:
    async def sleep_under_deadline() -> None:
        with DeadlineScope(TimeoutScheduler(), 5):
            await asyncio.sleep(9)

    task = asyncio.create_task(sleep_under_deadline())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
