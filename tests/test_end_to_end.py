"""From prices to a forecast: train, publish, serve and predict with the real programs."""

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.artifact import store
from app.inference.forecaster import load_forecaster
from tests.conftest import ROOT
from tests.prices import random_walk_windows
from tests.server_process import ServerProcess, clean_environment

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


def test_trained_model_is_served_with_the_same_forecasts(tmp_path: Path) -> None:
    (tmp_path / "seconds.toml").write_text(RECIPE)
    models = tmp_path / "models"
    command = [sys.executable, "-m", "training", "train", str(tmp_path / "seconds.toml"), "--out", str(models)]
    trained = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert trained.returncode == 0, trained.stderr
    assert f"published {models / 'seconds' / '1'}" in trained.stdout

    server = ServerProcess(models_dir=str(models), default_model="seconds")
    try:  # the server starts while this process computes the expected forecasts
        artifact = store.read_version(models, "seconds", "1")
        windows = random_walk_windows(257, seed=3, start=0.05)
        expected = {engine: load_forecaster(artifact, engine).forecast(windows) for engine in ("onnx", "keras")}
        with httpx.Client(base_url=server.wait_until_listening(), timeout=30.0, trust_env=False) as client:
            for size in (1, 2, 63, 64, 65, 257):
                received = _forecast(client, windows[:size].tolist())
                for forecasts in expected.values():
                    np.testing.assert_allclose(received, forecasts[:size, :, 2], rtol=1e-5)
            assert client.get("/models").json()["models"][0]["name"] == "seconds"
    finally:
        server.stop()


def _forecast(client: httpx.Client, windows: list[list[float]]) -> list[list[float]]:
    """Return the median forecasts of one batch request."""
    series = [{"prices": window} for window in windows]
    response = client.post("/predict/batch", json={"series": series, "horizon": 3}).json()
    return [forecast["forecast"] for forecast in response["forecasts"]]
