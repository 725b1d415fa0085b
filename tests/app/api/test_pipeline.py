"""Tests of the request pipeline: deadlines, early rejection and windows in flight."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.requests import ClientDisconnect, Request

from app.api.middleware.rate_limit import ClientLimiter
from app.api.pipeline import RequestPipeline
from app.api.request_body import RequestBodyReader
from app.api.timeouts import DISCONNECT_WATCH_DELAY_S, TimeoutScheduler
from app.errors import BodyTooSlow, EngineFailed, TooManyWindows
from app.inference.forecaster import WindowForecast
from app.inference.input_checks import ForecastWarning
from app.settings import Settings
from tests.app.api.app_client import JSON_HEADERS, AppClient, batch_body, running_app
from tests.prices import PRICES
from tests.virtual_time import in_virtual_time


@pytest.fixture(scope="module")
def slow_client(shipped: Path) -> Iterator[AppClient]:
    """A server that delays every batch for longer than the tests wait."""
    with running_app(
        Settings(models_dir=shipped, batch_delay_s=1.0, max_batch_windows=64, drain_deadline_s=0.01)
    ) as client:
        yield client


@pytest.fixture(scope="module")
def short_deadline_client(shipped: Path) -> Iterator[AppClient]:
    """A server whose deadline passes before it computes a batch, with room for 4 windows per client."""
    with running_app(
        Settings(
            models_dir=shipped, batch_delay_s=1.0, max_batch_windows=64, drain_deadline_s=0.01, deadline_s=0.02,
            max_request_windows=4, max_windows_per_client=4,
        )
    ) as client:  # fmt: skip
        yield client


# Deadlines


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_timeout_header_sets_the_deadline(slow_client: AppClient, path: str) -> None:
    body = {"prices": PRICES} if path == "/predict" else batch_body(3)
    response = slow_client.post(path, json=body, headers={"x-request-timeout-ms": "20"})
    assert (response.status_code, response.json()["type"]) == (504, "urn:pricecast:deadline-exceeded")
    assert re.fullmatch(
        r"no forecast within 0\.0[12]\d* s", response.json()["detail"]
    )  # minus the time to read the body


def test_timeout_header_cannot_extend_the_server_deadline(short_deadline_client: AppClient) -> None:
    response = short_deadline_client.post(
        "/predict", json={"prices": PRICES}, headers={"x-request-timeout-ms": "60000"}
    )
    assert re.fullmatch(r"no forecast within 0\.0[12]\d* s", response.json()["detail"])


def test_missing_timeout_header_means_server_deadline(short_deadline_client: AppClient) -> None:
    detail = short_deadline_client.post("/predict", json={"prices": PRICES}).json()["detail"]
    assert re.fullmatch(r"no forecast within 0\.0[12]\d* s", detail)


@in_virtual_time
async def test_read_subtracts_body_time_from_the_deadline() -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.78)
        return {"type": "http.request", "body": b"{}"}

    registry: Any = None
    scheduler = TimeoutScheduler()
    pipeline = RequestPipeline(registry, RequestBodyReader(10, 5.0, scheduler), scheduler, 5.0, lambda code: None)
    request = Request({"type": "http"}, receive)
    body, remaining_s = await pipeline.read(request, {})
    assert (body, round(remaining_s, 9)) == (b"{}", 4.22)
    body, remaining_s = await pipeline.read(request, {b"x-request-timeout-ms": b"1000"})
    assert (body, round(remaining_s, 9)) == (b"{}", 0.22)
    for too_short_ms in (b"500", b"770"):  # 770 ms pass between two ticks of the scheduler
        with pytest.raises(BodyTooSlow, match=r"the body was not received within 0\.\d+ s"):
            await pipeline.read(request, {b"x-request-timeout-ms": too_short_ms})


# Early rejection


@pytest.fixture
def overloaded_client(client: AppClient, monkeypatch: pytest.MonkeyPatch) -> AppClient:
    """A server whose batcher predicts a 20-minute overrun for every deadline below 9 s."""

    def predicted_overrun_s(ahead: int, windows: float, deadline_s: float) -> float:
        return 1200.0 if deadline_s < 9 else 0.0

    monkeypatch.setattr(
        client.app.lifecycle.registry.get().runner.batcher.throughput, "predicted_overrun_s", predicted_overrun_s
    )
    return client


@pytest.mark.parametrize("content", [json.dumps({"prices": PRICES}).encode(), b"not even JSON", b""])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_late_request_is_rejected_before_parsing(overloaded_client: AppClient, path: str, content: bytes) -> None:
    response = overloaded_client.post(path, content=content, headers=JSON_HEADERS | {"x-request-timeout-ms": "8000"})
    assert (response.status_code, response.json()["type"]) == (503, "urn:pricecast:overloaded")
    assert response.headers["retry-after"] == "1200"
    patient = overloaded_client.post(path, content=content, headers=JSON_HEADERS)
    assert patient.status_code == (200 if content.startswith(b"{") and path == "/predict" else 422)


def test_body_naming_a_model_is_parsed_before_rejection(overloaded_client: AppClient) -> None:
    short_timeout = JSON_HEADERS | {"x-request-timeout-ms": "8000"}
    assert (
        overloaded_client.post("/predict", content=b'{"model": "tutorial", ', headers=short_timeout).status_code == 422
    )
    for model, status in (("default", 503), ("tutorial", 200)):
        body = {"model": model, "prices": PRICES}
        assert overloaded_client.post("/predict", json=body, headers=short_timeout).status_code == status


def test_early_rejection_estimates_the_number_of_windows(client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    estimates: list[int] = []
    runner = client.app.lifecycle.registry.get().runner
    monkeypatch.setattr(runner, "reject_early", lambda windows, deadline_s: estimates.append(windows))
    assert client.post("/predict", json={"prices": PRICES * 9}).status_code == 200
    assert client.post("/predict/batch", json=batch_body(7)).status_code == 200
    assert client.post("/predict/batch", json=batch_body(301)).status_code == 422  # the maximum is 300
    tensor = {"name": "prices", "shape": [7, 60], "datatype": "FP64", "data": [0.1234567890123456] * 420}
    assert client.post("/v2/models/default/infer", json={"inputs": [tensor]}).status_code == 200
    assert estimates[:3] == [1, 7, 300]
    assert 1 <= estimates[3] <= 7  # a lower bound


def test_missing_default_model_still_reports_invalid_body(tmp_path: Path) -> None:
    with running_app(Settings(models_dir=tmp_path)) as client:
        assert client.post("/predict", content=b"{}", headers=JSON_HEADERS).status_code == 422
        assert client.post("/predict", json={"prices": PRICES}).status_code == 503


# Windows in flight


def test_windows_in_flight_are_limited_and_released(short_deadline_client: AppClient) -> None:
    async def post_concurrently(http: httpx.AsyncClient) -> list[httpx.Response]:
        bodies = [batch_body(3), batch_body(2, 100.0), batch_body(1, 200.0)]
        return await asyncio.gather(*(http.post("/predict/batch", json=body) for body in bodies))

    for _ in range(2):  # the second round shows that the windows were released
        responses: list[httpx.Response] = short_deadline_client.run(post_concurrently)
        assert [response.status_code for response in responses] == [504, 429, 504]
        problem = responses[1].json()
        assert problem["type"] == "urn:pricecast:too-many-windows"
        assert problem["detail"] == "this request would exceed the limit of 4 windows in flight for client anonymous"
        assert int(responses[1].headers["retry-after"]) >= 1
    assert short_deadline_client.metrics()['pricecast_problems_total{reason="too-many-windows"}'] == 2


class FakeRunner:
    """A model runner with a given outcome. Records how many windows the client has in flight at each call."""

    def __init__(self, limiter: ClientLimiter) -> None:
        self.error: Exception | None = None
        self.in_flight: list[int] = []
        self._limiter = limiter

    async def submit(self, windows: Sequence[bytes], deadline_s: float) -> Any:
        self.in_flight.append(self._limiter._windows_in_flight)
        await asyncio.sleep(10 * DISCONNECT_WATCH_DELAY_S)
        if self.error is not None:
            raise self.error
        return [WindowForecast(np.zeros((1, 1)), [ForecastWarning("constant_window", "all")]) for _ in windows]


class LimitedClient:
    """A client with a limit of five windows in flight, which submits requests and may disconnect."""

    def __init__(self) -> None:
        self.limiter = ClientLimiter("alice", 0, 5)
        self.runner = FakeRunner(self.limiter)
        self.disconnected = asyncio.Event()
        self.on_disconnect: Callable[[], object] = lambda: None
        self.warnings: list[str] = []

    def submit(self, windows: int) -> Coroutine[Any, Any, list[WindowForecast]]:
        async def receive() -> dict[str, str]:
            await self.disconnected.wait()
            self.on_disconnect()
            return {"type": "http.disconnect"}

        request = Request({"type": "http", "headers": [], "state": {"client": self.limiter}}, receive)
        model: Any = SimpleNamespace(runner=self.runner)
        registry: Any = None
        scheduler = TimeoutScheduler()
        pipeline = RequestPipeline(
            registry, RequestBodyReader(0, 10.0, scheduler), scheduler, 10.0, self.warnings.append
        )
        return pipeline.submit(request, model, [b"w"] * windows, 10.0)


@in_virtual_time
async def test_windows_are_released_after_the_response() -> None:
    client = LimitedClient()
    await asyncio.gather(client.submit(2), client.submit(3))
    assert (client.runner.in_flight, client.limiter._windows_in_flight) == ([2, 5], 0)
    assert client.warnings == ["constant_window"] * 5


@in_virtual_time
async def test_windows_are_released_after_a_failure() -> None:
    client = LimitedClient()
    client.runner.error = EngineFailed("no number")
    with pytest.raises(EngineFailed):
        await client.submit(5)
    assert client.limiter._windows_in_flight == 0


@in_virtual_time
async def test_windows_are_released_after_a_disconnect() -> None:
    client = LimitedClient()
    client.disconnected.set()
    with pytest.raises(ClientDisconnect):
        await client.submit(5)
    assert (client.runner.in_flight, client.limiter._windows_in_flight) == ([5], 0)


@in_virtual_time
async def test_windows_are_released_after_a_cancellation() -> None:
    client = LimitedClient()
    request = asyncio.create_task(client.submit(5))
    await asyncio.sleep(DISCONNECT_WATCH_DELAY_S)
    assert client.limiter._windows_in_flight == 5
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert client.limiter._windows_in_flight == 0


@in_virtual_time
async def test_cancellation_during_disconnect_takes_precedence() -> None:
    client = LimitedClient()
    client.disconnected.set()
    request = asyncio.create_task(client.submit(5))
    client.on_disconnect = request.cancel
    with pytest.raises(asyncio.CancelledError):
        await request
    assert client.limiter._windows_in_flight == 0


@in_virtual_time
async def test_rejected_windows_do_not_count_as_in_flight() -> None:
    client = LimitedClient()
    first = asyncio.create_task(client.submit(3))
    await asyncio.sleep(DISCONNECT_WATCH_DELAY_S)
    with pytest.raises(TooManyWindows):
        await client.submit(3)
    assert client.limiter._windows_in_flight == 3
    await client.submit(2)
    await first
    assert client.limiter._windows_in_flight == 0
