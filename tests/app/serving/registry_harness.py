"""Helpers for tests of the registry: with shipped artifacts, and with the fake registry."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.artifact.manifest import Manifest
from app.errors import PricecastError
from app.inference.forecaster import Forecaster
from app.serving.registry import Registry
from app.serving.served_models import LoadedModel
from tests.app.artifact.artifact_files import current_path
from tests.fakes import FakeRegistry


@dataclass(frozen=True)
class FakeRunner:
    """Records the arguments of a runner's start, and its event loop."""

    manifest: Manifest
    forecaster: Forecaster
    loop: asyncio.AbstractEventLoop


def start_runner(manifest: Manifest, forecaster: Forecaster) -> FakeRunner:
    """Start a runner on the running event loop."""
    return FakeRunner(manifest, forecaster, asyncio.get_running_loop())


@dataclass
class EventRecorder:
    """Records the failures and retirements that a registry reports."""

    failures: list[tuple[str, Exception]] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)

    def on_failure(self, reference: str, error: Exception) -> None:
        """Record a failure."""
        self.failures.append((reference, error))

    def on_retire(self, model: LoadedModel[FakeRunner]) -> None:
        """Record a retirement."""
        self.retired.append(model.reference)


def create_registry(
    models_dir: Path, default_model: str = "default", events: EventRecorder | None = None
) -> Registry[FakeRunner]:
    """Create a registry that has not loaded anything."""
    events = events or EventRecorder()
    return Registry(
        models_dir, default_model, "onnx", start_runner, on_retire=events.on_retire, on_failure=events.on_failure
    )


def load_registry(
    models_dir: Path, default_model: str = "default", events: EventRecorder | None = None
) -> Registry[FakeRunner]:
    """Create a registry that has loaded everything it can."""
    registry = create_registry(models_dir, default_model, events)
    asyncio.run(registry.refresh())
    return registry


def corrupt(models_dir: Path, name: str, file: str = "model.onnx") -> None:
    """Overwrite a file of a model's current version with garbage."""
    (current_path(models_dir, name) / file).write_bytes(b"garbage")


def refresh_and_list(registry: FakeRegistry, *, only_if_changed: bool = False) -> dict[str, list[str]]:
    """Refresh a registry, and return its served versions."""
    asyncio.run(registry.refresh(only_if_changed=only_if_changed))
    return served_versions(registry)


def served_versions(registry: FakeRegistry) -> dict[str, list[str]]:
    """Return the served versions by model name: the live one first (or "none"), the others oldest first."""
    names = {model.manifest.name for model in registry.served}
    live = {name: model.manifest.version for name, model in registry.models.items()}
    return {
        name: [live.get(name, "none"), *(version for version in registry.versions(name) if version != live.get(name))]
        for name in sorted(names)
    }


def retired_references(registry: FakeRegistry) -> list[str]:
    """Return the references of the retired versions, in order of retirement."""
    return [registry.started_versions[runner] for runner in registry.retired]


def failure_message(error_type: type[PricecastError], coroutine: Coroutine[Any, Any, object]) -> str:
    """Run a coroutine that must fail, and return the message."""
    with pytest.raises(error_type) as caught:
        asyncio.run(coroutine)
    return str(caught.value)
