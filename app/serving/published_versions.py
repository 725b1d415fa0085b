"""What the models directory holds, whether or not it can be served."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from app.artifact import store
from app.errors import ArtifactError


class PublishedVersions(NamedTuple):
    """The published versions of one model.

    Attributes:
        current: The version that the model's `current` file names; None if the file cannot be read.
        versions: All published versions, oldest first.
    """

    current: str | None
    versions: list[str]


def scan(models_dir: Path) -> dict[str, PublishedVersions]:
    """List the published versions of each model, by name.

    Raises:
        ArtifactError: The models directory does not exist.
    """
    published = {}
    for name in store.model_names(models_dir):
        current = None
        with suppress(ArtifactError):
            current = store.current_version(models_dir, name)
        published[name] = PublishedVersions(current, store.versions(models_dir, name))
    return published
