"""Version overrides that server processes share: one small file per model, in a common directory."""

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".override"


class VersionOverride(NamedTuple):
    """The version an administrator has chosen while a model's `current` file names another one.

    The override holds as long as `current` names the same version. It exists because the service may lack permission
    to write `current`, and because an unloaded model has no version that `current` could name.

    Attributes:
        instead_of: The version that `current` names.
        version: The version to serve; None to serve none.
    """

    instead_of: str
    version: str | None


class VersionOverrideStore(MutableMapping[str, VersionOverride]):
    """Version overrides by model name, kept in files.

    A file is replaced in one step, so no process reads half of it. Unlike with a dict, deleting a missing override is
    not an error, because another process may have deleted it a moment earlier.

    Args:
        directory: An existing directory, the same for all server processes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __getitem__(self, name: str) -> VersionOverride:
        """Read the override of a model.

        Raises:
            KeyError: The model has no override.
        """
        try:
            instead_of, version = self._path(name).read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            raise KeyError(name) from None
        return VersionOverride(instead_of, version or None)

    def __setitem__(self, name: str, override: VersionOverride) -> None:
        """Write the override of a model."""
        temporary = self._path(name).with_suffix(f".{os.getpid()}")
        temporary.write_text(f"{override.instead_of}\n{override.version or ''}", encoding="ascii")
        temporary.replace(self._path(name))

    def __delitem__(self, name: str) -> None:
        """Delete the override of a model, if it has one."""
        self._path(name).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the models that have an override."""
        return (path.stem for path in self._directory.glob(f"*{SUFFIX}"))

    def __len__(self) -> int:
        """Count the overrides."""
        return sum(1 for _ in self)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"
