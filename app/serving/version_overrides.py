"""Pins that several workers share: a small file each, in a directory of theirs."""

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".override"


class VersionOverride(NamedTuple):
    """What an administrator wants instead of what a `current` file says, for as long as it says that."""

    instead_of: str
    version: str | None  # None: nothing of this model


class VersionOverrideStore(MutableMapping[str, VersionOverride]):
    """By a model's name. Each is written in one step, so that nobody reads half of one.

    To delete what is not there is no error, unlike with a dictionary: another worker may have been quicker.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __getitem__(self, name: str) -> VersionOverride:
        try:
            instead_of, version = self._path(name).read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            raise KeyError(name) from None
        return VersionOverride(instead_of, version or None)

    def __setitem__(self, name: str, override: VersionOverride) -> None:
        new = self._path(name).with_suffix(f".{os.getpid()}")
        new.write_text(f"{override.instead_of}\n{override.version or ''}", encoding="ascii")
        new.replace(self._path(name))

    def __delitem__(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self._directory.glob(f"*{SUFFIX}"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"
