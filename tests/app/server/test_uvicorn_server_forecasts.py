"""Forecasts over a real socket equal those of the forecaster, for every batch size and under concurrency."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import get_args

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.artifact.arrays import F64
from app.artifact.store import Artifact
from app.inference.forecaster import EngineName, Forecaster, load_forecaster
from tests.app.server.conftest import random_windows
from tests.conftest import MODELS, version_of
from tests.server_process import HttpConnection, ServerProcess

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
BATCH_SIZES = range(1, 258)
ENGINES = get_args(EngineName)
NAMES = ("default", "tutorial")


@pytest.fixture(scope="module")
def starting_servers() -> Iterator[dict[str, ServerProcess]]:
    """One server per engine. They start together, while the test process computes the expected forecasts."""
    with ExitStack() as stack:
        servers = {engine: ServerProcess(engine=engine) for engine in ENGINES}
        for server in servers.values():
            stack.callback(server.stop)
        yield servers


@pytest.fixture(scope="module")
def artifacts() -> dict[str, Artifact]:
    return {name: store.read_version(MODELS, name, version_of(name)) for name in NAMES}


@pytest.fixture(scope="module")
def windows() -> F64:
    return random_windows(max(BATCH_SIZES))


@pytest.fixture(scope="module")
def expected(
    starting_servers: dict[str, ServerProcess], artifacts: dict[str, Artifact], windows: F64
) -> dict[str, dict[str, F64]]:
    """Forecasts of shape (B, H, Q) by model and engine, computed in this process."""
    return {
        name: {
            "onnx": load_forecaster(artifact, "onnx").forecast(windows),
            "keras": keras_forecaster(artifact, len(windows)).forecast(windows),
        }
        for name, artifact in artifacts.items()
    }


def keras_forecaster(artifact: Artifact, batch_size: int) -> Forecaster:
    """Load a forecaster with the Keras engine compiled for one batch size only, which saves seconds."""
    from app.inference.engines.keras import KerasEngine  # imported late: other tests here do not need Keras

    manifest = artifact.manifest
    engine = KerasEngine(artifact.path / "model.keras", sizes=(batch_size,))
    return Forecaster(artifact.transform, engine, manifest.calibration, manifest.quantiles, manifest.training_ranges)


def forecast_over_http(client: httpx.Client, artifact: Artifact, series: list[str]) -> F64:
    """Send one batch request with all levels and horizons. Return quantiles of shape (B, H, Q).

    Args:
        client: A client of the server.
        artifact: The model.
        series: The B series as JSON.
    """
    manifest = artifact.manifest
    levels = manifest.levels
    options = json.dumps({"model": manifest.name, "levels": levels, "horizon": manifest.horizon})
    response = client.post(
        "/predict/batch",
        content=f'{{"series": [{",".join(series)}], {options[1:]}',
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 200, response.text
    quantiles = []  # (B, Q, H)
    for forecast in response.json()["forecasts"]:
        lower = [forecast["intervals"][str(level)]["lower"] for level in reversed(levels)] if levels else []
        upper = [forecast["intervals"][str(level)]["upper"] for level in levels] if levels else []
        quantiles.append([*lower, forecast["forecast"], *upper])
    return np.array(quantiles).transpose(0, 2, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_http_forecasts_equal_both_engines_for_every_batch_size(
    starting_servers: dict[str, ServerProcess],
    artifacts: dict[str, Artifact],
    windows: F64,
    expected: dict[str, dict[str, F64]],
    engine: str,
) -> None:
    series = [json.dumps({"prices": window}) for window in windows.tolist()]
    url = starting_servers[engine].wait_until_listening()

    def check(name: str) -> None:
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
            for size in BATCH_SIZES:
                quantiles = forecast_over_http(client, artifacts[name], series[:size])
                for forecast in expected[name].values():
                    np.testing.assert_allclose(quantiles, forecast[:size], rtol=TOLERANCE)
            single = client.post("/predict", json={"prices": windows[5].tolist(), "model": name}).json()
            median = len(artifacts[name].manifest.levels)
            np.testing.assert_allclose(single["forecast"][0], expected[name]["onnx"][5, 0, median], rtol=TOLERANCE)

    with ThreadPoolExecutor(len(NAMES)) as threads:  # one thread per model: their batches do not mix
        for result in [threads.submit(check, name) for name in NAMES]:
            result.result()


def test_64_connections_each_get_their_own_forecasts(
    server: tuple[ServerProcess, httpx.Client], artifacts: dict[str, Artifact]
) -> None:
    requests, connections = 10_000, 64
    windows = random_windows(requests, seed=11)
    forecaster = load_forecaster(artifacts["default"], "onnx")
    expected = np.concatenate([forecaster.forecast(windows[i : i + 500]) for i in range(0, requests, 500)])
    received = np.empty((requests, 3))

    async def send_requests(first: int) -> None:
        connection = await HttpConnection.open(server[0])
        for i in range(first, requests, connections):
            status, body = await connection.post("/predict", {"prices": windows[i].tolist(), "levels": [80]})
            assert status == 200, body
            interval = body["intervals"]["80"]
            received[i] = interval["lower"][0], body["forecast"][0], interval["upper"][0]
        connection.close()

    async def run_connections() -> None:
        async with asyncio.timeout(240), asyncio.TaskGroup() as group:
            for first in range(connections):
                group.create_task(send_requests(first))

    asyncio.run(run_connections())
    median = expected.shape[2] // 2
    np.testing.assert_allclose(received, expected[:, 0, [median - 2, median, median + 2]], rtol=TOLERANCE)
