"""The registry: which models are served, in which version, and what became of those that could not be."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from app.artifact import store
from app.artifact.manifest import Manifest
from app.errors import ArtifactError, NotReady, UnknownModel
from app.forecaster import EngineName, Forecaster, load

Runner = TypeVar("Runner")


@dataclass(frozen=True)
class Model(Generic[Runner]):
    """One served version: what it says of itself, its forecaster, and what runs the forecaster for many callers."""

    manifest: Manifest
    forecaster: Forecaster
    runner: Runner


class Registry(Generic[Runner]):
    """Names and versions to models. What fails to load is kept with its reason, and is never served."""

    def __init__(
        self,
        models_dir: Path,
        default_model: str,
        engine: EngineName,
        run: Callable[[Forecaster], Runner],
        on_failure: Callable[[str, Exception], None] = lambda name, error: None,
    ) -> None:
        """
        Args:
            run: starts whatever takes requests to a forecaster; called on the event loop.
            on_failure: is told of each model that could not be loaded.
        """
        self._models_dir = models_dir
        self._engine = engine
        self._run = run
        self._on_failure = on_failure
        self._models: dict[str, Model[Runner]] = {}
        self.default_model = default_model
        self.failures: dict[str, str] = {}

    @property
    def models(self) -> dict[str, Model[Runner]]:
        """What is served, by name."""
        return dict(self._models)

    async def load_all(self) -> None:
        """Loads the current version of every model there is. One that fails does not keep the others from serving."""
        try:
            found = store.names(self._models_dir)
        except ArtifactError as error:
            self._fail(self.default_model, error)
            return
        for name in found:
            try:
                manifest, forecaster = await asyncio.to_thread(self._read, name)
            except ArtifactError as error:
                self._fail(name, error)
            else:
                self._models[name] = Model(manifest, forecaster, self._run(forecaster))
        if self.default_model not in self._models and self.default_model not in self.failures:
            missing = self._models_dir / self.default_model
            self._fail(self.default_model, ArtifactError(missing, "the default model has no published version"))

    def get(self, reference: str | None = None) -> Model[Runner]:
        """The model that a request asks for.

        Args:
            reference: `name`, `name@version`, or None for the default model.

        Raises:
            NotReady: the default model, or a model that there is, could not be loaded.
            UnknownModel: no such model or version is served.
        """
        name, _, version = (reference or self.default_model).partition("@")
        model = self._models.get(name)
        if model is None:
            if name in self.failures:
                raise NotReady(f"the model {name!r} could not be loaded", retry_after_s=60.0)
            raise UnknownModel(f"no such model is served; there is {', '.join(sorted(self._models)) or 'none'}")
        if version and version != model.manifest.version:
            raise UnknownModel(f"of the model {name!r}, only version {model.manifest.version} is served")
        return model

    def published_versions(self, name: str) -> list[str]:
        """The versions of a model that lie in the models directory, oldest first; not all of them are served."""
        return store.versions(self._models_dir, name)

    def _read(self, name: str) -> tuple[Manifest, Forecaster]:
        artifact = store.read_version(self._models_dir, name, store.current(self._models_dir, name))
        return artifact.manifest, load(artifact, self._engine)

    def _fail(self, name: str, error: ArtifactError) -> None:
        self.failures[name] = f"{error.path.relative_to(self._models_dir)}: {error.reason}"
        self._on_failure(name, error)
