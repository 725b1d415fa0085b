"""Tests of the registry with real artifacts: valid versions are served, and invalid ones are reported."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.artifact import store
from app.artifact.manifest import Manifest
from app.errors import ArtifactError
from app.inference.forecaster import Forecaster
from app.serving.registry import Registry
from benchmarks.model_variants import publish_variant
from tests.app.artifact.artifact_files import current_path, reseal_manifest
from tests.app.serving.registry_harness import EventRecorder, FakeRunner, corrupt, create_registry, load_registry
from tests.conftest import version_of


@pytest.fixture(scope="module")
def registry(shipped: Path) -> Registry[FakeRunner]:
    return load_registry(shipped)


def test_refresh_serves_the_current_version_of_each_model(registry: Registry[FakeRunner], shipped: Path) -> None:
    assert sorted(registry.models) == store.model_names(shipped)
    assert registry.failures == {}
    for name, model in registry.models.items():
        assert (model.manifest.name, model.manifest.version) == (name, version_of(name))
        assert model.reference == f"{name}@{version_of(name)}"
        assert model.forecaster.engine.name == "onnx"
        assert model.runner.forecaster is model.forecaster
        assert model.runner.manifest is model.manifest


def test_refresh_starts_runners_on_the_event_loop(shipped: Path) -> None:
    async def load() -> None:
        registry = create_registry(shipped)
        await registry.refresh()
        assert {model.runner.loop for model in registry.models.values()} == {asyncio.get_running_loop()}

    asyncio.run(load())


def test_refresh_reads_artifacts_in_threads(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_main_thread: list[bool] = []
    read = Registry._read

    def record_thread(self: Registry[FakeRunner], name: str, version: str) -> tuple[Manifest, Forecaster]:
        in_main_thread.append(threading.current_thread() is threading.main_thread())
        return read(self, name, version)

    monkeypatch.setattr(Registry, "_read", record_thread)
    registry = load_registry(shipped)
    assert in_main_thread == [False] * len(registry.models)


@pytest.mark.parametrize(("broken", "intact"), [("tutorial", "default"), ("default", "tutorial")])
def test_refresh_with_broken_model_serves_the_others(models: Path, broken: str, intact: str) -> None:
    events = EventRecorder()
    corrupt(models, broken)
    registry = load_registry(models, events=events)
    assert intact in registry.models
    assert broken not in registry.models
    version = store.current_version(models, broken)
    assert registry.failures == {broken: f"{broken}/{version}/model.onnx: size or SHA-256 does not match the manifest"}
    ((name, error),) = events.failures
    assert name == broken
    assert isinstance(error, ArtifactError)
    assert error.path == models / broken / version / "model.onnx"


@pytest.mark.parametrize("file", ["model.onnx", "scaler.joblib"])
def test_failure_has_file_and_reason_but_no_absolute_path(models: Path, file: str) -> None:
    corrupt(models, "tutorial", file)
    reseal_manifest(current_path(models, "tutorial"))
    registry = load_registry(models)
    failure = registry.failures["tutorial"]
    assert failure.startswith(f"tutorial/{store.current_version(models, 'tutorial')}/{file}: ")
    assert str(models) not in failure


def test_refresh_with_unreadable_current_fails_the_model(models: Path) -> None:
    (models / "tutorial" / "current").write_text("latest")
    assert load_registry(models).failures == {"tutorial": "tutorial/current: must contain a version number, such as 1"}


def test_refresh_with_missing_current_version_fails_the_model(models: Path) -> None:
    (models / "tutorial" / "current").write_text("999")
    assert load_registry(models).failures == {"tutorial": "tutorial/999/manifest.json: No such file or directory"}


def test_refresh_with_misnamed_artifact_reports_failure(models: Path) -> None:
    shutil.copytree(models / "tutorial", models / "copy")
    registry = load_registry(models)
    assert registry.failures["copy"].endswith("name or version does not match the directory")
    assert {"default", "tutorial"} <= set(registry.models)


def test_refresh_with_all_models_broken_serves_none(models: Path) -> None:
    events = EventRecorder()
    for name in store.model_names(models):
        corrupt(models, name)
    registry = load_registry(models, events=events)
    assert registry.models == {}
    assert sorted(registry.failures) == sorted(name for name, _ in events.failures) == store.model_names(models)


def test_refresh_without_default_model_reports_it(shipped: Path) -> None:
    events = EventRecorder()
    registry = load_registry(shipped, default_model="absent", events=events)
    assert "default" in registry.models
    assert registry.failures == {"absent": "absent: no published version"}
    assert [name for name, _ in events.failures] == ["absent"]


def test_refresh_with_broken_default_model_reports_it_once(models: Path) -> None:
    events = EventRecorder()
    corrupt(models, "default")
    load_registry(models, events=events)
    assert [name for name, _ in events.failures] == ["default"]


def test_refresh_of_empty_directory_fails_the_default_model(tmp_path: Path) -> None:
    assert load_registry(tmp_path).failures == {"default": "default: no published version"}


def test_refresh_without_directory_fails_the_default_model(tmp_path: Path) -> None:
    events = EventRecorder()
    registry = load_registry(tmp_path / "models", events=events)
    assert registry.models == {}
    assert registry.failures == {"default": ".: the models directory does not exist"}
    assert [name for name, _ in events.failures] == ["default"]


def test_new_version_goes_live_and_the_previous_still_answers(models: Path) -> None:
    events = EventRecorder()
    registry = load_registry(models, events=events)
    previous = registry.get("default")
    windows = np.array(previous.manifest.golden.windows)
    version = publish_variant(models, "default", factor=2.0)
    assert registry.get("default") is previous  # until the next refresh
    asyncio.run(registry.refresh(only_if_changed=True))
    live = registry.get("default")
    assert live.manifest.version == version
    assert registry.get() is live is registry.get(f"default@{version}")
    assert registry.get(previous.reference) is previous
    assert registry.versions("default") == [previous.manifest.version, version]
    np.testing.assert_allclose(previous.forecaster.forecast(windows), previous.manifest.golden.forecasts, rtol=1e-5)
    np.testing.assert_allclose(live.forecaster.forecast(windows), live.manifest.golden.forecasts, rtol=1e-5)
    assert (events.failures, events.retired) == ([], [])


def publish_copy(models: Path, name: str) -> Path:
    """Publish a copy of the current version as the next version, and make that current."""
    original = current_path(models, name)
    version = str(int(original.name) + 1)
    path = Path(shutil.copytree(original, original.parent / version))
    reseal_manifest(path, version=version)
    store.write_current(models, name, version)
    return path


def break_json(path: Path) -> None:
    (path / store.MANIFEST).write_text("{")


def change_format_version(path: Path) -> None:
    reseal_manifest(path, format_version=99)


def alter_network(path: Path) -> None:
    (path / "model.onnx").write_bytes(b"garbage")


def delete_scaler(path: Path) -> None:
    (path / "scaler.joblib").unlink()


def replace_network(path: Path) -> None:
    alter_network(path)
    reseal_manifest(path)


def change_golden_forecast(path: Path) -> None:
    golden = json.loads((path / store.MANIFEST).read_text())["golden"]
    golden["forecasts"][0][0][0] *= 0.99
    reseal_manifest(path, golden=golden)


def change_version(path: Path) -> None:
    reseal_manifest(path, version="77")


def break_current(path: Path) -> None:
    (path.parent / "current").write_text("latest")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (break_json, "manifest.json: "),
        (change_format_version, "manifest.json: format_version"),
        (alter_network, "model.onnx: size or SHA-256 does not match the manifest"),
        (delete_scaler, "scaler.joblib: No such file or directory"),
        (replace_network, "model.onnx: the network cannot be loaded"),
        (change_golden_forecast, "model.onnx: the golden forecasts are not reproduced"),
        (change_version, "manifest.json: name or version does not match the directory"),
        (break_current, "current: must contain a version number, such as 1"),
    ],
)
def test_new_version_that_fails_a_check_never_goes_live(
    models: Path, fault: Callable[[Path], None], reason: str
) -> None:
    events = EventRecorder()
    registry = load_registry(models, events=events)
    previous = registry.get("tutorial")
    path = publish_copy(models, "tutorial")
    fault(path)
    asyncio.run(registry.refresh())
    assert registry.get("tutorial") is previous
    assert registry.get(previous.reference) is previous
    assert reason in registry.failures["tutorial"]
    assert str(models) not in registry.failures["tutorial"]
    assert "tutorial" in [reference for reference, _ in events.failures]
    assert events.retired == []
    shutil.rmtree(path)
    store.write_current(models, "tutorial", previous.manifest.version)
    repaired = publish_copy(models, "tutorial")
    asyncio.run(registry.refresh())
    assert registry.failures == {}
    assert registry.get("tutorial").manifest.version == repaired.name
