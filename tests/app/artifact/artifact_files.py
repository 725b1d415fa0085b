"""Helpers for tests that change the files of an artifact."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from app.artifact import store
from app.errors import ArtifactError

SHIPPED_MODELS = ["default", "tutorial"]


def current_path(models_dir: Path, name: str) -> Path:
    """Return the directory of a model's current version."""
    return models_dir / name / store.current_version(models_dir, name)


def reseal_manifest(path: Path, **changes: object) -> None:
    """Update the digests in a manifest after its files were changed, as an attacker with write access could.

    Args:
        path: Directory of the artifact.
        changes: Top-level fields of the manifest to replace.
    """
    document = json.loads((path / store.MANIFEST).read_text(encoding="utf-8")) | changes
    for name in document["files"]:
        content = (path / name).read_bytes()
        document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (path / store.MANIFEST).write_text(json.dumps(document), encoding="utf-8")


def publish_broken_copy(models_dir: Path, version: str) -> str:
    """Publish a copy of a version of the default model whose network does not match its manifest.

    Returns:
        The number of the new version. It is not made current.
    """
    broken = str(int(store.versions(models_dir, "default")[-1]) + 1)
    path = Path(shutil.copytree(models_dir / "default" / version, models_dir / "default" / broken))
    (path / "model.onnx").write_bytes(b"nothing")
    return broken


def read_invalid_artifact(path: Path) -> ArtifactError:
    """Read the artifact in `path`, check that this fails, and return the error."""
    with pytest.raises(ArtifactError) as caught:
        store.read_artifact(path)
    assert caught.value.path.is_relative_to(path)
    assert str(path) not in caught.value.reason
    return caught.value
