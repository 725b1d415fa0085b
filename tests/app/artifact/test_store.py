"""Reading artifacts: missing, altered or invalid files are rejected with their path."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.artifact import store
from app.artifact.manifest import Manifest
from app.artifact.store import read_version
from app.artifact.transform import LogReturn, MinMaxPrice
from app.errors import ArtifactError
from tests.app.artifact.artifact_files import SHIPPED_MODELS, current_path, read_invalid_artifact, reseal_manifest
from tests.conftest import ROOT, version_of


def manifest_files(name: str) -> list[str]:
    """Return the files that a shipped model's manifest lists."""
    content = (current_path(ROOT / "models", name) / store.MANIFEST).read_bytes()
    return sorted(Manifest.model_validate_json(content).files)


EVERY_FILE = pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name in SHIPPED_MODELS for file in manifest_files(name)]
)


# Intact artifacts


@pytest.mark.parametrize(("name", "transform"), [("default", LogReturn), ("tutorial", MinMaxPrice)])
def test_read_version_returns_shipped_model(shipped: Path, name: str, transform: type) -> None:
    version = version_of(name)
    artifact = read_version(shipped, name, version)
    assert artifact.path == shipped / name / version
    assert (artifact.manifest.name, artifact.manifest.version) == (name, version)
    assert isinstance(artifact.transform, transform)
    assert artifact.transform.kind == artifact.manifest.transform.kind
    assert artifact.onnx == (artifact.path / "model.onnx").read_bytes()
    assert artifact.keras == artifact.path / "model.keras"
    assert artifact.keras.is_file()


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_read_artifact_accepts_resealed_copy(models: Path, name: str) -> None:
    reseal_manifest(current_path(models, name))
    assert store.read_artifact(current_path(models, name)).manifest.name == name


# Missing and altered files


@EVERY_FILE
def test_read_artifact_missing_file_reports_path(models: Path, name: str, file: str) -> None:
    path = current_path(models, name)
    (path / file).unlink()
    error = read_invalid_artifact(path)
    assert error.path == path / file
    assert error.reason == "No such file or directory"


@EVERY_FILE
def test_read_artifact_flipped_bit_is_detected(models: Path, name: str, file: str) -> None:
    path = current_path(models, name) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    error = read_invalid_artifact(path.parent)
    assert error.path == path
    assert "does not match the manifest" in error.reason


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_read_artifact_changed_length_is_detected(models: Path, change: Callable[[bytes], bytes]) -> None:
    path = current_path(models, "default") / "report.html"
    path.write_bytes(change(path.read_bytes()))
    assert read_invalid_artifact(path.parent).path == path


def test_read_artifact_directory_instead_of_file_reports_path(models: Path) -> None:
    path = current_path(models, "default") / "scaler.joblib"
    path.unlink()
    path.mkdir()
    assert (read_invalid_artifact(path.parent).path, read_invalid_artifact(path.parent).reason) == (
        path,
        "Is a directory",
    )


# Missing and altered manifests


def test_read_artifact_missing_manifest_reports_path(models: Path) -> None:
    path = current_path(models, "default") / "manifest.json"
    path.unlink()
    assert (read_invalid_artifact(path.parent).path, read_invalid_artifact(path.parent).reason) == (
        path,
        "No such file or directory",
    )


@pytest.fixture(scope="module")
def manifest_only(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that holds a manifest and none of the files it lists."""
    directory = tmp_path_factory.mktemp("artifact")
    shutil.copy(current_path(shipped, "default") / store.MANIFEST, directory)
    return directory


@settings(max_examples=25, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True))
def test_read_artifact_flipped_manifest_bit_is_detected(manifest_only: Path, position: float) -> None:
    path = manifest_only / store.MANIFEST
    intact = path.read_bytes()
    content = bytearray(intact)
    content[int(position * len(content))] ^= 0x80  # makes the file invalid UTF-8 at any position
    path.write_bytes(content)
    try:
        error = read_invalid_artifact(manifest_only)
    finally:
        path.write_bytes(intact)
    assert error.path == path
    assert error.reason


def test_read_artifact_changed_digest_is_detected(models: Path) -> None:
    path = current_path(models, "default")
    text = (path / store.MANIFEST).read_text(encoding="utf-8")
    digest = store.read_artifact(path).manifest.files["model.onnx"].sha256
    (path / store.MANIFEST).write_text(text.replace(digest, digest[::-1]), encoding="utf-8")
    assert read_invalid_artifact(path).path == path / "model.onnx"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the document: Invalid JSON"),
        (b"not JSON", "the document: Invalid JSON"),
        (b'{"format_version": 1', "the document: Invalid JSON"),
        (b"\xff\xfe", "the document: Invalid JSON"),
        (b"[" * 100_000, "the document: Invalid JSON"),
        (b"[]", "the document: Input should be an object"),
        (b"{}", "Field required"),
    ],
    ids=["nothing", "text", "half", "bytes", "deep", "list", "empty"],
)
def test_read_artifact_invalid_manifest_is_rejected(models: Path, content: bytes, reason: str) -> None:
    path = current_path(models, "default") / "manifest.json"
    path.write_bytes(content)
    error = read_invalid_artifact(path.parent)
    assert error.path == path
    assert reason in error.reason


def test_read_artifact_unknown_format_version_is_rejected(models: Path) -> None:
    path = current_path(models, "default")
    reseal_manifest(path, format_version=2)
    error = read_invalid_artifact(path)
    assert error.path == path / "manifest.json"
    assert error.reason.startswith("format_version: ")


def test_read_artifact_invalid_field_reports_its_path(models: Path) -> None:
    path = current_path(models, "default")
    reseal_manifest(path, calibration={"center": "network", "offsets": [["wide"]]})
    assert read_invalid_artifact(path).reason.startswith("calibration.offsets.0.0: ")


@pytest.mark.parametrize("change", [{"name": "tutorial"}, {"version": "999"}])
def test_read_version_mismatched_manifest_is_rejected(models: Path, change: dict[str, str]) -> None:
    version = store.current_version(models, "default")
    reseal_manifest(models / "default" / version, **change)
    with pytest.raises(ArtifactError, match="name or version does not match the directory") as caught:
        read_version(models, "default", version)
    assert caught.value.path == models / "default" / version / "manifest.json"


def test_read_version_unpublished_version_is_rejected(shipped: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_version(shipped, "default", "999999999")
    assert caught.value.path == shipped / "default" / "999999999" / "manifest.json"


# Names and versions


def test_model_names_lists_shipped_models(shipped: Path) -> None:
    assert {"default", "tutorial"} <= set(store.model_names(shipped))
    for name in SHIPPED_MODELS:
        assert store.current_version(shipped, name) in store.versions(shipped, name)


def test_model_names_without_models_directory_fails(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the models directory does not exist") as caught:
        store.model_names(tmp_path / "models")
    assert caught.value.path == tmp_path / "models"


def test_versions_of_unknown_model_are_empty(tmp_path: Path) -> None:
    assert store.versions(tmp_path, "default") == []


def test_model_names_lists_only_models_with_current_version(tmp_path: Path) -> None:
    for name in ("b", "a", "without", "Not-a-name", ".staging-abc"):
        (tmp_path / name).mkdir()
        if name != "without":
            (tmp_path / name / "current").write_text("1\n")
    (tmp_path / "file").write_text("1\n")
    assert store.model_names(tmp_path) == ["a", "b"]


def test_versions_are_numbered_directories_oldest_first(tmp_path: Path) -> None:
    for name in ("10", "9", "2", "0", "01", "1.0", "x", ".staging-abc", "1234567890"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "3").write_text("a file")
    (tmp_path / "m" / ".staging-current").write_text("3\n")
    assert store.versions(tmp_path, "m") == ["2", "9", "10"]


@pytest.mark.parametrize("content", ["7", "7\n", " 7 \r\n"])
def test_current_version_ignores_white_space(tmp_path: Path, content: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(content.encode())
    assert store.current_version(tmp_path, "m") == "7"


@pytest.mark.parametrize("content", [b"", b"\n", b"latest", b"0", b"-1", b"1 2", b"../1", b"1\x002", b"1234567890"])
def test_current_version_not_a_number_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(content)
    with pytest.raises(ArtifactError, match="must contain a version number") as caught:
        store.current_version(tmp_path, "m")
    assert caught.value.path == tmp_path / "m" / "current"


@pytest.mark.parametrize("content", ["１".encode(), b"\xff1"])
def test_current_version_not_ascii_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(content)
    with pytest.raises(ArtifactError, match="ascii") as caught:
        store.current_version(tmp_path, "m")
    assert caught.value.path == tmp_path / "m" / "current"


def test_current_version_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file") as caught:
        store.current_version(tmp_path, "m")
    assert caught.value.path == tmp_path / "m" / "current"
