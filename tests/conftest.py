"""What tests of several rooms share."""

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from app.artifact import store
from app.artifact.store import Artifact

settings.register_profile("no durations", deadline=None)  # a machine may be busy with something else
settings.load_profile("no durations")

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


def version_of(name: str) -> str:
    """The version of a shipped model that is served: no test spells it, for training moves it."""
    return store.current_version(MODELS, name)


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The models that come with the repository. Not to be written to."""
    return MODELS


@pytest.fixture(scope="session")
def default(shipped: Path) -> Artifact:
    """The shipped default model."""
    return store.read_version(shipped, "default", version_of("default"))


@pytest.fixture
def models(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the shipped models, to be tampered with."""
    return Path(shutil.copytree(shipped, tmp_path / "models"))
