"""A server with several versions of the default model, for tests that switch between them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from app.artifact import store
from app.artifact.arrays import F64
from app.inference.forecaster import load_forecaster
from app.settings import Settings
from benchmarks.model_variants import publish_variant
from tests.app.api.app_client import AppClient, running_app
from tests.app.artifact.artifact_files import publish_broken_copy
from tests.conftest import version_of


class VersionedServer(NamedTuple):
    """A server with three versions of the default model."""

    client: AppClient
    first: str  # live at the start
    wide: str  # intervals three times as wide
    broken: str  # fails verification
    selections: list[None]  # one entry per call of on_version_selected
    models_dir: Path

    def load(self, version: str, **kwargs: Any) -> httpx.Response:
        return self.client.post("/models/default/load", json={"version": version}, **kwargs)

    def expected_bounds(self, version: str, windows: F64) -> list[list[float]]:
        """Return the bounds of each window's widest interval, one step ahead."""
        quantiles = load_forecaster(store.read_version(self.models_dir, "default", version), "onnx").forecast(windows)
        return list(quantiles[:, 0, [0, -1]].tolist())


@contextmanager
def versioned_server(shipped: Path, directory: Path, **settings: Any) -> Iterator[VersionedServer]:
    models_dir = Path(shutil.copytree(shipped, directory / "models"))
    first = version_of("default")
    wide = publish_variant(models_dir, "default", 3.0, is_current=False)
    broken = publish_broken_copy(models_dir, first)
    selections: list[None] = []
    with running_app(
        Settings(models_dir=models_dir, models_poll_s=0, **settings), lambda: selections.append(None)
    ) as client:
        yield VersionedServer(client, first, wide, broken, selections, models_dir)


def interval_request(windows: F64) -> dict[str, Any]:
    """Build a batch request for the widest interval of each window."""
    return {"series": [{"prices": window} for window in windows.tolist()], "levels": [95]}


def interval_bounds(response_body: Any) -> list[list[float]]:
    """Extract the bounds from a response, in the form of `VersionedServer.expected_bounds`."""
    intervals = [forecast["intervals"]["95"] for forecast in response_body["forecasts"]]
    return [[*interval["lower"], *interval["upper"]] for interval in intervals]


def assert_from_one_version(server: VersionedServer, response_body: Any, windows: F64) -> str:
    """Check that the version in a response computed all its forecasts, and return that version."""
    version = str(response_body["model"]["version"])
    np.testing.assert_allclose(interval_bounds(response_body), server.expected_bounds(version, windows), rtol=1e-5)
    return version
