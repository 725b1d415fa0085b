"""Tests of how requests find a served model."""

from pathlib import Path

import pytest

from app.artifact import store
from app.errors import NotReady, UnknownModel
from app.serving.registry import Registry
from tests.app.serving.registry_harness import FakeRunner, corrupt, create_registry, load_registry, refresh_and_list
from tests.fakes import FakeModelStore, FakeRegistry


@pytest.fixture(scope="module")
def registry(shipped: Path) -> Registry[FakeRunner]:
    return load_registry(shipped)


def test_get_before_loading_raises_unknown_model(shipped: Path) -> None:
    registry = create_registry(shipped)
    assert registry.models == {}
    assert registry.served == []
    with pytest.raises(UnknownModel, match="served models: none"):
        registry.get()


def test_models_and_served_are_copies(registry: Registry[FakeRunner]) -> None:
    registry.models.clear()
    registry.served.clear()
    assert "default" in registry.models
    assert registry.served


def test_get_without_reference_returns_the_default_model(registry: Registry[FakeRunner]) -> None:
    assert registry.get() is registry.get(None) is registry.get("default") is registry.models["default"]


def test_default_model_can_be_any_model(shipped: Path) -> None:
    registry = load_registry(shipped, default_model="tutorial")
    assert registry.default_model == "tutorial"
    assert registry.get().manifest.name == "tutorial"


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_get_finds_a_model_by_name_or_reference(registry: Registry[FakeRunner], name: str) -> None:
    model = registry.get(name)
    assert model.manifest.name == name
    assert registry.get(f"{name}@{model.manifest.version}") is model


def test_get_unknown_model_lists_the_served_models(registry: Registry[FakeRunner], shipped: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        registry.get("absent")
    assert str(caught.value) == f"no such model is served; served models: {', '.join(store.model_names(shipped))}"


@pytest.mark.parametrize("reference", ["absent@1", "@1", "Default", "default/1", "../default"])
def test_get_unknown_reference_raises_unknown_model(registry: Registry[FakeRunner], reference: str) -> None:
    with pytest.raises(UnknownModel, match="no such model is served"):
        registry.get(reference)


@pytest.mark.parametrize("version", ["999999999", "0", "latest", "1@1", " 1"])
def test_get_unserved_version_lists_the_served_versions(registry: Registry[FakeRunner], version: str) -> None:
    served = registry.get("tutorial").manifest.version
    with pytest.raises(UnknownModel) as caught:
        registry.get(f"tutorial@{version}")
    assert str(caught.value) == f"this version of the model 'tutorial' is not served; served versions: {served}"


def test_get_model_that_failed_to_load_raises_not_ready(models: Path) -> None:
    corrupt(models, "tutorial")
    registry = load_registry(models)
    for reference in ("tutorial", "tutorial@1", "tutorial@2"):
        with pytest.raises(NotReady, match="'tutorial' could not be loaded") as caught:
            registry.get(reference)
        assert caught.value.retry_after_s == 60.0
    assert registry.get().manifest.name == "default"


def test_get_missing_default_model_raises_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="'default' could not be loaded"):
        load_registry(tmp_path).get()


def test_get_finds_each_served_version_by_number(model_store: FakeModelStore) -> None:
    for version in ("1", "2", "3"):
        model_store.publish("a", version)
    registry = FakeRegistry(model_store.directory)
    refresh_and_list(registry)
    assert registry.get("a").reference == "a@3"
    assert registry.get("a@2").reference == "a@2"
    with pytest.raises(UnknownModel, match="this version of the model 'a' is not served; served versions: 2, 3"):
        registry.get("a@1")
