"""The registry: which models are served, in which versions, and what became of those that could not be."""

import asyncio
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from app.artifact import store
from app.artifact.manifest import Manifest
from app.errors import ArtifactError, NotReady, UnknownModel
from app.inference.forecaster import EngineName, Forecaster, load_forecaster
from app.serving.version_overrides import VersionOverride

RETRY_AFTER_S = 60.0  # a model that fails to load waits for somebody to mend it

Runner = TypeVar("Runner")


@dataclass(frozen=True)
class Model(Generic[Runner]):
    """One served version: what it says of itself, its forecaster, and what runs the forecaster for many callers."""

    manifest: Manifest
    forecaster: Forecaster
    runner: Runner

    @property
    def reference(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"


class Published(NamedTuple):
    """What the models directory has of one model."""

    current: str | None  # None where it cannot be read
    versions: list[str]  # oldest first


class Registry(Generic[Runner]):
    """Names and versions to models.

    Of each model the *live* version answers requests that name none: the one that `current` names. Beside it are served
    the version that was live before, as a way back, and then the newest, as many as `versions_served` allows; others
    are retired. A version is read, verified and warmed beside the live one, and takes its place in one step. What fails
    is kept with its reason, and leaves what is served as it is.
    """

    def __init__(
        self,
        models_dir: Path,
        default_model: str,
        engine: EngineName,
        run: Callable[[Manifest, Forecaster], Runner],
        *,
        retire: Callable[[Model[Runner]], None] = lambda model: None,
        on_failure: Callable[[str, ArtifactError], None] = lambda reference, error: None,
        is_healthy: Callable[[Runner], bool] = lambda runner: True,
        versions_served: int = 2,
        overrides: MutableMapping[str, VersionOverride] | None = None,
    ) -> None:
        """
        Args:
            run: starts whatever takes requests to a forecaster; called on the event loop.
            retire: is given a model that gets no more requests; called on the event loop.
            on_failure: is told of each version that could not be loaded: a name for the live one, else a reference.
            is_healthy: what serves a version and is not is replaced when that is to be loaded.
            overrides: by name; kept here unless given.
        """
        self._models_dir = models_dir
        self._engine = engine
        self._run = run
        self._retire = retire
        self._on_failure = on_failure
        self._is_healthy = is_healthy
        self._versions_served = versions_served
        self._overrides = {} if overrides is None else overrides
        self._live: dict[str, Model[Runner]] = {}  # by name
        self._served: dict[str, Model[Runner]] = {}  # by reference, the live ones among them
        self._before: dict[str, Model[Runner]] = {}  # by name, what was live before
        self._seen: object = None  # what the last look found
        self._failed: set[str] = set()  # what failed since then
        self._one_at_a_time = asyncio.Lock()
        self.default_model = default_model
        self.failures: dict[str, str] = {}  # by name where it should be live, else by reference

    @property
    def models(self) -> dict[str, Model[Runner]]:
        """The live versions, by name."""
        return dict(self._live)

    @property
    def served(self) -> list[Model[Runner]]:
        """Every version that is served, of every model."""
        return list(self._served.values())

    async def refresh(self, *, only_if_changed: bool = False) -> None:
        """Brings what is served in line with the models directory. A model that fails keeps no other from serving.

        Args:
            only_if_changed: since the last time; what failed then is not tried again before.
        """
        async with self._one_at_a_time:
            unreadable = None
            overrides = {name: override for name in self._overrides if (override := self._overrides.get(name))}
            try:
                published = await asyncio.to_thread(self._look)
            except ArtifactError as error:
                published, unreadable = {}, error
            self._forget_outdated(overrides, published)
            if only_if_changed and (published, overrides) == self._seen:
                return
            self._seen = published, overrides
            before, self._failed = set(self.failures), set()
            for name, found in published.items():
                await self._follow(name, found, overrides.get(name))
            for name in {*self._live, self.default_model} - published.keys():
                missing = ArtifactError(self._models_dir / name, "it has no published version")
                self._fail(name, unreadable or missing)
            for reference in before - self._failed:  # of what is not wanted any more
                self.failures.pop(reference, None)

    async def load(self, name: str, version: str | None = None) -> Model[Runner]:
        """Makes a published version live: lastingly, by `current`, or until that changes, if it cannot be written.

        Args:
            version: what `current` says unless given.

        Raises:
            UnknownModel: it is not published.
            ArtifactError: it must not be served; what is served stays.
        """
        async with self._one_at_a_time:
            published = (await self.published()).get(name)
            if published is None:
                raise UnknownModel(f"no such model is published: {name}")
            current = published.current
            version = version or current or store.current_version(self._models_dir, name)  # which says why it cannot be read
            if version not in published.versions:
                raise UnknownModel(f"of the model {name!r}, there is no version {version}")
            try:
                model = await self._loaded(name, version)
            except ArtifactError as error:
                self._fail(f"{name}@{version}", error)
                raise
            self._go_live(model)
            try:
                if version != current:
                    await asyncio.to_thread(store.write_current, self._models_dir, name, version)
                self._overrides.pop(name, None)
            except OSError:  # the service need not be allowed to write there
                if current is not None:
                    self._overrides[name] = VersionOverride(current, version)
            await self._tidy(name, published.versions)
            return model

    async def unload(self, name: str) -> None:
        """Serves nothing of a model any more, until it is loaded again or `current` changes.

        Raises:
            UnknownModel: it is not served.
        """
        async with self._one_at_a_time:
            if name not in self._live:
                raise UnknownModel(f"no such model is served: {name}")
            published = (await self.published()).get(name)
            if published is not None and published.current is not None:
                self._overrides[name] = VersionOverride(published.current, None)
            self._drop(name)

    def get(self, wanted: str | None = None) -> Model[Runner]:
        """The model that a request asks for.

        Args:
            wanted: `name`, `name@version`, or None for the default model.

        Raises:
            NotReady: a model that there is, or the default one, could not be loaded.
            UnknownModel: no such model or version is served.
        """
        wanted = wanted or self.default_model
        model = self._live.get(wanted) or self._served.get(wanted)
        if model is not None:
            return model
        name = wanted.partition("@")[0]
        if name in self._live:
            raise UnknownModel(f"of the model {name!r}, only version {' and '.join(self.versions(name))} is served")
        if name in self.failures:
            raise NotReady(f"the model {name!r} could not be loaded: {self.failures[name]}", RETRY_AFTER_S)
        raise UnknownModel(f"no such model is served; there is {', '.join(sorted(self._live)) or 'none'}")

    def versions(self, name: str) -> list[str]:
        """The versions of a model that are served, oldest first."""
        return sorted((each.manifest.version for each in self._all(name)), key=int)

    async def published(self) -> dict[str, Published]:
        """What the models directory has, by name; nothing where there is no such directory."""
        with suppress(ArtifactError):
            return await asyncio.to_thread(self._look)
        return {}

    def _all(self, name: str) -> list[Model[Runner]]:
        return [model for model in self._served.values() if model.manifest.name == name]

    def _look(self) -> dict[str, Published]:
        """
        Raises:
            ArtifactError: there is no models directory.
        """
        found = {}
        for name in store.model_names(self._models_dir):
            current = None
            with suppress(ArtifactError):
                current = store.current_version(self._models_dir, name)
            found[name] = Published(current, store.versions(self._models_dir, name))
        return found

    def _forget_outdated(self, overrides: dict[str, VersionOverride], published: Mapping[str, Published]) -> None:
        """A override ends when `current` changes, or it would hold again once that says the same again."""
        for name, override in list(overrides.items()):
            if name in published and published[name].current not in (override.instead_of, None):
                del overrides[name]
                if self._overrides.get(name) == override:  # and not a newer one, of another worker
                    self._overrides.pop(name, None)

    async def _follow(self, name: str, published: Published, override: VersionOverride | None) -> None:
        """Makes live what should be, and has the right versions beside it."""
        wanted, versions = published
        if override is not None and override.instead_of == wanted:
            wanted = override.version
            if wanted is None:
                self._drop(name)
                return
        try:
            wanted = wanted or store.current_version(self._models_dir, name)  # which says why it cannot be read
            self._go_live(await self._loaded(name, wanted))
        except ArtifactError as error:
            self._fail(name, error)
            versions = [version for version in versions if version != wanted]  # that was attempt enough
        await self._tidy(name, versions)

    async def _loaded(self, name: str, version: str) -> Model[Runner]:
        """
        Raises:
            ArtifactError: it must not be served.
        """
        reference = f"{name}@{version}"
        model = self._served.get(reference)
        if model is None or not self._is_healthy(model.runner):
            manifest, forecaster = await asyncio.to_thread(self._read, name, version)
            before = model
            model = self._served[reference] = Model(manifest, forecaster, self._run(manifest, forecaster))
            if before is not None:
                self._retire(before)
        self.failures.pop(reference, None)
        return model

    def _read(self, name: str, version: str) -> tuple[Manifest, Forecaster]:
        artifact = store.read_version(self._models_dir, name, version)
        return artifact.manifest, load_forecaster(artifact, self._engine)

    def _go_live(self, model: Model[Runner]) -> None:
        name = model.manifest.name
        before = self._live.get(name, model)
        if before.reference != model.reference:
            self._before[name] = before
        self._live[name] = model
        self.failures.pop(name, None)

    async def _tidy(self, name: str, versions: Sequence[str]) -> None:
        """Has beside the live version those that should be there, and no others."""
        chosen = [models[name].manifest.version for models in (self._live, self._before) if name in models]
        kept: list[str] = []
        for version in dict.fromkeys([*chosen, *reversed(versions)]):
            if len(kept) == self._versions_served:
                break
            try:
                await self._loaded(name, version)
                kept.append(version)
            except ArtifactError as error:
                self._fail(f"{name}@{version}", error)
        for model in self._all(name):
            if model.manifest.version not in kept:
                self._end(model)

    def _drop(self, name: str) -> None:
        self._live.pop(name, None)
        self.failures.pop(name, None)  # it need not be live
        for model in self._all(name):
            self._end(model)

    def _end(self, model: Model[Runner]) -> None:
        del self._served[model.reference]
        if self._before.get(model.manifest.name) is model:
            del self._before[model.manifest.name]
        self._retire(model)

    def _fail(self, reference: str, error: ArtifactError) -> None:
        self._failed.add(reference)
        self.failures[reference] = f"{error.path.relative_to(self._models_dir)}: {error.reason}"
        self._on_failure(reference, error)
