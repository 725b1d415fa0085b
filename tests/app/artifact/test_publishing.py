"""Publishing artifacts: publishing is atomic, and `current` is updated afterwards."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.artifact import store
from app.artifact.manifest import Manifest, ManifestDraft
from app.artifact.publishing import staging_directory
from app.artifact.store import read_version
from app.errors import ArtifactError
from tests.app.artifact.artifact_files import current_path

CONTENT = {"model.keras": b"k" * 3, "model.onnx": b"o" * 5, "scaler.joblib": b"s" * 7, "report.html": b""}


@pytest.fixture(scope="module")
def draft(shipped: Path) -> ManifestDraft:
    """Return the manifest of the shipped default model, as training writes it."""
    manifest = store.read_artifact(current_path(shipped, "default")).manifest
    return ManifestDraft(**{name: getattr(manifest, name) for name in ManifestDraft.model_fields})


class CheckFailed(Exception):
    """Raised by a check, or by a run before it publishes."""


def pass_check(path: Path) -> None:
    """Accept any artifact."""


def fail_check(path: Path) -> None:
    """Reject any artifact."""
    raise CheckFailed


def write_files(directory: Path) -> None:
    """Write the files of an artifact, without its manifest."""
    for name, content in CONTENT.items():
        (directory / name).write_bytes(content)


def publish(
    models_dir: Path, draft: ManifestDraft, check: Callable[[Path], object] = pass_check, name: str = "m"
) -> str:
    """Publish an artifact and return its version."""
    with staging_directory(models_dir, name) as stage:
        write_files(stage.path)
        return stage.publish(draft, check)


def entries(directory: Path) -> list[str]:
    """Return the names of all entries, including hidden ones."""
    return sorted(path.name for path in directory.iterdir())


def read_manifest(path: Path) -> Manifest:
    return Manifest.model_validate_json((path / "manifest.json").read_bytes())


# What is published


def test_publish_counts_versions_up_and_moves_current(tmp_path: Path, draft: ManifestDraft) -> None:
    for number in range(1, 12):
        assert publish(tmp_path, draft) == str(number)
        assert store.current_version(tmp_path, "m") == str(number)
    assert store.versions(tmp_path, "m") == [str(number) for number in range(1, 12)]
    assert entries(tmp_path / "m") == sorted([*store.versions(tmp_path, "m"), "current"])
    assert store.model_names(tmp_path) == ["m"]


def test_publish_writes_manifest_with_every_digest(tmp_path: Path, draft: ManifestDraft) -> None:
    path = tmp_path / "m" / publish(tmp_path, draft)
    assert entries(path) == sorted([*CONTENT, "manifest.json"])
    manifest = read_manifest(path)
    assert (manifest.name, manifest.version, manifest.format_version) == ("m", "1", 1)
    assert manifest.created.utcoffset() is not None
    assert {name: getattr(manifest, name) for name in ManifestDraft.model_fields} == dict(draft)
    assert {name: (file.sha256, file.size_bytes) for name, file in manifest.files.items()} == {
        name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in CONTENT.items()
    }


def test_published_shipped_files_can_be_read(shipped: Path, tmp_path: Path, draft: ManifestDraft) -> None:
    with staging_directory(tmp_path, "again") as stage:
        for name in ("model.keras", "model.onnx", "scaler.joblib"):
            shutil.copy(current_path(shipped, "default") / name, stage.path)
        version = stage.publish(draft, store.read_artifact)
    assert read_version(tmp_path, "again", version).manifest.golden == draft.golden


def test_publish_replaces_manifest_in_staging_directory(tmp_path: Path, draft: ManifestDraft) -> None:
    with staging_directory(tmp_path, "m") as stage:
        write_files(stage.path)
        (stage.path / "manifest.json").write_text("{}")
        stage.publish(draft, pass_check)
    assert sorted(read_manifest(tmp_path / "m" / "1").files) == sorted(CONTENT)


def test_published_directory_is_readable_by_other_users(tmp_path: Path, draft: ManifestDraft) -> None:
    path = tmp_path / "m" / publish(tmp_path, draft)
    assert path.stat().st_mode & 0o777 == 0o755


def test_write_current_moves_back_to_earlier_version(tmp_path: Path, draft: ManifestDraft) -> None:
    publish(tmp_path, draft)
    publish(tmp_path, draft)
    store.write_current(tmp_path, "m", "1")
    assert store.current_version(tmp_path, "m") == "1"
    assert publish(tmp_path, draft) == "3"


# Order of the steps


def test_publish_checks_complete_directory_first(tmp_path: Path, draft: ManifestDraft) -> None:
    publish(tmp_path, draft)
    seen: list[tuple[str, list[str], list[str]]] = []

    def record(path: Path) -> None:
        seen.append((read_manifest(path).version, entries(path), store.versions(tmp_path, "m")))

    publish(tmp_path, draft, record)
    assert seen == [("2", sorted([*CONTENT, "manifest.json"]), ["1"])]


def test_publish_flushes_every_file_before_renaming(
    tmp_path: Path, draft: ManifestDraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(store, "flush_to_disk", lambda path: flushed.append(path.name))
    at_check: list[str] = []
    publish(tmp_path, draft, lambda path: at_check.extend([path.name, *flushed]))
    name, *before = at_check
    assert sorted(before) == sorted([*CONTENT, "manifest.json", name])
    assert before[-1] == name
    assert flushed[len(before) :] == ["m", "current", "m"]


# Failures and interruptions


def test_publish_failed_check_keeps_old_version(tmp_path: Path, draft: ManifestDraft) -> None:
    publish(tmp_path, draft)
    with pytest.raises(CheckFailed):
        publish(tmp_path, draft, fail_check)
    assert entries(tmp_path / "m") == ["1", "current"]
    assert store.current_version(tmp_path, "m") == "1"
    assert publish(tmp_path, draft) == "2"


def test_publish_failed_check_of_first_version_leaves_nothing(tmp_path: Path, draft: ManifestDraft) -> None:
    with pytest.raises(CheckFailed):
        publish(tmp_path, draft, fail_check)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("missing", ["model.keras", "model.onnx", "scaler.joblib"])
def test_publish_without_required_file_fails(tmp_path: Path, draft: ManifestDraft, missing: str) -> None:
    def publish_without() -> None:
        with staging_directory(tmp_path, "m") as stage:
            write_files(stage.path)
            (stage.path / missing).unlink()
            stage.publish(draft, fail_check)

    with pytest.raises(ValueError, match=f"files must name {missing}"):
        publish_without()
    assert entries(tmp_path) == []


def interrupt(models_dir: Path, error: type[BaseException]) -> None:
    """Write the files of an artifact, and raise before it is published."""
    with staging_directory(models_dir, "m") as stage:
        write_files(stage.path)
        raise error


@pytest.mark.parametrize("error", [CheckFailed, KeyboardInterrupt, SystemExit])
def test_interrupted_first_run_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        interrupt(tmp_path, error)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("error", [CheckFailed, KeyboardInterrupt, SystemExit])
def test_interrupted_later_run_leaves_published_versions(
    tmp_path: Path, draft: ManifestDraft, error: type[BaseException]
) -> None:
    publish(tmp_path, draft)
    with pytest.raises(error):
        interrupt(tmp_path, error)
    assert entries(tmp_path / "m") == ["1", "current"]


def test_unpublished_staging_directory_is_removed(tmp_path: Path) -> None:
    with staging_directory(tmp_path, "m") as stage:
        assert stage.path.parent == tmp_path / "m"
        assert stage.path.name.startswith(".staging-")
        assert store.versions(tmp_path, "m") == []
    assert entries(tmp_path) == []


def test_leftovers_of_killed_run_are_ignored(tmp_path: Path, draft: ManifestDraft) -> None:
    staged = tmp_path / "m" / ".staging-killed"
    staged.mkdir(parents=True)
    write_files(staged)
    staged_current = tmp_path / "m" / ".staging-of-current"
    staged_current.mkdir()
    (staged_current / "current").write_text("17")
    assert store.model_names(tmp_path) == []
    assert store.versions(tmp_path, "m") == []
    assert publish(tmp_path, draft) == "1"
    assert store.current_version(tmp_path, "m") == "1"
    assert store.model_names(tmp_path) == ["m"]
    assert entries(tmp_path / "m") == [".staging-killed", ".staging-of-current", "1", "current"]


# Concurrent runs


def test_two_staging_directories_of_one_model_are_separate(tmp_path: Path, draft: ManifestDraft) -> None:
    with staging_directory(tmp_path, "m") as one, staging_directory(tmp_path, "m") as other:
        for stage in (one, other):
            write_files(stage.path)
        assert one.publish(draft, pass_check) == "1"
        assert other.publish(draft, pass_check) == "2"
    assert entries(tmp_path / "m") == ["1", "2", "current"]


def test_publish_skips_versions_published_meanwhile(tmp_path: Path, draft: ManifestDraft) -> None:
    checked: list[str] = []

    def publish_same_version(path: Path) -> None:
        version = read_manifest(path).version
        checked.append(version)
        if version in "12":
            (tmp_path / "m" / version).mkdir()
            (tmp_path / "m" / version / "manifest.json").write_text("another run's")

    assert publish(tmp_path, draft, publish_same_version) == "3"
    assert checked == ["1", "2", "3"]  # the manifest is written and checked again for each number
    assert read_manifest(tmp_path / "m" / "3").version == "3"
    assert (tmp_path / "m" / "1" / "manifest.json").read_text() == "another run's"
    assert store.current_version(tmp_path, "m") == "3"


def test_publish_skips_file_named_like_next_version(tmp_path: Path, draft: ManifestDraft) -> None:
    publish(tmp_path, draft)
    (tmp_path / "m" / "2").write_text("no directory")
    checked: list[Path] = []

    def fail_after_ten(path: Path) -> None:
        checked.append(path)
        if len(checked) > 10:
            pytest.fail("publish tries the same version again and again")

    assert publish(tmp_path, draft, fail_after_ten) == "3"


def test_publish_reports_other_rename_failures(tmp_path: Path, draft: ManifestDraft) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path, draft, shutil.rmtree)
    assert entries(tmp_path) == []


# Names and directories


@pytest.mark.parametrize("name", ["", "Default", "../m", "a/b", ".", ".staging-m", "a" * 65, "m\n"])
def test_staging_directory_invalid_name_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="a model name has"), staging_directory(tmp_path / "models", name):
        pytest.fail("the staging directory was created")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("name", ["models", "models/m"])
def test_staging_directory_blocked_by_file_reports_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("no directory")
    with (
        pytest.raises(ArtifactError, match=r"Not a directory|File exists") as caught,
        staging_directory(tmp_path / "models", "m"),
    ):
        pytest.fail("the staging directory was created")
    assert caught.value.path == tmp_path / "models" / "m"
