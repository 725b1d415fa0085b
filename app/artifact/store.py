"""Artifacts on disk: published whole or not at all, believed only after every digest.

models/<name>/<version>/manifest.json, model.keras, model.onnx, scaler.joblib, report.html, …
models/<name>/current       the version served by default
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from app.artifact.manifest import Draft, File, Manifest, ModelName, Version
from app.artifact.scaler import unpickle
from app.artifact.transform import Affine, Transform, build
from app.errors import ArtifactError

MANIFEST = "manifest.json"
CURRENT = "current"
STAGING = ".staging-"
NAME = TypeAdapter(ModelName)
VERSION = TypeAdapter(Version)


@dataclass(frozen=True)
class Artifact:
    """One verified artifact: its manifest, its transform, and where the rest of it lies."""

    path: Path
    manifest: Manifest
    transform: Transform
    onnx: bytes

    @property
    def keras(self) -> Path:
        return self.path / "model.keras"


def names(models_dir: Path) -> list[str]:
    """The models that have a `current` version, sorted."""
    if not models_dir.is_dir():
        raise ArtifactError(models_dir, "there is no such directory of models")
    return sorted(p.name for p in models_dir.iterdir() if _fits(NAME, p.name) and (p / CURRENT).exists())


def check_name(models_dir: Path, name: str) -> None:
    """Raises ArtifactError unless a model may be published under this name."""
    if not _fits(NAME, name):
        raise ArtifactError(models_dir / name, "a model's name is lower-case letters, digits, - and _, 64 at most")


def versions(models_dir: Path, name: str) -> list[str]:
    """The published versions of a model, oldest first."""
    directory = models_dir / name
    if not directory.is_dir():
        return []
    return sorted((p.name for p in directory.iterdir() if _fits(VERSION, p.name) and p.is_dir()), key=int)


def current(models_dir: Path, name: str) -> str:
    """The version that `current` names.

    Raises:
        ArtifactError: it cannot be read, or names no version.
    """
    path = models_dir / name / CURRENT
    try:
        version = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise ArtifactError(path, _reason(error)) from error
    if not _fits(VERSION, version):
        raise ArtifactError(path, "it must hold a version number, such as 1")
    return version


def read(path: Path) -> Artifact:
    """Reads and verifies the artifact in the directory `path`: schema, then every digest, then the pickle.

    Raises:
        ArtifactError: names the first file that is missing, altered or unacceptable, and why.
    """
    manifest = _read_manifest(path)
    kept: dict[str, bytes] = {}
    for name, file in manifest.files.items():
        content = _read_bytes(path / name)
        if (len(content), _digest(content)) != (file.size_bytes, file.sha256):
            raise ArtifactError(path / name, "its content differs from what was published (size or SHA-256)")
        if name in ("model.onnx", "scaler.joblib"):
            kept[name] = content  # what was verified is what is used: the file is not opened a second time
    try:
        transform = build(manifest.transform, Affine.of(unpickle(kept["scaler.joblib"])))
    except Exception as error:  # a pickle can fail in any way at all; none of them may be served
        raise ArtifactError(path / "scaler.joblib", f"not a scaler for this artifact: {_reason(error)}") from error
    return Artifact(path, manifest, transform, kept["model.onnx"])


def read_version(models_dir: Path, name: str, version: str) -> Artifact:
    """Reads `models_dir/name/version`, and checks that the artifact is the one its place says.

    Raises:
        ArtifactError: as `read`; or the manifest names another model or version.
    """
    path = models_dir / name / version
    artifact = read(path)
    if (artifact.manifest.name, artifact.manifest.version) != (name, version):
        raise ArtifactError(path / MANIFEST, "it names another model or version than its directory")
    return artifact


@dataclass(frozen=True)
class Staging:
    """A directory that will become an artifact: write the files, then publish."""

    models_dir: Path
    name: str
    path: Path

    def publish(self, draft: Draft, check: Callable[[Path], object]) -> str:
        """Seals the directory, checks it, and renames it into place as the next version, which becomes current.

        Args:
            draft: what the manifest says beside name, version, date and digests.
            check: is given the sealed directory; whatever it raises stops the publication.

        Returns:
            The version.
        """
        home = self.models_dir / self.name
        while True:
            taken = (int(entry.name) for entry in home.iterdir() if _fits(VERSION, entry.name))
            version = str(max(taken, default=0) + 1)
            self._seal(draft, version)
            check(self.path)
            try:
                self.path.rename(home / version)
            except OSError:
                if (home / version).exists():  # another run published in the meantime: take the next number
                    continue
                raise
            break
        _flush(home)
        write_current(self.models_dir, self.name, version)
        return version

    def _seal(self, draft: Draft, version: str) -> None:
        files = {}
        for file in sorted(self.path.iterdir()):
            if file.name != MANIFEST:
                content = file.read_bytes()
                files[file.name] = File(sha256=_digest(content), size_bytes=len(content))
        manifest = Manifest(
            name=self.name,
            version=version,
            created=datetime.now(UTC).replace(microsecond=0),
            files=files,
            **{field: getattr(draft, field) for field in Draft.model_fields},
        )
        (self.path / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for file in self.path.iterdir():
            _flush(file)
        _flush(self.path)


@contextmanager
def staging(models_dir: Path, name: str) -> Iterator[Staging]:
    """A directory beside the model's versions that is gone again unless it was published, whatever happens."""
    check_name(models_dir, name)
    home = models_dir / name
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(home, _reason(error)) from error
    path = Path(tempfile.mkdtemp(prefix=STAGING, dir=home))
    path.chmod(0o755)  # mkdtemp's 0700 would hide the artifact from a server that runs as another user
    try:
        yield Staging(models_dir, name, path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if not any(home.iterdir()):
            home.rmdir()


def write_current(models_dir: Path, name: str, version: str) -> None:
    """Makes `version` the one served by default, in one step."""
    home = models_dir / name
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=home) as directory:  # its own: several may do this at once
        new = Path(directory) / CURRENT
        new.write_text(version + "\n", encoding="ascii")
        _flush(new)
        new.replace(home / CURRENT)
    _flush(home)


def _read_manifest(path: Path) -> Manifest:
    content = _read_bytes(path / MANIFEST)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ArtifactError(path / MANIFEST, f"{where}: {first['msg']}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or f"{error}" or type(error).__name__


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fits(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
