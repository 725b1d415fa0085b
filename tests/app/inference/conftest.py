"""Shipped artifacts and their forecasters, loaded once per module."""

from pathlib import Path

import pytest

from app.artifact import store
from app.artifact.store import Artifact
from app.inference.forecaster import Forecaster, load_forecaster
from tests.app.artifact.artifact_files import SHIPPED_MODELS, current_path


@pytest.fixture(scope="module")
def artifacts(shipped: Path) -> dict[str, Artifact]:
    return {name: store.read_artifact(current_path(shipped, name)) for name in SHIPPED_MODELS}


@pytest.fixture(scope="module")
def forecasters(artifacts: dict[str, Artifact]) -> dict[str, Forecaster]:
    return {name: load_forecaster(artifact, "onnx") for name, artifact in artifacts.items()}
