"""Fixtures that tests of several packages share."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from app.artifact import store
from app.artifact.store import Artifact

settings.register_profile("no deadline", deadline=None)  # a busy machine may be slow
settings.load_profile("no deadline")

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


def version_of(name: str) -> str:
    """Return the current version of a shipped model. Tests look it up, because training publishes new versions."""
    return store.current_version(MODELS, name)


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The directory of the shipped models. Read only."""
    return MODELS


@pytest.fixture(scope="session")
def default(shipped: Path) -> Artifact:
    """The current version of the shipped default model."""
    return store.read_version(shipped, "default", version_of("default"))


@pytest.fixture
def models(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the shipped models that the test may change."""
    return Path(shutil.copytree(shipped, tmp_path / "models"))
