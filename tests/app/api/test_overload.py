"""What a client sees when there is too much work, too little time, or an engine that fails."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.artifact.transform import F32
from app.inference.forecaster import PreprocessedBatch, Forecaster
from app.settings import Settings
from tests.app.api.conftest import Client, start

PRICES = [100.0 + i % 7 for i in range(60)]


@pytest.fixture
def waiting(shipped: Path) -> Iterator[Client]:
    """A server whose calls wait for company, longer than anyone has time, with room for two windows."""
    yield from start(
        Settings(
            models_dir=shipped, batch_delay_s=1.0, max_batch_windows=64, max_queued_windows=2, max_request_windows=2,
            deadline_s=0.05, drain_deadline_s=0.01,
        )
    )  # fmt: skip


async def together(client: httpx.AsyncClient, requests: int) -> list[httpx.Response]:
    bodies = [{"prices": [100.0 + i, *PRICES[1:]]} for i in range(requests)]  # none alike: those share a place
    return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(waiting: Client) -> None:
    responses: list[httpx.Response] = waiting.run(lambda http: together(http, 3))
    by_status = sorted(response.status_code for response in responses)
    assert by_status == [503, 504, 504]
    [refused] = [response for response in responses if response.status_code == 503]
    assert refused.json()["type"] == "urn:pricecast:overloaded"
    assert int(refused.headers["retry-after"]) >= 1


def test_identical_windows_in_flight_are_computed_once_for_all_who_ask(shipped: Path) -> None:
    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(http.post("/predict", json={"prices": PRICES}) for _ in range(20)))

    for client in start(Settings(models_dir=shipped, batch_delay_s=0.05)):
        responses: list[httpx.Response] = client.run(ask)
        assert {response.status_code for response in responses} == {200}
        assert len({response.text for response in responses}) == 1
        assert "pricecast_call_windows_sum 1.0" in client.get("/metrics").text


def test_a_deadline_that_passes_is_told(waiting: Client) -> None:
    response = waiting.post("/predict", json={"prices": PRICES})
    assert (response.status_code, response.json()["type"]) == (504, "urn:pricecast:deadline-exceeded")


def test_while_draining_new_work_is_refused(waiting: Client) -> None:
    async def drain_then_ask(http: httpx.AsyncClient) -> httpx.Response:
        await waiting.app.lifecycle.drain()
        return await http.post("/predict", json={"prices": PRICES})

    response = waiting.run(drain_then_ask)
    assert (response.status_code, response.json()["type"]) == (503, "urn:pricecast:draining")
    assert waiting.get("/health/ready").status_code == 503


@pytest.fixture
def poisoned(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A server whose engine fails on any call that holds a window ending at 666."""
    healthy = Forecaster.infer

    def infer(self: Forecaster, batch: PreprocessedBatch) -> F32:
        if 666 in batch.encoded.last_price:
            raise RuntimeError("secret-4711")
        return healthy(self, batch)

    monkeypatch.setattr(Forecaster, "infer", infer)
    yield from start(Settings(models_dir=shipped, batch_delay_s=0.05))


def test_a_window_that_breaks_the_engine_harms_only_its_own_request(poisoned: Client) -> None:
    async def mixed(http: httpx.AsyncClient) -> list[httpx.Response]:
        bodies: list[dict[str, Any]] = [{"prices": [*PRICES[:-1], 666.0 if i == 5 else 600.0 + i]} for i in range(12)]
        return await asyncio.gather(*(http.post("/predict", json=body) for body in bodies))

    responses: list[httpx.Response] = poisoned.run(mixed)
    assert [response.status_code for response in responses] == [500 if i == 5 else 200 for i in range(12)]
    assert "secret-4711" not in responses[5].text
    assert all(len(response.headers.get_list("x-request-id")) == 1 for response in responses)
    assert responses[5].headers["x-request-id"] == responses[5].json()["request_id"]
    assert np.isfinite([response.json()["forecast"][0] for response in responses if response.status_code == 200]).all()


def test_a_batcher_that_has_died_makes_the_server_unready(shipped: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(call: object) -> None:
        raise RuntimeError("bookkeeping")

    for client in start(Settings(models_dir=shipped)):
        client.app.lifecycle.registry.get().runner.batcher._on_call = broken
        assert client.post("/predict", json={"prices": PRICES}).status_code == 503
        assert "has stopped" in client.get("/health/ready").json()["detail"]
        assert client.post("/predict", json={"prices": PRICES}).json()["type"] == "urn:pricecast:not-ready"
        assert "a batcher has stopped" in caplog.text
