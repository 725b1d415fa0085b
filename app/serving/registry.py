"""The registry: serves the published versions of all models, and replaces versions while requests are running."""

import asyncio
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.artifact import store
from app.artifact.manifest import Manifest
from app.errors import ArtifactError, UnknownModel
from app.inference.forecaster import EngineName, Forecaster, load_forecaster
from app.serving.published_versions import PublishedVersions, scan
from app.serving.served_models import LoadedModel, Runner, ServedModels
from app.serving.version_overrides import VersionOverride


class Registry(ServedModels[Runner]):
    """Loads models from the models directory, and finds them for requests.

    The live version of a model is the one that its `current` file names, unless an override says otherwise. Next to it
    the previous version stays loaded, for a quick rollback, and then the newest versions, up to `versions_served` in
    total. All others are retired. A new version is read, verified and warmed while the old one answers requests, and
    replaces it in one step. If that fails, the reason is recorded and the old version stays live.

    Args:
        models_dir: The directory with the published models.
        default_model: The model of requests that name none.
        engine: The engine that computes the networks.
        start_runner: Starts whatever runs a forecaster for concurrent requests. Called on the event loop.
        on_retire: Called on the event loop with a model that gets no further requests.
        on_failure: Called with each version that could not be loaded and the error. The version is given as the model's
            name if it should be live, otherwise as a reference.
        is_healthy: Whether a runner still works. One that does not is replaced when its version is loaded again.
        versions_served: Maximum number of versions served of each model.
        overrides: Version overrides by model name; kept in memory by default.
    """

    def __init__(
        self,
        models_dir: Path,
        default_model: str,
        engine: EngineName,
        start_runner: Callable[[Manifest, Forecaster], Runner],
        *,
        on_retire: Callable[[LoadedModel[Runner]], None] = lambda model: None,
        on_failure: Callable[[str, ArtifactError], None] = lambda reference, error: None,
        is_healthy: Callable[[Runner], bool] = lambda runner: True,
        versions_served: int = 2,
        overrides: MutableMapping[str, VersionOverride] | None = None,
    ) -> None:
        super().__init__(default_model)
        self._models_dir = models_dir
        self._engine = engine
        self._start_runner = start_runner
        self._on_retire = on_retire
        self._on_failure = on_failure
        self._is_healthy = is_healthy
        self._versions_served = versions_served
        self._overrides = {} if overrides is None else overrides
        self._last_scan: object = None
        self._failed: set[str] = set()  # keys of `failures` that the latest refresh or a later load has set
        self._lock = asyncio.Lock()  # refresh, load and unload run one at a time

    async def refresh(self, *, only_if_changed: bool = False) -> None:
        """Serve what the models directory and the overrides say. A model that fails does not affect the others.

        Args:
            only_if_changed: Do nothing if neither has changed since the last refresh. Versions that failed then are
                not tried again.
        """
        async with self._lock:
            scan_error = None
            overrides = {name: override for name in self._overrides if (override := self._overrides.get(name))}
            try:
                published = await asyncio.to_thread(scan, self._models_dir)
            except ArtifactError as error:
                published, scan_error = {}, error
            self._drop_stale_overrides(overrides, published)
            if only_if_changed and (published, overrides) == self._last_scan:
                return
            self._last_scan = published, overrides
            earlier_failures, self._failed = set(self.failures), set()
            for name, versions in published.items():
                await self._refresh_model(name, versions, overrides.get(name))
            for name in {*self._live, self.default_model} - published.keys():
                missing = ArtifactError(self._models_dir / name, "no published version")
                self._record_failure(name, scan_error or missing)
            for reference in earlier_failures - self._failed:  # no longer wanted
                self.failures.pop(reference, None)

    async def load(self, name: str, version: str | None = None) -> LoadedModel[Runner]:
        """Make a published version live, and write it to `current`.

        If `current` cannot be written, an override keeps the version live until `current` changes.

        Args:
            name: The model's name.
            version: The version to load; by default the one that `current` names.

        Returns:
            The live version.

        Raises:
            UnknownModel: The version is not published.
            ArtifactError: The version cannot be served. The live version stays.
        """
        async with self._lock:
            published = (await self.published()).get(name)
            if published is None:
                raise UnknownModel("no such model is published")
            current = published.current
            # If the file `current` is unreadable, `current_version` raises the reason.
            version = version or current or store.current_version(self._models_dir, name)
            if version not in published.versions:
                raise UnknownModel(f"the model {name!r} has no published version {version}")
            try:
                model = await self._ensure_loaded(name, version)
            except ArtifactError as error:
                self._record_failure(f"{name}@{version}", error)
                raise
            self._make_live(model)
            try:
                if version != current:
                    await asyncio.to_thread(store.write_current, self._models_dir, name, version)
                self._overrides.pop(name, None)
            except OSError:  # the service may run without write permission
                if current is not None:
                    self._overrides[name] = VersionOverride(current, version)
            await self._adjust_versions(name, published.versions)
            return model

    async def unload(self, name: str) -> None:
        """Stop serving a model until it is loaded again or its `current` file changes.

        Raises:
            UnknownModel: The model is not served.
        """
        async with self._lock:
            if name not in self._live:
                raise UnknownModel("no such model is served")
            published = (await self.published()).get(name)
            if published is not None and published.current is not None:
                self._overrides[name] = VersionOverride(published.current, None)
            self._remove(name)

    async def published(self) -> dict[str, PublishedVersions]:
        """List the published versions of each model, by name. Empty if there is no models directory."""
        with suppress(ArtifactError):
            return await asyncio.to_thread(scan, self._models_dir)
        return {}

    def _drop_stale_overrides(
        self, overrides: dict[str, VersionOverride], published: Mapping[str, PublishedVersions]
    ) -> None:
        """Delete each override whose `current` has changed. Otherwise it would return when `current` changes back."""
        for name, override in list(overrides.items()):
            if name in published and published[name].current not in (override.instead_of, None):
                del overrides[name]
                if self._overrides.get(name) == override:  # another process may have replaced it meanwhile
                    self._overrides.pop(name, None)

    async def _refresh_model(self, name: str, published: PublishedVersions, override: VersionOverride | None) -> None:
        version, versions = published
        if override is not None and override.instead_of == version:
            version = override.version
            if version is None:
                self._remove(name)
                return
        try:
            version = version or store.current_version(self._models_dir, name)  # raises the reason if unreadable
            self._make_live(await self._ensure_loaded(name, version))
        except ArtifactError as error:
            self._record_failure(name, error)
            versions = [other for other in versions if other != version]  # one attempt is enough
        await self._adjust_versions(name, versions)

    async def _ensure_loaded(self, name: str, version: str) -> LoadedModel[Runner]:
        """Return a loaded version. Load it first if it is not served, or if its runner has failed.

        Raises:
            ArtifactError: The version cannot be served.
        """
        reference = f"{name}@{version}"
        model = self._served.get(reference)
        if model is None or not self._is_healthy(model.runner):
            manifest, forecaster = await asyncio.to_thread(self._read, name, version)
            replaced = model
            model = LoadedModel(manifest, forecaster, self._start_runner(manifest, forecaster))
            self._served[reference] = model
            if replaced is not None:
                self._on_retire(replaced)
        self.failures.pop(reference, None)
        return model

    def _read(self, name: str, version: str) -> tuple[Manifest, Forecaster]:
        artifact = store.read_version(self._models_dir, name, version)
        return artifact.manifest, load_forecaster(artifact, self._engine)

    async def _adjust_versions(self, name: str, versions: Sequence[str]) -> None:
        """Serve the live, the previous and the newest of `versions`, up to the limit, and retire all others."""
        chosen = [models[name].manifest.version for models in (self._live, self._previous) if name in models]
        kept: list[str] = []
        for version in dict.fromkeys([*chosen, *reversed(versions)]):
            if len(kept) == self._versions_served:
                break
            try:
                await self._ensure_loaded(name, version)
                kept.append(version)
            except ArtifactError as error:
                self._record_failure(f"{name}@{version}", error)
        for model in self._versions_of(name):
            if model.manifest.version not in kept:
                self._retire(model)

    def _remove(self, name: str) -> None:
        """Stop serving all versions of a model."""
        self._live.pop(name, None)
        self.failures.pop(name, None)
        for model in self._versions_of(name):
            self._retire(model)

    def _retire(self, model: LoadedModel[Runner]) -> None:
        del self._served[model.reference]
        if self._previous.get(model.manifest.name) is model:
            del self._previous[model.manifest.name]
        self._on_retire(model)

    def _record_failure(self, reference: str, error: ArtifactError) -> None:
        self._failed.add(reference)
        self.failures[reference] = f"{error.path.relative_to(self._models_dir)}: {error.reason}"
        self._on_failure(reference, error)
