"""The models that a process serves now, found by name or by name and version."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from app.artifact.manifest import Manifest
from app.errors import NotReady, UnknownModel
from app.inference.forecaster import Forecaster

RETRY_AFTER_S = 60.0  # a model that fails to load stays unavailable until someone repairs it

Runner = TypeVar("Runner")


@dataclass(frozen=True)
class LoadedModel(Generic[Runner]):
    """One loaded version of a model.

    Attributes:
        manifest: What the artifact says about itself.
        forecaster: The loaded artifact.
        runner: Runs the forecaster for concurrent requests.
    """

    manifest: Manifest
    forecaster: Forecaster
    runner: Runner

    @property
    def reference(self) -> str:
        """The model's name and version, as `name@version`."""
        return f"{self.manifest.name}@{self.manifest.version}"


class ServedModels(Generic[Runner]):
    """Finds the served version that a request asks for.

    Of each model, the *live* version answers the requests that name no version. Other versions of it may be served too
    and are found by their version. The *previous* version is the one that was live before.

    Args:
        default_model: The model of requests that name none.

    Attributes:
        failures: Why versions could not be loaded: by model name for the version that should be live, otherwise by
            reference.
    """

    def __init__(self, default_model: str) -> None:
        self.default_model = default_model
        self.failures: dict[str, str] = {}
        self._live: dict[str, LoadedModel[Runner]] = {}  # by name
        self._previous: dict[str, LoadedModel[Runner]] = {}  # by name
        self._served: dict[str, LoadedModel[Runner]] = {}  # by reference; includes the live and previous versions

    @property
    def models(self) -> dict[str, LoadedModel[Runner]]:
        """The live versions, by model name."""
        return dict(self._live)

    @property
    def served(self) -> list[LoadedModel[Runner]]:
        """All served versions of all models."""
        return list(self._served.values())

    def get(self, reference: str | None = None) -> LoadedModel[Runner]:
        """Find the version that a request asks for.

        Args:
            reference: `name`, `name@version`, or None for the default model.

        Raises:
            NotReady: The model failed to load.
            UnknownModel: No such model, or no such version of it, is served.
        """
        reference = reference or self.default_model
        model = self._live.get(reference) or self._served.get(reference)
        if model is not None:
            return model
        name = reference.partition("@")[0]
        if name in self._live:
            served = ", ".join(self.versions(name))
            raise UnknownModel(f"this version of the model {name!r} is not served; served versions: {served}")
        if name in self.failures:
            raise NotReady(f"the model {name!r} could not be loaded: {self.failures[name]}", RETRY_AFTER_S)
        raise UnknownModel(f"no such model is served; served models: {', '.join(sorted(self._live)) or 'none'}")

    def versions(self, name: str) -> list[str]:
        """Return the served versions of a model, oldest first."""
        return sorted((model.manifest.version for model in self._versions_of(name)), key=int)

    def _versions_of(self, name: str) -> list[LoadedModel[Runner]]:
        return [model for model in self._served.values() if model.manifest.name == name]

    def _make_live(self, model: LoadedModel[Runner]) -> None:
        name = model.manifest.name
        before = self._live.get(name, model)
        if before.reference != model.reference:
            self._previous[name] = before
        self._live[name] = model
        self.failures.pop(name, None)
