"""Artifacts on disk: listing models and versions, and reading an artifact after verifying it.

models/<name>/<version>/    manifest.json, model.keras, model.onnx, scaler.joblib, report.html, …
models/<name>/current       the version served by default

`app.artifact.publishing` publishes artifacts.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from app.artifact.affine import Affine
from app.artifact.manifest import Manifest, ModelName, Version
from app.artifact.scaler import unpickle_scaler
from app.artifact.transform import Transform, build_transform
from app.errors import ArtifactError

MANIFEST = "manifest.json"
CURRENT = "current"
STAGING_PREFIX = ".staging-"

_MODEL_NAME = TypeAdapter(ModelName)
_VERSION = TypeAdapter(Version)


@dataclass(frozen=True)
class Artifact:
    """A verified artifact. The scaler is loaded, as `transform`; the network is not."""

    path: Path
    manifest: Manifest
    transform: Transform
    onnx: bytes  # content of model.onnx

    @property
    def keras(self) -> Path:
        """Path of the saved Keras model."""
        return self.path / "model.keras"


def model_names(models_dir: Path) -> list[str]:
    """Return the names of the models that have a current version, sorted.

    Raises:
        ArtifactError: The models directory does not exist.
    """
    if not models_dir.is_dir():
        raise ArtifactError(models_dir, "the models directory does not exist")
    return sorted(p.name for p in models_dir.iterdir() if _is_valid(_MODEL_NAME, p.name) and (p / CURRENT).exists())


def check_model_name(models_dir: Path, name: str) -> None:
    """Check that `name` is valid for a model.

    Raises:
        ArtifactError: It is not.
    """
    if not _is_valid(_MODEL_NAME, name):
        raise ArtifactError(
            models_dir / name,
            "a model name has 1 to 64 characters: lower-case letters, digits, - and _, the first a letter or digit",
        )


def is_version(text: str) -> bool:
    """Return whether `text` is a version number, such as 1."""
    return _is_valid(_VERSION, text)


def versions(models_dir: Path, name: str) -> list[str]:
    """Return the published versions of a model, oldest first."""
    directory = models_dir / name
    if not directory.is_dir():
        return []
    return sorted((p.name for p in directory.iterdir() if is_version(p.name) and p.is_dir()), key=int)


def current_version(models_dir: Path, name: str) -> str:
    """Return the version that a model's `current` file names.

    Raises:
        ArtifactError: The file cannot be read or holds no version number.
    """
    path = models_dir / name / CURRENT
    try:
        version = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise ArtifactError(path, failure_reason(error)) from error
    if not is_version(version):
        raise ArtifactError(path, "must contain a version number, such as 1")
    return version


def write_current(models_dir: Path, name: str, version: str) -> None:
    """Make `version` the current one, atomically."""
    home = models_dir / name
    # Each call writes to a directory of its own: several may run at once.
    with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=home) as directory:
        file = Path(directory) / CURRENT
        file.write_text(version + "\n", encoding="ascii")
        flush_to_disk(file)
        file.replace(home / CURRENT)
    flush_to_disk(home)


def read_artifact(path: Path) -> Artifact:
    """Read and verify the artifact in the directory `path`: first its schema, then every digest, then the scaler.

    Raises:
        ArtifactError: Names the first file that is missing, altered or invalid, and the reason.
    """
    manifest = _read_manifest(path)
    verified: dict[str, bytes] = {}
    for name, file in manifest.files.items():
        content = _read_bytes(path / name)
        if (len(content), sha256_of(content)) != (file.size_bytes, file.sha256):
            raise ArtifactError(path / name, "size or SHA-256 does not match the manifest")
        if name in ("model.onnx", "scaler.joblib"):
            verified[name] = content  # Use the verified bytes. The file could change before a second read.
    try:
        transform = build_transform(manifest.transform, Affine.from_scaler(unpickle_scaler(verified["scaler.joblib"])))
    except Exception as error:  # A malformed pickle can raise anything.
        raise ArtifactError(path / "scaler.joblib", f"the scaler cannot be used: {failure_reason(error)}") from error
    return Artifact(path, manifest, transform, verified["model.onnx"])


def read_version(models_dir: Path, name: str, version: str) -> Artifact:
    """Read and verify `models_dir/name/version`.

    Raises:
        ArtifactError: As `read_artifact`; or the manifest's name or version does not match the directory.
    """
    path = models_dir / name / version
    artifact = read_artifact(path)
    if (artifact.manifest.name, artifact.manifest.version) != (name, version):
        raise ArtifactError(path / MANIFEST, "name or version does not match the directory")
    return artifact


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def flush_to_disk(path: Path) -> None:
    """Flush a file or a directory, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def failure_reason(error: Exception) -> str:
    """Describe an error. For an OSError, leave out the path: clients must not see it."""
    return (error.strerror if isinstance(error, OSError) else None) or f"{error}" or type(error).__name__


def _read_manifest(path: Path) -> Manifest:
    content = _read_bytes(path / MANIFEST)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ArtifactError(path / MANIFEST, f"{location}: {first['msg']}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, failure_reason(error)) from error


def _is_valid(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True
