"""The registry serves what loads, keeps the reason of what does not, and finds a model by what a request calls it."""

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.artifact import store
from app.errors import ArtifactError, NotReady, UnknownModel
from app.forecaster import Forecaster
from app.registry import Registry
from tests.app.artifact.test_store import place, reseal


@dataclass(frozen=True)
class Runner:
    """Stands for whatever takes requests to a forecaster."""

    forecaster: Forecaster
    loop: asyncio.AbstractEventLoop


def run(forecaster: Forecaster) -> Runner:
    return Runner(forecaster, asyncio.get_running_loop())


@dataclass
class Told:
    """Remembers the failures that it is told of."""

    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def __call__(self, name: str, error: Exception) -> None:
        self.failures.append((name, error))


def loaded(models_dir: Path, default_model: str = "default", told: Told | None = None) -> Registry[Runner]:
    """A registry that has loaded all it could."""

    async def load() -> Registry[Runner]:
        registry = Registry(models_dir, default_model, "onnx", run, *([told] if told else []))
        await registry.load_all()
        return registry

    return asyncio.run(load())


@pytest.fixture(scope="module")
def registry(shipped: Path) -> Registry[Runner]:
    return loaded(shipped)


def spoil(models: Path, name: str, file: str = "model.onnx") -> None:
    """Makes the current version of a model unreadable."""
    (place(models, name) / file).write_bytes(b"garbage")


# Loading


def test_every_shipped_model_is_served_in_its_current_version(registry: Registry[Runner], shipped: Path) -> None:
    assert sorted(registry.models) == store.names(shipped)
    assert registry.failures == {}
    for name, model in registry.models.items():
        assert (model.manifest.name, model.manifest.version) == (name, store.current(shipped, name))
        assert model.forecaster.engine.name == "onnx"
        assert model.runner.forecaster is model.forecaster


def test_runners_are_started_on_the_event_loop(shipped: Path) -> None:
    async def load() -> None:
        registry = Registry(shipped, "default", "onnx", run)
        await registry.load_all()
        assert {model.runner.loop for model in registry.models.values()} == {asyncio.get_running_loop()}

    asyncio.run(load())


def test_the_loop_is_not_held_up_while_models_load(shipped: Path) -> None:
    async def load() -> None:
        registry = Registry(shipped, "default", "onnx", run)
        loading = asyncio.create_task(registry.load_all())
        turns = 0
        while not loading.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > len(registry.models)

    asyncio.run(load())


def test_nothing_is_served_before_it_is_loaded(shipped: Path) -> None:
    registry = Registry(shipped, "default", "onnx", run)
    assert registry.models == {}
    with pytest.raises(UnknownModel, match="there is none"):
        registry.get()


def test_what_is_served_cannot_be_changed_from_outside(registry: Registry[Runner]) -> None:
    registry.models.clear()
    assert "default" in registry.models


@pytest.mark.parametrize(("broken", "whole"), [("tutorial", "default"), ("default", "tutorial")])
def test_a_model_that_fails_to_load_leaves_the_others_served(models: Path, broken: str, whole: str) -> None:
    told = Told()
    spoil(models, broken)
    registry = loaded(models, told=told)
    assert whole in registry.models
    assert broken not in registry.models
    version = store.current(models, broken)
    assert registry.failures == {
        broken: f"{broken}/{version}/model.onnx: its content differs from what was published (size or SHA-256)"
    }
    ((name, error),) = told.failures
    assert name == broken
    assert isinstance(error, ArtifactError)
    assert error.path == models / broken / version / "model.onnx"


@pytest.mark.parametrize("file", ["model.onnx", "scaler.joblib"])
def test_a_failure_says_file_and_reason_and_not_where_the_models_lie(models: Path, file: str) -> None:
    spoil(models, "tutorial", file)
    reseal(place(models, "tutorial"))
    registry = loaded(models)
    place_and_reason = registry.failures["tutorial"]
    assert place_and_reason.startswith(f"tutorial/{store.current(models, 'tutorial')}/{file}: ")
    assert str(models) not in place_and_reason


def test_a_current_that_names_no_version_is_a_failure(models: Path) -> None:
    (models / "tutorial" / "current").write_text("latest")
    assert loaded(models).failures == {"tutorial": "tutorial/current: it must hold a version number, such as 1"}


def test_a_current_that_names_a_missing_version_is_a_failure(models: Path) -> None:
    (models / "tutorial" / "current").write_text("999")
    assert loaded(models).failures == {"tutorial": "tutorial/999/manifest.json: No such file or directory"}


def test_a_version_copied_to_another_name_is_a_failure(models: Path) -> None:
    shutil.copytree(models / "tutorial", models / "copy")
    registry = loaded(models)
    assert registry.failures["copy"].endswith("it names another model or version than its directory")
    assert {"default", "tutorial"} <= set(registry.models)


def test_all_models_may_fail(models: Path) -> None:
    told = Told()
    for name in store.names(models):
        spoil(models, name)
    registry = loaded(models, told=told)
    assert registry.models == {}
    assert sorted(registry.failures) == sorted(name for name, _ in told.failures) == store.names(models)


def test_a_default_model_that_is_missing_is_a_failure(shipped: Path) -> None:
    told = Told()
    registry = loaded(shipped, default_model="absent", told=told)
    assert "default" in registry.models
    assert registry.failures == {"absent": "absent: the default model has no published version"}
    assert [name for name, _ in told.failures] == ["absent"]


def test_a_default_model_that_failed_is_told_of_once(models: Path) -> None:
    told = Told()
    spoil(models, "default")
    loaded(models, told=told)
    assert [name for name, _ in told.failures] == ["default"]


def test_an_empty_models_directory_lacks_the_default_model(tmp_path: Path) -> None:
    assert loaded(tmp_path).failures == {"default": "default: the default model has no published version"}


def test_a_models_directory_that_is_missing_fails_the_default_model(tmp_path: Path) -> None:
    told = Told()
    registry = loaded(tmp_path / "models", told=told)
    assert registry.models == {}
    assert registry.failures == {"default": ".: there is no such directory of models"}
    assert [name for name, _ in told.failures] == ["default"]


# Finding


def test_a_request_that_names_no_model_gets_the_default_one(registry: Registry[Runner]) -> None:
    assert registry.get() is registry.get(None) is registry.get("default") is registry.models["default"]


def test_the_default_model_can_be_another(shipped: Path) -> None:
    registry = loaded(shipped, default_model="tutorial")
    assert registry.default_model == "tutorial"
    assert registry.get().manifest.name == "tutorial"


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_a_model_is_found_by_name_with_or_without_version(registry: Registry[Runner], name: str) -> None:
    model = registry.get(name)
    assert model.manifest.name == name
    assert registry.get(f"{name}@{model.manifest.version}") is model


def test_an_unknown_model_is_answered_with_those_there_are(registry: Registry[Runner], shipped: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        registry.get("absent")
    assert str(caught.value) == f"no such model is served; there is {', '.join(store.names(shipped))}"


@pytest.mark.parametrize("reference", ["absent@1", "@1", "Default", "default/1", "../default"])
def test_what_is_not_served_is_unknown(registry: Registry[Runner], reference: str) -> None:
    with pytest.raises(UnknownModel, match="no such model is served"):
        registry.get(reference)


@pytest.mark.parametrize("version", ["999999999", "0", "latest", "1@1", " 1"])
def test_another_version_than_the_served_one_is_unknown(registry: Registry[Runner], version: str) -> None:
    served = registry.get("tutorial").manifest.version
    with pytest.raises(UnknownModel) as caught:
        registry.get(f"tutorial@{version}")
    assert str(caught.value) == f"of the model 'tutorial', only version {served} is served"


def test_a_model_that_could_not_be_loaded_is_not_ready(models: Path) -> None:
    spoil(models, "tutorial")
    registry = loaded(models)
    for reference in ("tutorial", "tutorial@1", "tutorial@2"):
        with pytest.raises(NotReady, match="'tutorial' could not be loaded") as caught:
            registry.get(reference)
        assert caught.value.retry_after_s == 60.0
    assert registry.get().manifest.name == "default"


def test_a_default_model_that_is_missing_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="'default' could not be loaded"):
        loaded(tmp_path).get()


def test_published_versions_are_those_on_disk_served_or_not(models: Path) -> None:
    registry = loaded(models)
    (models / "tutorial" / "999").mkdir()
    assert registry.published_versions("tutorial") == [*store.versions(models, "tutorial")]
    assert registry.published_versions("tutorial")[-1] == "999"
    assert registry.published_versions("absent") == []
