"""The registry serves what loads, keeps the reason of what does not, and finds a model by what a request calls it.

`test_registry_machine.py` holds it to all of that at once, whatever happens in whatever order.
"""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifact import store
from app.artifact.manifest import Manifest
from app.errors import ArtifactError, NotReady, PricecastError, UnknownModel
from app.inference.forecaster import Forecaster
from app.serving.registry import Model, Registry
from app.serving.version_overrides import VersionOverride
from tests.app.artifact.artifact_files import current_path, reseal_manifest
from tests.fakes import QuickRegistry, Shelf, in_turns
from tests.model_variants import publish_variant
from tests.virtual_time import in_virtual_time, run


@dataclass(frozen=True)
class ModelRunner:
    """Stands for whatever takes requests to a forecaster."""

    manifest: Manifest
    forecaster: Forecaster
    loop: asyncio.AbstractEventLoop


def start(manifest: Manifest, forecaster: Forecaster) -> ModelRunner:
    return ModelRunner(manifest, forecaster, asyncio.get_running_loop())


@dataclass
class Told:
    """Remembers the failures and the retirements that it is told of."""

    failures: list[tuple[str, Exception]] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)

    def failed(self, reference: str, error: Exception) -> None:
        self.failures.append((reference, error))

    def retire(self, model: Model[ModelRunner]) -> None:
        self.retired.append(model.reference)


def registry_of(models_dir: Path, default_model: str = "default", told: Told | None = None) -> Registry[ModelRunner]:
    told = told or Told()
    return Registry(models_dir, default_model, "onnx", start, retire=told.retire, on_failure=told.failed)


def loaded(models_dir: Path, default_model: str = "default", told: Told | None = None) -> Registry[ModelRunner]:
    """A registry that has loaded all it could."""
    registry = registry_of(models_dir, default_model, told)
    asyncio.run(registry.refresh())
    return registry


@pytest.fixture(scope="module")
def registry(shipped: Path) -> Registry[ModelRunner]:
    return loaded(shipped)


def spoil(models: Path, name: str, file: str = "model.onnx") -> None:
    """Makes the current version of a model unreadable."""
    (current_path(models, name) / file).write_bytes(b"garbage")


# Loading


def test_every_shipped_model_is_served_in_its_current_version(registry: Registry[ModelRunner], shipped: Path) -> None:
    assert sorted(registry.models) == store.model_names(shipped)
    assert registry.failures == {}
    for name, model in registry.models.items():
        assert (model.manifest.name, model.manifest.version) == (name, store.current_version(shipped, name))
        assert model.reference == f"{name}@{store.current_version(shipped, name)}"
        assert model.forecaster.engine.name == "onnx"
        assert model.runner.forecaster is model.forecaster
        assert model.runner.manifest is model.manifest


def test_runners_are_started_on_the_event_loop(shipped: Path) -> None:
    async def load() -> None:
        registry = registry_of(shipped)
        await registry.refresh()
        assert {model.runner.loop for model in registry.models.values()} == {asyncio.get_running_loop()}

    asyncio.run(load())


def test_the_loop_is_not_held_up_while_models_load(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    read = Registry._read

    def watched(self: Registry[ModelRunner], name: str, version: str) -> tuple[Manifest, Forecaster]:
        threads.append(threading.current_thread() is threading.main_thread())
        return read(self, name, version)

    monkeypatch.setattr(Registry, "_read", watched)
    registry = loaded(shipped)
    assert threads == [False] * len(registry.models)


def test_nothing_is_served_before_it_is_loaded(shipped: Path) -> None:
    registry = registry_of(shipped)
    assert registry.models == {}
    assert registry.served == []
    with pytest.raises(UnknownModel, match="there is none"):
        registry.get()


def test_what_is_served_cannot_be_changed_from_outside(registry: Registry[ModelRunner]) -> None:
    registry.models.clear()
    registry.served.clear()
    assert "default" in registry.models
    assert registry.served


@pytest.mark.parametrize(("broken", "whole"), [("tutorial", "default"), ("default", "tutorial")])
def test_a_model_that_fails_to_load_leaves_the_others_served(models: Path, broken: str, whole: str) -> None:
    told = Told()
    spoil(models, broken)
    registry = loaded(models, told=told)
    assert whole in registry.models
    assert broken not in registry.models
    version = store.current_version(models, broken)
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
    reseal_manifest(current_path(models, "tutorial"))
    registry = loaded(models)
    place_and_reason = registry.failures["tutorial"]
    assert place_and_reason.startswith(f"tutorial/{store.current_version(models, 'tutorial')}/{file}: ")
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
    for name in store.model_names(models):
        spoil(models, name)
    registry = loaded(models, told=told)
    assert registry.models == {}
    assert sorted(registry.failures) == sorted(name for name, _ in told.failures) == store.model_names(models)


def test_a_default_model_that_is_missing_is_a_failure(shipped: Path) -> None:
    told = Told()
    registry = loaded(shipped, default_model="absent", told=told)
    assert "default" in registry.models
    assert registry.failures == {"absent": "absent: it has no published version"}
    assert [name for name, _ in told.failures] == ["absent"]


def test_a_default_model_that_failed_is_told_of_once(models: Path) -> None:
    told = Told()
    spoil(models, "default")
    loaded(models, told=told)
    assert [name for name, _ in told.failures] == ["default"]


def test_an_empty_models_directory_lacks_the_default_model(tmp_path: Path) -> None:
    assert loaded(tmp_path).failures == {"default": "default: it has no published version"}


def test_a_models_directory_that_is_missing_fails_the_default_model(tmp_path: Path) -> None:
    told = Told()
    registry = loaded(tmp_path / "models", told=told)
    assert registry.models == {}
    assert registry.failures == {"default": ".: the models directory does not exist"}
    assert [name for name, _ in told.failures] == ["default"]


# Finding


def test_a_request_that_names_no_model_gets_the_default_one(registry: Registry[ModelRunner]) -> None:
    assert registry.get() is registry.get(None) is registry.get("default") is registry.models["default"]


def test_the_default_model_can_be_another(shipped: Path) -> None:
    registry = loaded(shipped, default_model="tutorial")
    assert registry.default_model == "tutorial"
    assert registry.get().manifest.name == "tutorial"


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_a_model_is_found_by_name_with_or_without_version(registry: Registry[ModelRunner], name: str) -> None:
    model = registry.get(name)
    assert model.manifest.name == name
    assert registry.get(f"{name}@{model.manifest.version}") is model


def test_an_unknown_model_is_answered_with_those_there_are(registry: Registry[ModelRunner], shipped: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        registry.get("absent")
    assert str(caught.value) == f"no such model is served; there is {', '.join(store.model_names(shipped))}"


@pytest.mark.parametrize("reference", ["absent@1", "@1", "Default", "default/1", "../default"])
def test_what_is_not_served_is_unknown(registry: Registry[ModelRunner], reference: str) -> None:
    with pytest.raises(UnknownModel, match="no such model is served"):
        registry.get(reference)


@pytest.mark.parametrize("version", ["999999999", "0", "latest", "1@1", " 1"])
def test_another_version_than_the_served_one_is_unknown(registry: Registry[ModelRunner], version: str) -> None:
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


def test_what_is_published_is_what_lies_in_the_directory_whether_or_not_it_can_be_served(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.publish("a", "10")
    shelf.publish("a", "9", fault="it is odd")
    shelf.publish("b", "1")
    shelf.point("b", "latest")
    registry = QuickRegistry(shelf.directory)
    assert asyncio.run(registry.published()) == {"a": ("9", ["9", "10"]), "b": (None, ["1"])}
    shutil.rmtree(shelf.directory)
    assert asyncio.run(registry.published()) == {}


# A version in the place of another: shown with real artifacts


def successor(models: Path, name: str) -> Path:
    """A next version that says what the current one says; `current` names it."""
    before = current_path(models, name)
    version = str(int(before.name) + 1)
    path = Path(shutil.copytree(before, before.parent / version))
    reseal_manifest(path, version=version)
    store.write_current(models, name, version)
    return path


def test_what_training_publishes_goes_live_and_the_version_before_answers_as_before(models: Path) -> None:
    told = Told()
    registry = loaded(models, told=told)
    before = registry.get("default")
    windows = np.array(before.manifest.golden.windows)
    version = publish_variant(models, "default", factor=2.0)
    assert registry.get("default") is before  # until it is looked for
    asyncio.run(registry.refresh(only_if_changed=True))
    live = registry.get("default")
    assert live.manifest.version == version
    assert registry.get() is live is registry.get(f"default@{version}")
    assert registry.get(before.reference) is before
    assert registry.versions("default") == [before.manifest.version, version]
    np.testing.assert_allclose(before.forecaster.forecast(windows), before.manifest.golden.forecasts, rtol=1e-5)
    np.testing.assert_allclose(live.forecaster.forecast(windows), live.manifest.golden.forecasts, rtol=1e-5)
    assert (told.failures, told.retired) == ([], [])


def no_longer_json(path: Path) -> None:
    (path / store.MANIFEST).write_text("{")


def of_another_format(path: Path) -> None:
    reseal_manifest(path, format_version=99)


def altered(path: Path) -> None:
    (path / "model.onnx").write_bytes(b"garbage")


def with_a_file_missing(path: Path) -> None:
    (path / "scaler.joblib").unlink()


def with_no_network_in_it(path: Path) -> None:
    altered(path)
    reseal_manifest(path)


def that_forecasts_otherwise(path: Path) -> None:
    golden = json.loads((path / store.MANIFEST).read_text())["golden"]
    golden["forecasts"][0][0][0] *= 0.99
    reseal_manifest(path, golden=golden)


def of_another_place(path: Path) -> None:
    reseal_manifest(path, version="77")


def with_a_current_that_cannot_be_read(path: Path) -> None:
    (path.parent / "current").write_text("latest")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (no_longer_json, "manifest.json: "),
        (of_another_format, "manifest.json: format_version"),
        (altered, "model.onnx: its content differs from what was published"),
        (with_a_file_missing, "scaler.joblib: No such file or directory"),
        (with_no_network_in_it, "model.onnx: the network cannot be loaded"),
        (that_forecasts_otherwise, "model.onnx: the golden forecasts are not reproduced"),
        (of_another_place, "manifest.json: it names another model or version than its directory"),
        (with_a_current_that_cannot_be_read, "current: it must hold a version number, such as 1"),
    ],
)
def test_a_version_that_fails_a_check_never_goes_live_and_the_one_before_is_served_on(
    models: Path, fault: Callable[[Path], None], reason: str
) -> None:
    told = Told()
    registry = loaded(models, told=told)
    before = registry.get("tutorial")
    path = successor(models, "tutorial")
    fault(path)
    asyncio.run(registry.refresh())
    assert registry.get("tutorial") is before
    assert registry.get(before.reference) is before
    assert reason in registry.failures["tutorial"]
    assert str(models) not in registry.failures["tutorial"]
    assert "tutorial" in [reference for reference, _ in told.failures]
    assert told.retired == []
    shutil.rmtree(path)
    store.write_current(models, "tutorial", before.manifest.version)
    mended = successor(models, "tutorial")
    asyncio.run(registry.refresh())
    assert registry.failures == {}
    assert registry.get("tutorial").manifest.version == mended.name


# Several versions of several models: from here on, versions are stand-ins that are read in no time


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def refreshed(registry: QuickRegistry, *, only_if_changed: bool = False) -> dict[str, list[str]]:
    """What is served after a refresh, by name: the live version first."""
    asyncio.run(registry.refresh(only_if_changed=only_if_changed))
    return served(registry)


def served(registry: QuickRegistry) -> dict[str, list[str]]:
    names = {model.manifest.name for model in registry.served}
    live = {name: model.manifest.version for name, model in registry.models.items()}
    return {
        name: [live.get(name, "none"), *(version for version in registry.versions(name) if version != live.get(name))]
        for name in sorted(names)
    }


def retired(registry: QuickRegistry) -> list[str]:
    """The versions that were retired, oldest retirement first."""
    return [registry.started[runner] for runner in registry.retired]


def failing(kind: type[PricecastError], coroutine: Coroutine[Any, Any, object]) -> str:
    """With which words it fails."""
    with pytest.raises(kind) as caught:
        asyncio.run(coroutine)
    return str(caught.value)


def test_current_decides_which_version_is_live_and_the_newest_are_served_beside_it(shelf: Shelf) -> None:
    for version in ("1", "2", "3", "10"):
        shelf.publish("a", version)
    shelf.point("a", "2")
    shelf.publish("b", "7")
    assert refreshed(QuickRegistry(shelf.directory)) == {"a": ["2", "10"], "b": ["7"]}
    assert refreshed(QuickRegistry(shelf.directory, versions_served=1)) == {"a": ["2"], "b": ["7"]}
    assert refreshed(QuickRegistry(shelf.directory, versions_served=3)) == {"a": ["2", "3", "10"], "b": ["7"]}


def test_each_served_version_is_found_by_its_number(shelf: Shelf) -> None:
    for version in ("1", "2", "3"):
        shelf.publish("a", version)
    registry = QuickRegistry(shelf.directory)
    refreshed(registry)
    assert registry.get("a").reference == "a@3"
    assert registry.get("a@2").reference == "a@2"
    with pytest.raises(UnknownModel, match="of the model 'a', only version 2 and 3 is served"):
        registry.get("a@1")


def test_each_version_takes_the_place_of_the_one_before_and_the_surplus_is_retired_once(shelf: Shelf) -> None:
    registry = QuickRegistry(shelf.directory)
    seen = []
    for version in ("1", "2", "3", "4"):
        shelf.publish("a", version)
        seen.append(refreshed(registry)["a"])
        assert refreshed(registry)["a"] == seen[-1]
    assert seen == [["1"], ["2", "1"], ["3", "2"], ["4", "3"]]
    assert retired(registry) == ["a@1", "a@2"]
    assert registry.started == ["a@1", "a@2", "a@3", "a@4"]  # each once


def test_if_one_version_is_served_it_is_the_live_one(shelf: Shelf) -> None:
    registry = QuickRegistry(shelf.directory, versions_served=1)
    for version in ("1", "2", "3"):
        shelf.publish("a", version)
        assert refreshed(registry) == {"a": [version]}
    assert retired(registry) == ["a@1", "a@2"]


def test_the_version_that_was_live_before_is_kept_as_a_way_back_rather_than_a_newer_one(shelf: Shelf) -> None:
    for version in ("1", "2", "3"):
        shelf.publish("a", version)
    shelf.point("a", "1")
    registry = QuickRegistry(shelf.directory)
    assert refreshed(registry) == {"a": ["1", "3"]}
    shelf.point("a", "2")
    assert refreshed(registry) == {"a": ["2", "1"]}
    assert retired(registry) == ["a@3"]
    read = list(registry.read)
    shelf.point("a", "1")
    assert refreshed(registry) == {"a": ["1", "2"]}
    assert registry.read == read  # the way back takes no reading


def test_a_new_model_is_served_beside_the_others(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    registry = QuickRegistry(shelf.directory)
    assert refreshed(registry) == {"a": ["1"]}
    shelf.publish("b", "1")
    assert refreshed(registry, only_if_changed=True) == {"a": ["1"], "b": ["1"]}
    assert (registry.failures, registry.retired) == ({}, [])


def test_a_version_that_should_be_live_and_fails_is_told_of_by_name_once_a_look(shelf: Shelf) -> None:
    registry = QuickRegistry(shelf.directory)
    shelf.publish("a", "1")
    refreshed(registry)
    shelf.publish("a", "2", fault="it is odd")
    assert refreshed(registry) == {"a": ["1"]}
    assert registry.failures == {"a": "a/2: it is odd"}
    assert registry.told == ["a"]
    shelf.spoil("a", "2", None)
    assert refreshed(registry) == {"a": ["2", "1"]}
    assert registry.failures == {}


def test_a_version_beside_the_live_one_that_fails_is_told_of_by_reference(shelf: Shelf) -> None:
    registry = QuickRegistry(shelf.directory)
    shelf.publish("a", "1")
    shelf.publish("a", "2", fault="it is odd", is_current=False)
    assert refreshed(registry) == {"a": ["1"]}
    assert registry.failures == {"a@2": "a/2: it is odd"}
    assert registry.told == ["a@2"]
    assert registry.get("a").reference == "a@1"
    shelf.spoil("a", "2", None)
    assert refreshed(registry) == {"a": ["1", "2"]}
    assert registry.failures == {}


def test_a_version_that_fails_takes_the_place_of_none_that_can_be_served(shelf: Shelf) -> None:
    for version in ("1", "2", "3", "4"):
        shelf.publish("a", version)
    shelf.spoil("a", "4", "spoilt")
    shelf.point("a", "2")
    registry = QuickRegistry(shelf.directory, versions_served=3)
    assert refreshed(registry)["a"] == ["2", "1", "3"]
    assert registry.failures == {"a@4": "a/4: spoilt"}


def test_a_version_that_is_not_healthy_is_replaced_when_it_is_loaded(two: QuickRegistry) -> None:
    sick = two.get("a").runner
    two._is_healthy = lambda runner: runner != sick
    model = asyncio.run(two.load("a", "2"))
    assert model.runner != sick
    assert two.get("a") is two.get("a@2") is model
    assert two.retired == [sick]
    assert served(two)["a"] == ["2", "1"]  # which is no way back to itself
    assert asyncio.run(two.load("a", "2")) is model


def test_where_the_live_version_fails_from_the_start_the_others_are_served_by_their_numbers(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    shelf.publish("a", "2", fault="it is odd")
    registry = QuickRegistry(shelf.directory)
    assert refreshed(registry) == {"a": ["none", "1"]}
    assert registry.get("a@1").reference == "a@1"
    with pytest.raises(NotReady, match="the model 'a' could not be loaded: a/2: it is odd"):
        registry.get("a")


def test_what_failed_and_is_not_wanted_any_more_is_forgotten(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    shelf.publish("a", "2", fault="it is odd", is_current=False)
    shelf.publish("b", "1", fault="it is even")
    registry = QuickRegistry(shelf.directory)
    refreshed(registry)
    assert sorted(registry.failures) == ["a@2", "b"]
    shelf.publish("a", "3")
    shelf.remove("b")
    assert refreshed(registry, only_if_changed=True) == {"a": ["3", "1"]}
    assert registry.failures == {}
    with pytest.raises(UnknownModel):
        registry.get("b")


def test_while_nothing_changes_nothing_is_read_and_no_failure_tried_again(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    shelf.publish("b", "1", fault="it is odd")
    registry = QuickRegistry(shelf.directory)
    refreshed(registry, only_if_changed=True)
    assert registry.read == ["a@1", "b@1"]
    shelf.spoil("b", "1", None)
    refreshed(registry, only_if_changed=True)
    assert registry.read == ["a@1", "b@1"]
    assert "b" in registry.failures
    shelf.publish("c", "1")  # any change will do
    refreshed(registry, only_if_changed=True)
    assert registry.read == ["a@1", "b@1", "b@1", "c@1"]
    assert registry.failures == {}


def test_whoever_asks_for_a_refresh_has_failures_tried_again(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    shelf.publish("b", "1", fault="it is odd")
    registry = QuickRegistry(shelf.directory)
    refreshed(registry)
    refreshed(registry)
    assert registry.read == ["a@1", "b@1", "b@1"]
    assert registry.told == ["b", "b"]


def test_if_the_models_directory_goes_away_what_is_loaded_is_served_on(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("a", "1")
    shelf.publish("b", "1")
    registry = QuickRegistry(shelf.directory)
    refreshed(registry)
    shelf.directory.rename(tmp_path / "elsewhere")
    for _ in range(2):
        assert refreshed(registry, only_if_changed=True) == {"a": ["1"], "b": ["1"]}
    assert registry.failures == dict.fromkeys("ab", ".: the models directory does not exist")
    assert sorted(registry.told) == ["a", "b"]  # once
    assert registry.retired == []
    (tmp_path / "elsewhere").rename(shelf.directory)
    refreshed(registry, only_if_changed=True)
    assert registry.failures == {}


def test_a_model_whose_directory_goes_away_is_served_on_and_told_of(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    shelf.publish("b", "1")
    registry = QuickRegistry(shelf.directory)
    refreshed(registry)
    shelf.remove("b")
    assert refreshed(registry) == {"a": ["1"], "b": ["1"]}
    assert registry.failures == {"b": "b: it has no published version"}
    assert registry.get("b").reference == "b@1"


# What an administrator wants


def unwritable(models_dir: Path, name: str, version: str) -> None:
    """Stands for `store.write_current` where the lifecycle may not write."""
    raise PermissionError(13, "Permission denied")


@pytest.fixture
def two(shelf: Shelf) -> QuickRegistry:
    """Serves a@2 live and a@1 beside it, and b@1."""
    shelf.publish("a", "1")
    shelf.publish("a", "2")
    shelf.publish("b", "1")
    registry = QuickRegistry(shelf.directory)
    refreshed(registry)
    return registry


def test_a_version_that_is_wanted_is_live_at_once_and_lastingly(two: QuickRegistry, shelf: Shelf) -> None:
    model = asyncio.run(two.load("a", "1"))
    assert model.reference == "a@1"
    assert two.get("a") is model
    assert served(two) == {"a": ["1", "2"], "b": ["1"]}
    assert shelf.pointed("a") == "1"
    assert refreshed(two) == {"a": ["1", "2"], "b": ["1"]}
    assert refreshed(QuickRegistry(shelf.directory))["a"] == ["1", "2"]  # another server, or this one started anew
    asyncio.run(two.load("a", "2"))
    assert served(two)["a"] == ["2", "1"]
    assert two.started == ["a@2", "a@1", "b@1"]
    assert two.retired == []


def test_a_version_that_is_not_served_yet_is_read_and_takes_the_place_of_the_oldest(
    two: QuickRegistry, shelf: Shelf
) -> None:
    shelf.publish("a", "3", is_current=False)
    asyncio.run(two.load("a", "3"))
    assert served(two)["a"] == ["3", "2"]
    assert retired(two) == ["a@1"]
    assert shelf.pointed("a") == "3"


def test_without_a_version_the_one_that_current_names_is_loaded(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.publish("a", "3")
    assert asyncio.run(two.load("a")).reference == "a@3"
    shelf.publish("c", "1")
    assert asyncio.run(two.load("c")).reference == "c@1"
    assert served(two) == {"a": ["3", "2"], "b": ["1"], "c": ["1"]}


def test_what_is_not_published_cannot_be_loaded(two: QuickRegistry, shelf: Shelf) -> None:
    assert failing(UnknownModel, two.load("absent")) == "no such model is published: absent"
    assert failing(UnknownModel, two.load("absent", "1")) == "no such model is published: absent"
    assert failing(UnknownModel, two.load("a", "3")) == "of the model 'a', there is no version 3"
    assert failing(UnknownModel, two.load("a", "../b/1")) == "of the model 'a', there is no version ../b/1"
    assert (two.failures, two.told, shelf.pointed("a")) == ({}, [], "2")


def test_a_version_that_must_not_be_served_is_refused_and_changes_nothing(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.publish("a", "3", fault="it is odd", is_current=False)
    live = two.get("a")
    assert failing(ArtifactError, two.load("a", "3")).endswith("a/3: it is odd")
    assert two.get("a") is live
    assert served(two)["a"] == ["2", "1"]
    assert shelf.pointed("a") == "2"
    assert two.failures == {"a@3": "a/3: it is odd"}
    assert two.told == ["a@3"]
    shelf.spoil("a", "3", None)
    asyncio.run(two.load("a", "3"))
    assert two.failures == {}


def test_without_a_current_or_a_directory_nothing_can_be_loaded(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.point("a", "latest")
    assert failing(ArtifactError, two.load("a")).endswith("a/current: it must hold a version number, such as 1")
    (shelf.directory / "a" / "current").unlink()
    assert failing(UnknownModel, two.load("a")) == "no such model is published: a"
    shutil.rmtree(shelf.directory)
    assert failing(UnknownModel, two.load("a")) == "no such model is published: a"
    assert served(two) == {"a": ["2", "1"], "b": ["1"]}


def test_where_current_cannot_be_written_the_choice_holds_until_current_changes(
    two: QuickRegistry, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", unwritable)
    asyncio.run(two.load("a", "1"))
    assert shelf.pointed("a") == "2"
    for only_if_changed in (True, True, False):
        assert refreshed(two, only_if_changed=only_if_changed)["a"] == ["1", "2"]
    shelf.publish("a", "3", is_current=False)
    assert refreshed(two)["a"] == ["1", "2"]
    shelf.point("a", "3")
    assert refreshed(two)["a"] == ["3", "1"]
    shelf.point("a", "2")
    assert refreshed(two)["a"] == ["2", "3"]  # a choice that has ended does not come back


def test_when_a_choice_has_ended_the_next_look_finds_nothing_changed(
    two: QuickRegistry, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", unwritable)
    asyncio.run(two.load("a", "1"))
    shelf.publish("a", "3", fault="it is odd")
    refreshed(two, only_if_changed=True)
    assert two.told == ["a"]
    refreshed(two, only_if_changed=True)
    assert two.told == ["a"]


def test_a_choice_that_cannot_be_written_is_kept_where_other_workers_find_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", unwritable)
    shelf.publish("a", "1")
    shelf.publish("a", "2")
    overrides: dict[str, VersionOverride] = {}
    one, other = (QuickRegistry(shelf.directory, overrides=overrides) for _ in range(2))
    refreshed(one)
    refreshed(other)
    asyncio.run(one.load("a", "1"))
    assert overrides == {"a": VersionOverride(instead_of="2", version="1")}
    assert refreshed(other, only_if_changed=True)["a"] == ["1", "2"]
    asyncio.run(other.unload("a"))
    assert overrides == {"a": VersionOverride(instead_of="2", version=None)}
    assert refreshed(one, only_if_changed=True) == {}
    asyncio.run(one.load("a"))
    assert overrides == {}
    assert refreshed(other, only_if_changed=True)["a"] == ["2", "1"]


class Renewed(dict[str, VersionOverride]):
    """Pins that another worker renews as soon as one was read."""

    then: VersionOverride | None = None

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        if self.then is not None:
            self[name] = self.then
        return found


def test_a_pin_that_another_worker_has_just_renewed_is_left_as_it_is(shelf: Shelf) -> None:
    shelf.publish("a", "1")
    shelf.publish("a", "2")
    overrides = Renewed(a=VersionOverride("1", "1"))
    overrides.then = VersionOverride("2", "1")
    registry = QuickRegistry(shelf.directory, overrides=overrides)
    assert refreshed(registry)["a"] == ["2", "1"]
    assert overrides == {"a": VersionOverride("2", "1")}
    assert refreshed(registry)["a"] == ["1", "2"]


def test_going_back_to_what_current_says_forgets_the_choice(
    two: QuickRegistry, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", unwritable)
    asyncio.run(two.load("a", "1"))
    asyncio.run(two.load("a"))
    assert refreshed(two)["a"] == ["2", "1"]
    shelf.publish("a", "3")
    assert refreshed(two)["a"] == ["3", "2"]


def test_a_choice_is_forgotten_when_another_can_be_written(
    two: QuickRegistry, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.publish("a", "3", is_current=False)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_current", unwritable)
        asyncio.run(two.load("a", "1"))
    asyncio.run(two.load("a", "3"))
    assert shelf.pointed("a") == "3"
    assert refreshed(two)["a"] == ["3", "1"]


def test_a_choice_holds_though_current_cannot_be_read_for_a_while(
    two: QuickRegistry, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_current", unwritable)
    asyncio.run(two.load("a", "1"))
    shelf.point("a", "")  # as whoever writes it in two steps leaves it in between
    assert refreshed(two)["a"] == ["1", "2"]
    assert "a" in two.failures
    shelf.point("a", "2")
    assert refreshed(two)["a"] == ["1", "2"]
    assert two.failures == {}


def test_an_unloaded_model_is_not_served_until_it_is_loaded_again(two: QuickRegistry, shelf: Shelf) -> None:
    asyncio.run(two.unload("a"))
    assert served(two) == {"b": ["1"]}
    assert sorted(retired(two)) == ["a@1", "a@2"]
    for only_if_changed in (True, False):
        assert refreshed(two, only_if_changed=only_if_changed) == {"b": ["1"]}
    shelf.publish("a", "3", is_current=False)
    assert refreshed(two) == {"b": ["1"]}
    for reference in (None, "a", "a@1", "a@2"):
        with pytest.raises(UnknownModel, match="no such model is served; there is b"):
            two.get(reference)
    assert asyncio.run(two.load("a")).reference == "a@2"
    assert served(two) == {"a": ["2", "3"], "b": ["1"]}
    assert refreshed(two) == {"a": ["2", "3"], "b": ["1"]}
    assert len(two.retired) == 2


def test_an_unloaded_model_comes_back_when_current_changes(two: QuickRegistry, shelf: Shelf) -> None:
    asyncio.run(two.unload("a"))
    shelf.publish("a", "3")
    assert refreshed(two, only_if_changed=True)["a"] == ["3", "2"]
    shelf.point("a", "2")
    assert refreshed(two, only_if_changed=True)["a"] == ["2", "3"]


def test_what_was_live_before_it_was_unloaded_is_no_way_back(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.publish("a", "3", is_current=False)
    asyncio.run(two.load("a", "1"))
    asyncio.run(two.unload("a"))
    asyncio.run(two.load("a", "1"))
    assert served(two)["a"] == ["1", "3"]


def test_a_model_that_had_failed_is_mended_by_loading_another_version(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.publish("a", "3", fault="it is odd")
    refreshed(two)
    assert "a" in two.failures
    asyncio.run(two.load("a", "1"))
    assert two.failures == {}


def test_an_unloaded_version_can_be_loaded_by_its_number(two: QuickRegistry, shelf: Shelf) -> None:
    asyncio.run(two.unload("a"))
    asyncio.run(two.load("a", "1"))
    assert refreshed(two)["a"] == ["1", "2"]
    assert shelf.pointed("a") == "1"


def test_what_is_not_served_cannot_be_unloaded(two: QuickRegistry) -> None:
    assert failing(UnknownModel, two.unload("absent")) == "no such model is served: absent"
    asyncio.run(two.unload("b"))
    assert failing(UnknownModel, two.unload("b")) == "no such model is served: b"


def test_an_unloaded_model_is_unknown_though_it_had_failed(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.publish("a", "3", fault="it is odd")
    refreshed(two)
    assert "a" in two.failures
    asyncio.run(two.unload("a"))
    assert two.failures == {}
    with pytest.raises(UnknownModel):
        two.get("a")


# At the same time


@pytest.fixture
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "to_thread", in_turns)


@pytest.mark.usefixtures("_no_threads")
@in_virtual_time
async def test_whatever_is_asked_for_at_the_same_time_is_done_one_after_the_other(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    for version in ("1", "2", "3"):
        shelf.publish("a", version)
    registry = QuickRegistry(shelf.directory)
    asked = [
        registry.refresh(),
        registry.load("a", "1"),
        registry.unload("a"),
        registry.refresh(),
        registry.load("a", "2"),
        registry.refresh(only_if_changed=True),
    ]
    await asyncio.gather(*asked)
    assert served(registry) == {"a": ["2", "3"]}
    assert shelf.pointed("a") == "2"
    assert registry.started == ["a@3", "a@2", "a@1", "a@2", "a@3"]
    assert sorted(retired(registry)) == ["a@1", "a@2", "a@3"]
    assert registry.failures == {}


@pytest.mark.usefixtures("_no_threads")
def test_a_swap_leaves_no_moment_without_a_live_version(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.publish("a", "1")

    async def swap() -> list[str]:
        registry = QuickRegistry(shelf.directory, versions_served=1)
        await registry.refresh()
        shelf.publish("a", "2")
        swapping = asyncio.create_task(registry.refresh())
        seen = []
        while not swapping.done():
            live = registry.get("a")
            assert live.runner not in registry.retired
            seen.append(live.manifest.version)
            await asyncio.sleep(0)
        return [*seen, registry.get().manifest.version]

    seen = run(swap())
    assert seen == sorted(seen)
    assert set(seen) == {"1", "2"}


def test_a_cancelled_refresh_lets_the_next_one_in(two: QuickRegistry, shelf: Shelf) -> None:
    shelf.publish("a", "3")

    async def scenario() -> None:
        refreshing = asyncio.create_task(two.refresh())
        await asyncio.sleep(0)
        refreshing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await refreshing
        await two.refresh(only_if_changed=True)

    asyncio.run(scenario())
    assert served(two)["a"] == ["3", "2"]
