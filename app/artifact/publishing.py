"""Publishing: an artifact is written to a staging directory and renamed into place whole, or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.artifact import store
from app.artifact.manifest import FileDigest, Manifest, ManifestDraft
from app.errors import ArtifactError


@dataclass(frozen=True)
class StagingDirectory:
    """A directory that becomes an artifact: write the files to `path`, then call `publish`."""

    models_dir: Path
    name: str
    path: Path

    def publish(self, draft: ManifestDraft, check: Callable[[Path], object]) -> str:
        """Write the manifest, check the directory, and rename it into place as the next version.

        The new version becomes the current one.

        Args:
            draft: The manifest without name, version, creation time and file digests.
            check: Receives the complete directory. If it raises, nothing is published.

        Returns:
            The version published.

        Raises:
            ValueError: A required file is missing.
            Exception: Whatever `check` raises.
        """
        home = self.models_dir / self.name
        while True:
            taken = (int(entry.name) for entry in home.iterdir() if store.is_version(entry.name))
            version = str(max(taken, default=0) + 1)
            self._write_manifest(draft, version)
            check(self.path)
            try:
                self.path.rename(home / version)
            except OSError:
                if (home / version).exists():  # Another run published this version first: take the next number.
                    continue
                raise
            break
        store.flush_to_disk(home)
        store.write_current(self.models_dir, self.name, version)
        return version

    def _write_manifest(self, draft: ManifestDraft, version: str) -> None:
        """Write manifest.json with the digests of all other files, and flush everything to disk."""
        files = {}
        for file in sorted(self.path.iterdir()):
            if file.name != store.MANIFEST:
                content = file.read_bytes()
                files[file.name] = FileDigest(sha256=store.sha256_of(content), size_bytes=len(content))
        manifest = Manifest(
            name=self.name,
            version=version,
            created=datetime.now(UTC).replace(microsecond=0),
            files=files,
            **{field: getattr(draft, field) for field in ManifestDraft.model_fields},
        )
        (self.path / store.MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for file in self.path.iterdir():
            store.flush_to_disk(file)
        store.flush_to_disk(self.path)


@contextmanager
def staging_directory(models_dir: Path, name: str) -> Iterator[StagingDirectory]:
    """Create a staging directory next to the model's versions, and remove it on exit unless it was published.

    Args:
        models_dir: Created if it does not exist.
        name: Name of the model to publish a version of.

    Raises:
        ArtifactError: The name is invalid, or the directory cannot be created.
    """
    store.check_model_name(models_dir, name)
    home = models_dir / name
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(home, store.failure_reason(error)) from error
    path = Path(tempfile.mkdtemp(prefix=store.STAGING_PREFIX, dir=home))
    path.chmod(0o755)  # mkdtemp creates it with 0700; the server may run as another user
    try:
        yield StagingDirectory(models_dir, name, path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if not any(home.iterdir()):
            home.rmdir()
