"""By when a client wants its answer, how much of its work is in flight, and what is refused before it is read."""

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
from app.api.timeouts import UNWATCHED_S, TimeoutScheduler
from app.errors import BodyTooSlow, EngineFailed, TooManyWindows
from app.inference.forecaster import WindowForecast
from app.inference.input_checks import ForecastWarning
from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.virtual_time import in_virtual_time

PRICES = [100.0 + i % 7 for i in range(60)]
JSON = {"content-type": "application/json"}


def series(count: int, first: float = 50.0) -> dict[str, Any]:
    return {"series": [{"prices": [first + i, *PRICES[1:]]} for i in range(count)]}


@pytest.fixture(scope="module")
def slow(shipped: Path) -> Iterator[Client]:
    """A server whose calls wait for company, longer than these tests have patience."""
    yield from start(Settings(models_dir=shipped, batch_delay_s=1.0, max_batch_windows=64, drain_deadline_s=0.01))


@pytest.fixture(scope="module")
def hasty(shipped: Path) -> Iterator[Client]:
    """The same, with a deadline that passes before."""
    yield from start(
        Settings(
            models_dir=shipped, batch_delay_s=1.0, max_batch_windows=64, drain_deadline_s=0.01, deadline_s=0.02,
            max_request_windows=4, max_windows_per_client=4,
        )
    )  # fmt: skip


# Deadlines


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize(
    "sent", ["", "0", "000", "-5", "+5", "1.5", "1e3", "5ms", "soon", "5 0", "0x10", "9999999999", "²", "٣"]
)
def test_a_timeout_that_is_no_time_is_refused_and_the_header_is_named(client: Client, path: str, sent: str) -> None:
    headers = JSON | {"x-request-timeout-ms": sent}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    response = client.post(path, content=b"{}", headers=raw)
    assert (response.status_code, response.json()["type"]) == (400, "urn:pricecast:invalid-header")
    assert response.json()["detail"].startswith("X-Request-Timeout-Ms: ")


@pytest.mark.parametrize("sent", ["1000", "0001000", "999999999"])
def test_a_timeout_that_is_a_time_is_taken(client: Client, sent: str) -> None:
    response = client.post("/predict", json={"prices": PRICES}, headers={"x-request-timeout-ms": sent})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_a_timeout_is_kept_to(slow: Client, path: str) -> None:
    body = {"prices": PRICES} if path == "/predict" else series(3)
    response = slow.post(path, json=body, headers={"x-request-timeout-ms": "20"})
    assert (response.status_code, response.json()["type"]) == (504, "urn:pricecast:deadline-exceeded")
    assert re.fullmatch(r"no forecast within 0\.0[12]\d* s", response.json()["detail"])  # less what reading took


def test_a_timeout_longer_than_the_servers_own_counts_as_that(hasty: Client) -> None:
    response = hasty.post("/predict", json={"prices": PRICES}, headers={"x-request-timeout-ms": "60000"})
    assert re.fullmatch(r"no forecast within 0\.0[12]\d* s", response.json()["detail"])


def test_without_a_timeout_the_servers_own_holds(hasty: Client) -> None:
    detail = hasty.post("/predict", json={"prices": PRICES}).json()["detail"]
    assert re.fullmatch(r"no forecast within 0\.0[12]\d* s", detail)


@in_virtual_time
async def test_what_the_body_takes_to_come_is_time_gone_by() -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.78)
        return {"type": "http.request", "body": b"{}"}

    registry: Any = None
    ticker = TimeoutScheduler()
    pipeline = RequestPipeline(registry, RequestBodyReader(10, 5.0, ticker), ticker, 5.0, lambda code: None)
    request = Request({"type": "http"}, receive)
    body, left_s = await pipeline.read(request, {})
    assert (body, round(left_s, 9)) == (b"{}", 4.22)
    body, left_s = await pipeline.read(request, {b"x-request-timeout-ms": b"1000"})
    assert (body, round(left_s, 9)) == (b"{}", 0.22)
    for too_short_ms in (b"500", b"770"):  # also where no tick comes in between
        with pytest.raises(BodyTooSlow, match=r"the body did not come within 0\.\d+ s"):
            await pipeline.read(request, {b"x-request-timeout-ms": too_short_ms})


@pytest.fixture
def crowded(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A server whose batcher takes everyone for 20 minutes too late who is ready to wait for less than 9 s."""

    def predicted_overrun_s(ahead: int, windows: float, deadline_s: float) -> float:
        return 1200.0 if deadline_s < 9 else 0.0

    monkeypatch.setattr(
        client.app.lifecycle.registry.get().runner.batcher.throughput, "predicted_overrun_s", predicted_overrun_s
    )
    return client


@pytest.mark.parametrize("content", [json.dumps({"prices": PRICES}).encode(), b"not even JSON", b""])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_who_would_be_answered_too_late_is_refused_before_the_body_is_parsed(
    crowded: Client, path: str, content: bytes
) -> None:
    response = crowded.post(path, content=content, headers=JSON | {"x-request-timeout-ms": "8000"})
    assert (response.status_code, response.json()["type"]) == (503, "urn:pricecast:overloaded")
    assert response.headers["retry-after"] == "1200"
    unhurried = crowded.post(path, content=content, headers=JSON)
    assert unhurried.status_code == (200 if content.startswith(b"{") and path == "/predict" else 422)


def test_a_body_that_names_a_model_is_read_first_as_that_model_may_have_time(crowded: Client) -> None:
    hurried = JSON | {"x-request-timeout-ms": "8000"}
    assert crowded.post("/predict", content=b'{"model": "tutorial", ', headers=hurried).status_code == 422
    for model, status in (("default", 503), ("tutorial", 200)):
        body = {"model": model, "prices": PRICES}
        assert crowded.post("/predict", json=body, headers=hurried).status_code == status


def test_a_request_is_taken_for_as_large_as_it_is(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    runner = client.app.lifecycle.registry.get().runner
    monkeypatch.setattr(runner, "reject_early", lambda windows, deadline_s: asked.append(windows))
    assert client.post("/predict", json={"prices": PRICES * 9}).status_code == 200
    assert client.post("/predict/batch", json=series(7)).status_code == 200
    assert client.post("/predict/batch", json=series(301)).status_code == 422  # of at most 300
    tensor = {"name": "prices", "shape": [7, 60], "datatype": "FP64", "data": [0.1234567890123456] * 420}
    assert client.post("/v2/models/default/infer", json={"inputs": [tensor]}).status_code == 200
    assert asked[:3] == [1, 7, 300]
    assert 1 <= asked[3] <= 7  # no number has more bytes than are reckoned with


def test_without_a_default_model_a_fault_is_told_all_the_same(tmp_path: Path) -> None:
    for client in start(Settings(models_dir=tmp_path)):
        assert client.post("/predict", content=b"{}", headers=JSON).status_code == 422
        assert client.post("/predict", json={"prices": PRICES}).status_code == 503


# Windows in flight


def test_a_client_has_no_more_windows_in_flight_than_allowed_and_gets_them_back(hasty: Client) -> None:
    async def together(http: httpx.AsyncClient) -> list[httpx.Response]:
        bodies = [series(3), series(2, 100.0), series(1, 200.0)]
        return await asyncio.gather(*(http.post("/predict/batch", json=body) for body in bodies))

    for _ in range(2):  # the second time, all is as it was
        responses: list[httpx.Response] = hasty.run(together)
        assert [response.status_code for response in responses] == [504, 429, 504]
        refused = responses[1].json()
        assert refused["type"] == "urn:pricecast:too-many-windows"
        assert refused["detail"] == "more than 4 windows in flight of anonymous"
        assert int(responses[1].headers["retry-after"]) >= 1
    assert hasty.metrics()['pricecast_problems_total{reason="too-many-windows"}'] == 2


class Runner:
    """Stands for a model's: does as it is told, and keeps what the client had in flight meanwhile."""

    def __init__(self, client: ClientLimiter) -> None:
        self.outcome: Any = None
        self.in_flight: list[int] = []
        self._client = client

    async def submit(self, windows: Sequence[bytes], deadline_s: float) -> Any:
        self.in_flight.append(self._client._windows)
        await asyncio.sleep(10 * UNWATCHED_S)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return [WindowForecast(np.zeros((1, 1)), [ForecastWarning("constant_window", "all")]) for _ in windows]


class Scenario:
    """A client that may have five windows in flight, and what it asks for."""

    def __init__(self) -> None:
        self.client = ClientLimiter("alice", 0, 5)
        self.runner = Runner(self.client)
        self.gone = asyncio.Event()
        self.when_gone: Callable[[], object] = lambda: None
        self.warned: list[str] = []

    def ask(self, windows: int) -> "Coroutine[Any, Any, Any]":
        async def receive() -> dict[str, str]:
            await self.gone.wait()
            self.when_gone()
            return {"type": "http.disconnect"}

        request = Request({"type": "http", "headers": [], "state": {"client": self.client}}, receive)
        model: Any = SimpleNamespace(runner=self.runner)
        registry: Any = None
        ticker = TimeoutScheduler()
        pipeline = RequestPipeline(registry, RequestBodyReader(0, 10.0, ticker), ticker, 10.0, self.warned.append)
        return pipeline.answers(request, model, [b"w"] * windows, 10.0)


@in_virtual_time
async def test_windows_are_given_back_when_they_are_answered() -> None:
    asks = Scenario()
    await asyncio.gather(asks.ask(2), asks.ask(3))
    assert (asks.runner.in_flight, asks.client._windows) == ([2, 5], 0)
    assert asks.warned == ["constant_window"] * 5


@in_virtual_time
async def test_windows_are_given_back_when_they_fail() -> None:
    asks = Scenario()
    asks.runner.outcome = EngineFailed("no number")
    with pytest.raises(EngineFailed):
        await asks.ask(5)
    assert asks.client._windows == 0


@in_virtual_time
async def test_windows_are_given_back_when_the_client_leaves() -> None:
    asks = Scenario()
    asks.gone.set()
    with pytest.raises(ClientDisconnect):
        await asks.ask(5)
    assert (asks.runner.in_flight, asks.client._windows) == ([5], 0)


@in_virtual_time
async def test_windows_are_given_back_when_the_request_is_cancelled() -> None:
    asks = Scenario()
    request = asyncio.create_task(asks.ask(5))
    await asyncio.sleep(UNWATCHED_S)
    assert asks.client._windows == 5
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert asks.client._windows == 0


@in_virtual_time
async def test_a_request_that_is_cancelled_as_its_client_leaves_is_cancelled() -> None:
    asks = Scenario()
    asks.gone.set()
    request = asyncio.create_task(asks.ask(5))
    asks.when_gone = request.cancel
    with pytest.raises(asyncio.CancelledError):
        await request
    assert asks.client._windows == 0


@in_virtual_time
async def test_windows_that_are_refused_take_nothing_from_those_in_flight() -> None:
    asks = Scenario()
    first = asyncio.create_task(asks.ask(3))
    await asyncio.sleep(UNWATCHED_S)
    with pytest.raises(TooManyWindows):
        await asks.ask(3)
    assert asks.client._windows == 3
    await asks.ask(2)
    await first
    assert asks.client._windows == 0
