"""Prices to /predict, every step for real: train, publish, serve, ask."""

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.inference.forecaster import load_forecaster
from tests.server_process import ROOT, running

pytestmark = pytest.mark.slow

RECIPE = """
description = "Seconds long"
horizon = 3
levels = [50, 80]
[data]
stocks = ["MSFT"]
synthetic_paths = 2
[split]
validation = 0.1
calibration = 0.1
[transform]
kind = "log_return"
[network]
units = [8]
[training]
loss = "pinball"
batch = 256
epochs = 2
clip_norm = 1.0
patience = 1
[calibration]
center = "auto"
"""


def test_what_is_trained_is_what_is_served(tmp_path: Path) -> None:
    (tmp_path / "seconds.toml").write_text(RECIPE)
    models = tmp_path / "models"
    command = [sys.executable, "-m", "training", "train", str(tmp_path / "seconds.toml"), "--out", str(models)]
    trained = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert trained.returncode == 0, trained.stderr
    assert f"published {models / 'seconds' / '1'}" in trained.stdout

    artifact = store.read_version(models, "seconds", "1")
    rng = np.random.default_rng(3)
    windows = 0.05 * np.exp(rng.normal(scale=0.01, size=(257, 60)).cumsum(axis=1))
    expected = {engine: load_forecaster(artifact, engine).forecast(windows) for engine in ("onnx", "keras")}
    with running(models_dir=str(models), default_model="seconds") as (_, client):
        for size in (1, 2, 63, 64, 65, 257):
            said = _forecasts(client, windows[:size].tolist())
            for forecasts in expected.values():
                np.testing.assert_allclose(said, forecasts[:size, :, 2], rtol=1e-5)
        assert client.get("/models").json()["models"][0]["name"] == "seconds"


def _forecasts(client: httpx.Client, windows: list[list[float]]) -> list[list[float]]:
    series = [{"prices": window} for window in windows]
    answer = client.post("/predict/batch", json={"series": series, "horizon": 3}).json()
    return [each["forecast"] for each in answer["forecasts"]]
