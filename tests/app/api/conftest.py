"""Fixtures of the API tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.app.api.app_client import AppClient, running_app


@pytest.fixture(scope="module")
def client(shipped: Path) -> Iterator[AppClient]:
    """The shipped models with the default settings, except for body limits that tests can reach."""
    with running_app(Settings(models_dir=shipped, max_body_bytes=2**20, max_request_windows=300)) as client:
        yield client
