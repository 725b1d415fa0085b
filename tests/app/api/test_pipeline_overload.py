"""Tests of responses when the server is overloaded, too slow, draining or failing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.artifact.arrays import F32
from app.inference.forecaster import Forecaster, PreprocessedBatch
from app.settings import Settings
from tests.app.api.app_client import AppClient, running_app
from tests.prices import PRICES


@pytest.fixture
def slow_client(shipped: Path) -> Iterator[AppClient]:
    """A server that delays every batch past the deadline, with a queue of two windows."""
    with running_app(
        Settings(
            models_dir=shipped, batch_delay_s=1.0, max_batch_windows=64, max_queued_windows=2, max_request_windows=2,
            deadline_s=0.05, drain_deadline_s=0.01,
        )
    ) as client:  # fmt: skip
        yield client


async def post_concurrently(client: httpx.AsyncClient, requests: int) -> list[httpx.Response]:
    bodies = [
        {"prices": [100.0 + i, *PRICES[1:]]} for i in range(requests)
    ]  # identical windows would share one place in the queue
    return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))


def test_full_queue_returns_503_with_retry_after(slow_client: AppClient) -> None:
    responses: list[httpx.Response] = slow_client.run(lambda http: post_concurrently(http, 3))
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [503, 504, 504]
    [rejected] = [response for response in responses if response.status_code == 503]
    assert rejected.json()["type"] == "urn:pricecast:overloaded"
    assert int(rejected.headers["retry-after"]) >= 1


def test_identical_windows_in_flight_are_computed_once(shipped: Path) -> None:
    async def post_concurrently_identical(http: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(http.post("/predict", json={"prices": PRICES}) for _ in range(20)))

    with running_app(Settings(models_dir=shipped, batch_delay_s=0.05)) as client:
        responses: list[httpx.Response] = client.run(post_concurrently_identical)
        assert {response.status_code for response in responses} == {200}
        assert len({response.text for response in responses}) == 1
        assert "pricecast_call_windows_sum 1.0" in client.get("/metrics").text


def test_expired_deadline_returns_504(slow_client: AppClient) -> None:
    response = slow_client.post("/predict", json={"prices": PRICES})
    assert (response.status_code, response.json()["type"]) == (504, "urn:pricecast:deadline-exceeded")


def test_draining_server_rejects_forecasts(slow_client: AppClient) -> None:
    async def drain_then_post(http: httpx.AsyncClient) -> httpx.Response:
        await slow_client.app.lifecycle.drain()
        return await http.post("/predict", json={"prices": PRICES})

    response = slow_client.run(drain_then_post)
    assert (response.status_code, response.json()["type"]) == (503, "urn:pricecast:draining")
    assert slow_client.get("/health/ready").status_code == 503


@pytest.fixture
def poisoned_client(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppClient]:
    """A server whose engine fails on every batch with a window that ends at 666."""
    original_compute = Forecaster.infer

    def infer(self: Forecaster, batch: PreprocessedBatch) -> F32:
        if 666 in batch.encoded.last_price:
            raise RuntimeError("secret-4711")
        return original_compute(self, batch)

    monkeypatch.setattr(Forecaster, "infer", infer)
    with running_app(Settings(models_dir=shipped, batch_delay_s=0.05)) as client:
        yield client


def test_failing_window_fails_only_its_own_request(poisoned_client: AppClient) -> None:
    async def post_concurrently_mixed(http: httpx.AsyncClient) -> list[httpx.Response]:
        bodies: list[dict[str, Any]] = [{"prices": [*PRICES[:-1], 666.0 if i == 5 else 600.0 + i]} for i in range(12)]
        return await asyncio.gather(*(http.post("/predict", json=body) for body in bodies))

    responses: list[httpx.Response] = poisoned_client.run(post_concurrently_mixed)
    assert [response.status_code for response in responses] == [500 if i == 5 else 200 for i in range(12)]
    assert "secret-4711" not in responses[5].text
    assert all(len(response.headers.get_list("x-request-id")) == 1 for response in responses)
    assert responses[5].headers["x-request-id"] == responses[5].json()["request_id"]
    assert np.isfinite([response.json()["forecast"][0] for response in responses if response.status_code == 200]).all()


def test_stopped_batcher_makes_the_server_unready(shipped: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(call: object) -> None:
        raise RuntimeError("bookkeeping")

    with running_app(Settings(models_dir=shipped)) as client:
        client.app.lifecycle.registry.get().runner.batcher._on_call = fail
        assert client.post("/predict", json={"prices": PRICES}).status_code == 503
        assert "has failed and must be reloaded" in client.get("/health/ready").json()["detail"]
        assert client.post("/predict", json={"prices": PRICES}).json()["type"] == "urn:pricecast:not-ready"
        assert "a batcher has stopped" in caplog.text
