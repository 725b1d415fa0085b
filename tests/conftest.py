"""What tests of several rooms share."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shipped() -> Path:
    """The models that come with the repository. Not to be written to."""
    return ROOT / "models"


@pytest.fixture
def models(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the shipped models, to be tampered with."""
    return Path(shutil.copytree(shipped, tmp_path / "models"))
