"""Fixtures for tests of the registry."""

from pathlib import Path

import pytest

from tests.app.serving.registry_harness import refresh_and_list
from tests.fakes import FakeModelStore, FakeRegistry


@pytest.fixture
def model_store(tmp_path: Path) -> FakeModelStore:
    """An empty models directory."""
    return FakeModelStore(tmp_path / "models")


@pytest.fixture
def fake_registry(model_store: FakeModelStore) -> FakeRegistry:
    """A registry that serves a@2 (live), a@1 and b@1."""
    model_store.publish("a", "1")
    model_store.publish("a", "2")
    model_store.publish("b", "1")
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry)
    return registry
