"""Model versions are swapped in a running server by SIGHUP, by polling and by requests, also under load."""

import asyncio
import itertools
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.artifact.arrays import F64
from app.inference.forecaster import load_forecaster
from benchmarks.model_variants import publish_variant
from tests.app.artifact.artifact_files import publish_broken_copy
from tests.conftest import version_of
from tests.prices import PRICES, random_walk_windows
from tests.server_process import HttpConnection, ServerProcess, running_server, wait_until

pytestmark = pytest.mark.slow

CONNECTIONS = 16
SWAPS = 20
RESPONSES_PER_SWAP = 60


def live_version(client: httpx.Client) -> str:
    response = client.post("/predict", json={"prices": PRICES})
    assert response.status_code == 200
    return str(response.json()["model"]["version"])


def test_sighup_serves_a_new_version_and_reports_a_broken_one(models: Path) -> None:
    with running_server(with_coverage=True, models_dir=str(models), models_poll_s="0") as (server, client):
        wide = publish_variant(models, "default", 3.0)
        assert live_version(client) == version_of("default")
        server.process.send_signal(signal.SIGHUP)
        wait_until("the published version", lambda: live_version(client) == wide)

        broken = publish_broken_copy(models, wide)
        store.write_current(models, "default", broken)
        server.process.send_signal(signal.SIGHUP)
        wait_until("a failure", lambda: client.get("/models").json()["failures"])
        assert client.get("/models").json()["failures"]["default"].startswith(f"default/{broken}/model.onnx: ")
        wait_until("its log line", lambda: server.has_logged(f"{broken}/model.onnx: size or SHA-256 does not match"))
        assert live_version(client) == wide
        assert client.get("/health/ready").status_code == 200


def expected_quantiles(models_dir: Path, version: str, windows: F64) -> F64:
    """Return the lower end, median and upper end of the widest one-step interval of a version, of shape (B, 3)."""
    quantiles = load_forecaster(store.read_version(models_dir, "default", version), "onnx").forecast(windows)
    found: F64 = quantiles[:, 0, [0, quantiles.shape[2] // 2, -1]]
    return found


def test_swaps_under_load_lose_no_request_and_mix_no_versions(models: Path) -> None:
    """Only one version is served at a time, so each swap retires a version that is still answering requests."""
    first = version_of("default")
    windows = random_walk_windows(64, seed=9)
    responses: list[tuple[int, slice, Any]] = []

    async def send_requests(server: ServerProcess, number: int, done: asyncio.Event) -> None:
        connection = await HttpConnection.open(server)
        for i in itertools.count():
            if done.is_set():
                break
            rows = slice(7 * (number + i) % 50, 7 * (number + i) % 50 + 1 + i % 9)
            series = [{"prices": window} for window in windows[rows].tolist()]
            status, body = await connection.post("/predict/batch", {"series": series, "levels": [95]})
            responses.append((status, rows, body))
        connection.close()

    async def swap_versions(server: ServerProcess, done: asyncio.Event) -> None:
        connection = await HttpConnection.open(server)
        for i in range(SWAPS):
            while len(responses) < RESPONSES_PER_SWAP * (i + 1):  # noqa: ASYNC110 — a list has no event to wait for
                await asyncio.sleep(0.001)
            status, loaded = await connection.post("/models/default/load", {"version": (first, wide)[i % 2]})
            assert (status, loaded["served_versions"]) == (200, [(first, wide)[i % 2]])
        connection.close()
        done.set()

    async def run_all(server: ServerProcess) -> None:
        done = asyncio.Event()
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(send_requests(server, number, done))
            group.create_task(swap_versions(server, done))

    with running_server(models_dir=str(models), models_poll_s="0.05", versions_served="1") as (server, client):
        wide = publish_variant(models, "default", 3.0)
        wait_until("the published version", lambda: live_version(client) == wide)
        asyncio.run(run_all(server))
        assert server.stop() == 0

    assert {status for status, _, _ in responses} == {200}
    assert {body["model"]["version"] for _, _, body in responses} == {first, wide}
    expected = {version: expected_quantiles(models, version, windows) for version in (first, wide)}
    widths = {version: np.ptp(quantiles, axis=1) for version, quantiles in expected.items()}
    assert (widths[wide] > 2 * widths[first]).all(), "the two versions cannot be confused"
    for _, rows, body in responses:
        received = [
            [*forecast["intervals"]["95"]["lower"], *forecast["forecast"], *forecast["intervals"]["95"]["upper"]]
            for forecast in body["forecasts"]
        ]
        np.testing.assert_allclose(received, expected[body["model"]["version"]][rows], rtol=1e-5)
