"""Fixtures of the tests of the service."""

import os

import pytest

from app.settings import PREFIX


@pytest.fixture
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the service from the environment variables."""
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
