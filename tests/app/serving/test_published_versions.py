"""Tests of the scan of the models directory."""

import asyncio
import shutil

from tests.fakes import FakeModelStore, FakeRegistry


def test_published_lists_versions_whether_or_not_they_load(model_store: FakeModelStore) -> None:
    model_store.publish("a", "10")
    model_store.publish("a", "9", fault="corrupt")
    model_store.publish("b", "1")
    model_store.set_current("b", "latest")
    registry = FakeRegistry(model_store.directory)
    assert asyncio.run(registry.published()) == {"a": ("9", ["9", "10"]), "b": (None, ["1"])}
    shutil.rmtree(model_store.directory)
    assert asyncio.run(registry.published()) == {}
