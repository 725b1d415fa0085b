"""Tests of the registry: which versions of a model `refresh` serves."""

import asyncio
from pathlib import Path

import pytest

from app.errors import NotReady, UnknownModel
from tests.app.serving.registry_harness import refresh_and_list, retired_references, served_versions
from tests.fakes import FakeModelStore, FakeRegistry


def test_refresh_serves_current_and_the_newest_versions(model_store: FakeModelStore) -> None:
    for version in ("1", "2", "3", "10"):
        model_store.publish("a", version)
    model_store.set_current("a", "2")
    model_store.publish("b", "7")
    assert refresh_and_list(FakeRegistry(model_store.directory)) == {"a": ["2", "10"], "b": ["7"]}
    assert refresh_and_list(FakeRegistry(model_store.directory, versions_served=1)) == {"a": ["2"], "b": ["7"]}
    assert refresh_and_list(FakeRegistry(model_store.directory, versions_served=3)) == {
        "a": ["2", "3", "10"],
        "b": ["7"],
    }


def test_refresh_retires_the_oldest_versions_once(model_store: FakeModelStore) -> None:
    registry = FakeRegistry(model_store.directory)
    served_after_each = []
    for version in ("1", "2", "3", "4"):
        model_store.publish("a", version)
        served_after_each.append(refresh_and_list(registry)["a"])
        assert refresh_and_list(registry)["a"] == served_after_each[-1]
    assert served_after_each == [["1"], ["2", "1"], ["3", "2"], ["4", "3"]]
    assert retired_references(registry) == ["a@1", "a@2"]
    assert registry.started_versions == ["a@1", "a@2", "a@3", "a@4"]  # each is started once


def test_refresh_with_one_version_served_keeps_the_live_one(model_store: FakeModelStore) -> None:
    registry = FakeRegistry(model_store.directory, versions_served=1)
    for version in ("1", "2", "3"):
        model_store.publish("a", version)
        assert refresh_and_list(registry) == {"a": [version]}
    assert retired_references(registry) == ["a@1", "a@2"]


def test_refresh_keeps_the_previous_version_for_rollback(model_store: FakeModelStore) -> None:
    for version in ("1", "2", "3"):
        model_store.publish("a", version)
    model_store.set_current("a", "1")
    registry = FakeRegistry(model_store.directory)
    assert refresh_and_list(registry) == {"a": ["1", "3"]}
    model_store.set_current("a", "2")
    assert refresh_and_list(registry) == {"a": ["2", "1"]}
    assert retired_references(registry) == ["a@3"]
    read = list(registry.read_versions)
    model_store.set_current("a", "1")
    assert refresh_and_list(registry) == {"a": ["1", "2"]}
    assert registry.read_versions == read  # a rollback reads nothing


def test_refresh_serves_a_new_model_next_to_the_others(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    registry = FakeRegistry(model_store.directory)
    assert refresh_and_list(registry) == {"a": ["1"]}
    model_store.publish("b", "1")
    assert refresh_and_list(registry, only_if_changed=True) == {"a": ["1"], "b": ["1"]}
    assert (registry.failures, registry.retired) == ({}, [])


def test_failed_live_version_is_reported_by_name(model_store: FakeModelStore) -> None:
    registry = FakeRegistry(model_store.directory)
    model_store.publish("a", "1")
    refresh_and_list(registry)
    model_store.publish("a", "2", fault="corrupt")
    assert refresh_and_list(registry) == {"a": ["1"]}
    assert registry.failures == {"a": "a/2: corrupt"}
    assert registry.reported == ["a"]
    model_store.set_fault("a", "2", None)
    assert refresh_and_list(registry) == {"a": ["2", "1"]}
    assert registry.failures == {}


def test_failed_non_live_version_is_reported_by_reference(model_store: FakeModelStore) -> None:
    registry = FakeRegistry(model_store.directory)
    model_store.publish("a", "1")
    model_store.publish("a", "2", fault="corrupt", is_current=False)
    assert refresh_and_list(registry) == {"a": ["1"]}
    assert registry.failures == {"a@2": "a/2: corrupt"}
    assert registry.reported == ["a@2"]
    assert registry.get("a").reference == "a@1"
    model_store.set_fault("a", "2", None)
    assert refresh_and_list(registry) == {"a": ["1", "2"]}
    assert registry.failures == {}


def test_failed_version_is_replaced_by_an_older_one(model_store: FakeModelStore) -> None:
    for version in ("1", "2", "3", "4"):
        model_store.publish("a", version)
    model_store.set_fault("a", "4", "corrupt")
    model_store.set_current("a", "2")
    registry = FakeRegistry(model_store.directory, versions_served=3)
    assert refresh_and_list(registry)["a"] == ["2", "1", "3"]
    assert registry.failures == {"a@4": "a/4: corrupt"}


def test_load_replaces_an_unhealthy_runner(fake_registry: FakeRegistry) -> None:
    unhealthy = fake_registry.get("a").runner
    fake_registry._is_healthy = lambda runner: runner != unhealthy
    model = asyncio.run(fake_registry.load("a", "2"))
    assert model.runner != unhealthy
    assert fake_registry.get("a") is fake_registry.get("a@2") is model
    assert fake_registry.retired == [unhealthy]
    assert served_versions(fake_registry)["a"] == ["2", "1"]  # the replaced runner is no previous version
    assert asyncio.run(fake_registry.load("a", "2")) is model


def test_failed_live_version_leaves_others_served_by_number(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    model_store.publish("a", "2", fault="corrupt")
    registry = FakeRegistry(model_store.directory)
    assert refresh_and_list(registry) == {"a": ["none", "1"]}
    assert registry.get("a@1").reference == "a@1"
    with pytest.raises(NotReady, match="the model 'a' could not be loaded: a/2: corrupt"):
        registry.get("a")


def test_failure_of_unpublished_or_superseded_version_is_cleared(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    model_store.publish("a", "2", fault="corrupt", is_current=False)
    model_store.publish("b", "1", fault="incomplete")
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry)
    assert sorted(registry.failures) == ["a@2", "b"]
    model_store.publish("a", "3")
    model_store.remove("b")
    assert refresh_and_list(registry, only_if_changed=True) == {"a": ["3", "1"]}
    assert registry.failures == {}
    with pytest.raises(UnknownModel):
        registry.get("b")


def test_refresh_if_unchanged_reads_nothing(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    model_store.publish("b", "1", fault="corrupt")
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry, only_if_changed=True)
    assert registry.read_versions == ["a@1", "b@1"]
    model_store.set_fault("b", "1", None)
    refresh_and_list(registry, only_if_changed=True)
    assert registry.read_versions == ["a@1", "b@1"]
    assert "b" in registry.failures
    model_store.publish("c", "1")  # any change triggers another attempt
    refresh_and_list(registry, only_if_changed=True)
    assert registry.read_versions == ["a@1", "b@1", "b@1", "c@1"]
    assert registry.failures == {}


def test_refresh_retries_failed_versions(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    model_store.publish("b", "1", fault="corrupt")
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry)
    refresh_and_list(registry)
    assert registry.read_versions == ["a@1", "b@1", "b@1"]
    assert registry.reported == ["b", "b"]


def test_refresh_without_directory_keeps_loaded_models(model_store: FakeModelStore, tmp_path: Path) -> None:
    model_store.publish("a", "1")
    model_store.publish("b", "1")
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry)
    model_store.directory.rename(tmp_path / "elsewhere")
    for _ in range(2):
        assert refresh_and_list(registry, only_if_changed=True) == {"a": ["1"], "b": ["1"]}
    assert registry.failures == dict.fromkeys("ab", ".: the models directory does not exist")
    assert sorted(registry.reported) == ["a", "b"]  # reported once
    assert registry.retired == []
    (tmp_path / "elsewhere").rename(model_store.directory)
    refresh_and_list(registry, only_if_changed=True)
    assert registry.failures == {}


def test_refresh_without_model_directory_keeps_and_reports_it(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")
    model_store.publish("b", "1")
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry)
    model_store.remove("b")
    assert refresh_and_list(registry) == {"a": ["1"], "b": ["1"]}
    assert registry.failures == {"b": "b: no published version"}
    assert registry.get("b").reference == "b@1"
