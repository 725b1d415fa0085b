"""Tests of the registry: `load`, `unload` and version overrides."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.artifact import store
from app.errors import ArtifactError, UnknownModel
from app.serving.version_overrides import VersionOverride
from tests.app.serving.registry_harness import failure_message, refresh_and_list, retired_references, served_versions
from tests.fakes import FakeModelStore, FakeRegistry


def raise_permission_error(models_dir: Path, name: str, version: str) -> None:
    """Replaces `store.write_current`, and fails as without write permission."""
    raise PermissionError(13, "Permission denied")


def test_load_makes_a_version_live_and_writes_current(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model = asyncio.run(fake_registry.load("a", "1"))
    assert model.reference == "a@1"
    assert fake_registry.get("a") is model
    assert served_versions(fake_registry) == {"a": ["1", "2"], "b": ["1"]}
    assert model_store.current("a") == "1"
    assert refresh_and_list(fake_registry) == {"a": ["1", "2"], "b": ["1"]}
    assert refresh_and_list(FakeRegistry(model_store.directory))["a"] == ["1", "2"]  # as after a restart
    asyncio.run(fake_registry.load("a", "2"))
    assert served_versions(fake_registry)["a"] == ["2", "1"]
    assert fake_registry.started_versions == ["a@2", "a@1", "b@1"]
    assert fake_registry.retired == []


def test_load_of_unserved_version_retires_the_oldest(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3", is_current=False)
    asyncio.run(fake_registry.load("a", "3"))
    assert served_versions(fake_registry)["a"] == ["3", "2"]
    assert retired_references(fake_registry) == ["a@1"]
    assert model_store.current("a") == "3"


def test_load_without_version_loads_current(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3")
    assert asyncio.run(fake_registry.load("a")).reference == "a@3"
    model_store.publish("c", "1")
    assert asyncio.run(fake_registry.load("c")).reference == "c@1"
    assert served_versions(fake_registry) == {"a": ["3", "2"], "b": ["1"], "c": ["1"]}


def test_load_of_unpublished_version_raises_unknown_model(
    fake_registry: FakeRegistry, model_store: FakeModelStore
) -> None:
    assert failure_message(UnknownModel, fake_registry.load("absent")) == "no such model is published"
    assert failure_message(UnknownModel, fake_registry.load("absent", "1")) == "no such model is published"
    assert failure_message(UnknownModel, fake_registry.load("a", "3")) == "the model 'a' has no published version 3"
    assert (
        failure_message(UnknownModel, fake_registry.load("a", "../b/1"))
        == "the model 'a' has no published version ../b/1"
    )
    assert (fake_registry.failures, fake_registry.reported, model_store.current("a")) == ({}, [], "2")


def test_load_of_broken_version_changes_nothing(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3", fault="corrupt", is_current=False)
    live = fake_registry.get("a")
    assert failure_message(ArtifactError, fake_registry.load("a", "3")).endswith("a/3: corrupt")
    assert fake_registry.get("a") is live
    assert served_versions(fake_registry)["a"] == ["2", "1"]
    assert model_store.current("a") == "2"
    assert fake_registry.failures == {"a@3": "a/3: corrupt"}
    assert fake_registry.reported == ["a@3"]
    model_store.set_fault("a", "3", None)
    asyncio.run(fake_registry.load("a", "3"))
    assert fake_registry.failures == {}


def test_load_without_current_or_directory_fails(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.set_current("a", "latest")
    assert failure_message(ArtifactError, fake_registry.load("a")).endswith(
        "a/current: must contain a version number, such as 1"
    )
    (model_store.directory / "a" / "current").unlink()
    assert failure_message(UnknownModel, fake_registry.load("a")) == "no such model is published"
    shutil.rmtree(model_store.directory)
    assert failure_message(UnknownModel, fake_registry.load("a")) == "no such model is published"
    assert served_versions(fake_registry) == {"a": ["2", "1"], "b": ["1"]}


def test_override_holds_until_current_changes(
    fake_registry: FakeRegistry, model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", raise_permission_error)
    asyncio.run(fake_registry.load("a", "1"))
    assert model_store.current("a") == "2"
    for only_if_changed in (True, True, False):
        assert refresh_and_list(fake_registry, only_if_changed=only_if_changed)["a"] == ["1", "2"]
    model_store.publish("a", "3", is_current=False)
    assert refresh_and_list(fake_registry)["a"] == ["1", "2"]
    model_store.set_current("a", "3")
    assert refresh_and_list(fake_registry)["a"] == ["3", "1"]
    model_store.set_current("a", "2")
    assert refresh_and_list(fake_registry)["a"] == ["2", "3"]  # an override that has ended does not return


def test_refresh_after_override_ended_detects_no_change(
    fake_registry: FakeRegistry, model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", raise_permission_error)
    asyncio.run(fake_registry.load("a", "1"))
    model_store.publish("a", "3", fault="corrupt")
    refresh_and_list(fake_registry, only_if_changed=True)
    assert fake_registry.reported == ["a"]
    refresh_and_list(fake_registry, only_if_changed=True)
    assert fake_registry.reported == ["a"]


def test_override_is_shared_with_other_processes(model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "write_current", raise_permission_error)
    model_store.publish("a", "1")
    model_store.publish("a", "2")
    overrides: dict[str, VersionOverride] = {}
    first, second = (FakeRegistry(model_store.directory, overrides=overrides) for _ in range(2))
    refresh_and_list(first)
    refresh_and_list(second)
    asyncio.run(first.load("a", "1"))
    assert overrides == {"a": VersionOverride(instead_of="2", version="1")}
    assert refresh_and_list(second, only_if_changed=True)["a"] == ["1", "2"]
    asyncio.run(second.unload("a"))
    assert overrides == {"a": VersionOverride(instead_of="2", version=None)}
    assert refresh_and_list(first, only_if_changed=True) == {}
    asyncio.run(first.load("a"))
    assert overrides == {}
    assert refresh_and_list(second, only_if_changed=True)["a"] == ["2", "1"]


class RenewingOverrides(dict[str, VersionOverride]):
    """Overrides that another process renews as soon as one was read."""

    renewal: VersionOverride | None = None

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        if self.renewal is not None:
            self[name] = self.renewal
        return found


def test_override_renewed_by_another_process_is_kept(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    model_store.publish("a", "2")
    overrides = RenewingOverrides(a=VersionOverride("1", "1"))
    overrides.renewal = VersionOverride("2", "1")
    registry = FakeRegistry(model_store.directory, overrides=overrides)
    assert refresh_and_list(registry)["a"] == ["2", "1"]
    assert overrides == {"a": VersionOverride("2", "1")}
    assert refresh_and_list(registry)["a"] == ["1", "2"]


def test_load_of_current_drops_the_override(
    fake_registry: FakeRegistry, model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", raise_permission_error)
    asyncio.run(fake_registry.load("a", "1"))
    asyncio.run(fake_registry.load("a"))
    assert refresh_and_list(fake_registry)["a"] == ["2", "1"]
    model_store.publish("a", "3")
    assert refresh_and_list(fake_registry)["a"] == ["3", "2"]


def test_load_that_writes_current_drops_the_override(
    fake_registry: FakeRegistry, model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_store.publish("a", "3", is_current=False)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_current", raise_permission_error)
        asyncio.run(fake_registry.load("a", "1"))
    asyncio.run(fake_registry.load("a", "3"))
    assert model_store.current("a") == "3"
    assert refresh_and_list(fake_registry)["a"] == ["3", "1"]


def test_override_holds_while_current_is_unreadable(
    fake_registry: FakeRegistry, model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", raise_permission_error)
    asyncio.run(fake_registry.load("a", "1"))
    model_store.set_current("a", "")  # as between truncating and writing the file
    assert refresh_and_list(fake_registry)["a"] == ["1", "2"]
    assert "a" in fake_registry.failures
    model_store.set_current("a", "2")
    assert refresh_and_list(fake_registry)["a"] == ["1", "2"]
    assert fake_registry.failures == {}


def test_load_without_usable_current_sets_no_override(
    fake_registry: FakeRegistry, model_store: FakeModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", raise_permission_error)
    model_store.set_current("a", "latest")
    assert asyncio.run(fake_registry.load("a", "1")).reference == "a@1"
    assert fake_registry._overrides == {}


def test_unload_with_unreadable_current_sets_no_override(
    fake_registry: FakeRegistry, model_store: FakeModelStore
) -> None:
    model_store.set_current("a", "latest")
    asyncio.run(fake_registry.unload("a"))
    assert served_versions(fake_registry) == {"b": ["1"]}
    assert fake_registry._overrides == {}


def test_unload_stops_serving_until_loaded_again(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    asyncio.run(fake_registry.unload("a"))
    assert served_versions(fake_registry) == {"b": ["1"]}
    assert sorted(retired_references(fake_registry)) == ["a@1", "a@2"]
    for only_if_changed in (True, False):
        assert refresh_and_list(fake_registry, only_if_changed=only_if_changed) == {"b": ["1"]}
    model_store.publish("a", "3", is_current=False)
    assert refresh_and_list(fake_registry) == {"b": ["1"]}
    for reference in (None, "a", "a@1", "a@2"):
        with pytest.raises(UnknownModel, match="no such model is served; served models: b"):
            fake_registry.get(reference)
    assert asyncio.run(fake_registry.load("a")).reference == "a@2"
    assert served_versions(fake_registry) == {"a": ["2", "3"], "b": ["1"]}
    assert refresh_and_list(fake_registry) == {"a": ["2", "3"], "b": ["1"]}
    assert len(fake_registry.retired) == 2


def test_unloaded_model_returns_when_current_changes(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    asyncio.run(fake_registry.unload("a"))
    model_store.publish("a", "3")
    assert refresh_and_list(fake_registry, only_if_changed=True)["a"] == ["3", "2"]
    model_store.set_current("a", "2")
    assert refresh_and_list(fake_registry, only_if_changed=True)["a"] == ["2", "3"]


def test_unload_forgets_the_previous_version(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3", is_current=False)
    asyncio.run(fake_registry.load("a", "1"))
    asyncio.run(fake_registry.unload("a"))
    asyncio.run(fake_registry.load("a", "1"))
    assert served_versions(fake_registry)["a"] == ["1", "3"]


def test_load_of_another_version_clears_the_failure(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3", fault="corrupt")
    refresh_and_list(fake_registry)
    assert "a" in fake_registry.failures
    asyncio.run(fake_registry.load("a", "1"))
    assert fake_registry.failures == {}


def test_unloaded_model_can_be_loaded_by_version(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    asyncio.run(fake_registry.unload("a"))
    asyncio.run(fake_registry.load("a", "1"))
    assert refresh_and_list(fake_registry)["a"] == ["1", "2"]
    assert model_store.current("a") == "1"


def test_unload_of_unserved_model_raises_unknown_model(fake_registry: FakeRegistry) -> None:
    assert failure_message(UnknownModel, fake_registry.unload("absent")) == "no such model is served"
    asyncio.run(fake_registry.unload("b"))
    assert failure_message(UnknownModel, fake_registry.unload("b")) == "no such model is served"


def test_unload_clears_the_failure(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3", fault="corrupt")
    refresh_and_list(fake_registry)
    assert "a" in fake_registry.failures
    asyncio.run(fake_registry.unload("a"))
    assert fake_registry.failures == {}
    with pytest.raises(UnknownModel):
        fake_registry.get("a")
