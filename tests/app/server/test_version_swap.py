"""Versions that change places in a running server, told by a signal, by the models directory, or by a request."""

import asyncio
import itertools
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.artifact.transform import F64
from app.inference.forecaster import load_forecaster
from tests.conftest import version_of
from tests.model_variants import publish_variant
from tests.server_process import Connection, ServerProcess, running, until

pytestmark = pytest.mark.slow

CONNECTIONS, SWAPS, BETWEEN = 16, 20, 60  # answers between two swaps
PRICES = [100.0 + i % 7 for i in range(60)]


def live(client: httpx.Client) -> str:
    response = client.post("/predict", json={"prices": PRICES})
    assert response.status_code == 200
    return str(response.json()["model"]["version"])


def break_a_copy(models_dir: Path, of: str) -> str:
    """Publishes a broken copy of a version of the default model, and makes it current."""
    version = str(int(store.versions(models_dir, "default")[-1]) + 1)
    path = Path(shutil.copytree(models_dir / "default" / of, models_dir / "default" / version))
    (path / "model.onnx").write_bytes(b"nothing")
    store.write_current(models_dir, "default", version)
    return version


def test_on_sighup_it_looks_at_once_and_what_is_broken_is_told_and_not_served(models: Path) -> None:
    with running(measured=True, models_dir=str(models), models_poll_s="0") as (server, client):
        wide = publish_variant(models, "default", 3.0)
        assert live(client) == version_of("default")
        server.process.send_signal(signal.SIGHUP)
        until("the version just published", lambda: live(client) == wide)

        broken = break_a_copy(models, wide)
        server.process.send_signal(signal.SIGHUP)
        until("a failure", lambda: client.get("/models").json()["failures"])
        assert client.get("/models").json()["failures"]["default"].startswith(f"default/{broken}/model.onnx: ")
        until("a line of it", lambda: server.has_said(f"{broken}/model.onnx: its content differs"))
        assert live(client) == wide
        assert client.get("/health/ready").status_code == 200


def own_answers(models_dir: Path, version: str, rows: F64) -> F64:
    """(B, 3): the lower end, the median and the upper end of the widest interval, one step ahead."""
    quantiles = load_forecaster(store.read_version(models_dir, "default", version), "onnx").forecast(rows)
    ends: F64 = quantiles[:, 0, [0, quantiles.shape[2] // 2, -1]]
    return ends


def test_what_is_published_is_served_and_under_load_each_answer_is_all_from_the_version_that_it_names(
    models: Path,
) -> None:
    """One version at a time: with each swap the one that goes is retired while it is asked, and the other read."""
    first = version_of("default")
    rng = np.random.default_rng(9)
    rows = 100 * np.exp(rng.normal(scale=0.01, size=(64, 60)).cumsum(axis=1))
    answers: list[tuple[int, slice, Any]] = []

    async def ask(server: ServerProcess, number: int, done: asyncio.Event) -> None:
        connection = await Connection.to(server)
        for i in itertools.count():
            if done.is_set():
                break
            some = slice(7 * (number + i) % 50, 7 * (number + i) % 50 + 1 + i % 9)
            series = [{"prices": row} for row in rows[some].tolist()]
            status, answer = await connection.post("/predict/batch", {"series": series, "levels": [95]})
            answers.append((status, some, answer))
        connection.close()

    async def swap(server: ServerProcess, done: asyncio.Event) -> None:
        connection = await Connection.to(server)
        for i in range(SWAPS):
            while len(answers) < BETWEEN * (i + 1):  # noqa: ASYNC110 — a list tells nobody
                await asyncio.sleep(0.001)
            status, loaded = await connection.post("/models/default/load", {"version": (first, wide)[i % 2]})
            assert (status, loaded["served_versions"]) == (200, [(first, wide)[i % 2]])
        connection.close()
        done.set()

    async def together(server: ServerProcess) -> None:
        done = asyncio.Event()
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(ask(server, number, done))
            group.create_task(swap(server, done))

    with running(models_dir=str(models), models_poll_s="0.05", versions_served="1") as (server, client):
        wide = publish_variant(models, "default", 3.0)
        until("the version just published", lambda: live(client) == wide)
        asyncio.run(together(server))
        assert server.stop() == 0

    assert {status for status, _, _ in answers} == {200}
    assert {answer["model"]["version"] for _, _, answer in answers} == {first, wide}
    own = {version: own_answers(models, version, rows) for version in (first, wide)}
    assert (np.ptp(own[wide], axis=1) > 2 * np.ptp(own[first], axis=1)).all(), "one is not taken for the other"
    for _, some, answer in answers:
        said = [
            [*each["intervals"]["95"]["lower"], *each["forecast"], *each["intervals"]["95"]["upper"]]
            for each in answer["forecasts"]
        ]
        np.testing.assert_allclose(said, own[answer["model"]["version"]][some], rtol=1e-5)
