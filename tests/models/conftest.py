"""The shipped default model, loaded once per module."""

import pytest

from app.artifact.manifest import Manifest
from app.artifact.store import Artifact
from app.inference.forecaster import Forecaster, load_forecaster


@pytest.fixture(scope="module")
def manifest(default: Artifact) -> Manifest:
    return default.manifest


@pytest.fixture(scope="module")
def forecaster(default: Artifact) -> Forecaster:
    return load_forecaster(default, "onnx")
