"""Fakes of components that are slow, random or unavailable in tests. Each behaves as configured and records its use."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast

from app.artifact.manifest import Manifest
from app.errors import ArtifactError
from app.inference.forecaster import Forecaster
from app.serving.registry import Registry

Returned = TypeVar("Returned")
Parameters = ParamSpec("Parameters")


def result_of(item: int) -> str:
    """Return the result that `FakeEngineCall` computes for an item."""
    return f"<{item}>"


class BadItems(Exception):
    """Raised by a `FakeEngineCall` that is configured to fail on some of its items."""

    def __init__(self, items: list[int]) -> None:
        self.items = items
        super().__init__(f"cannot compute {items}")


@dataclass
class RecordedCall:
    """One call of a `FakeEngineCall`."""

    started_s: float
    items: list[int]
    ended_s: float | None = None  # None while it runs, and if it was cancelled


@dataclass
class FakeEngineCall:
    """Replaces the engine call of a batcher. Its duration elapses on the event loop's clock.

    Attributes:
        duration_s: Duration of a call.
        duration_s_per_item: Additional duration for each item in it.
        bad_items: A call that contains one of these raises `BadItems`.
        dropped_items: These get no result, so the call returns too few.
        hangs: Whether a call that starts now never ends.
        calls: The calls so far.
    """

    duration_s: float = 1.0
    duration_s_per_item: float = 0.0
    bad_items: set[int] = field(default_factory=set)
    dropped_items: set[int] = field(default_factory=set)
    hangs: bool = False
    calls: list[RecordedCall] = field(default_factory=list)

    @property
    def starts(self) -> list[tuple[float, list[int]]]:
        """The start time and the items of each call."""
        return [(call.started_s, call.items) for call in self.calls]

    async def __call__(self, items: list[int]) -> list[str]:
        loop = asyncio.get_running_loop()
        items = list(items)
        call = RecordedCall(loop.time(), items)
        self.calls.append(call)
        if self.hangs:
            await loop.create_future()
        await asyncio.sleep(self.duration_s + self.duration_s_per_item * len(items))
        call.ended_s = loop.time()
        if bad := [item for item in items if item in self.bad_items]:
            raise BadItems(bad)
        return [result_of(item) for item in items if item not in self.dropped_items]


@dataclass
class ManualClock:
    """A clock that a test advances by hand, optionally on top of another clock.

    Attributes:
        now_s: What the clock reads, before the other clock's time is added.
        base: The other clock.
        error: Raised by the next readings, if set.
        reads: How often the clock was read.
    """

    now_s: float = 0.0
    base: Callable[[], float] = lambda: 0.0
    error: Exception | None = None
    reads: int = 0

    def __call__(self) -> float:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.now_s + self.base()

    def advance(self, by_s: float) -> None:
        """Move the clock forward."""
        self.now_s += by_s


async def fake_to_thread(
    function: Callable[Parameters, Returned], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Returned:
    """Replace `asyncio.to_thread` without threads. Other tasks run before and after the function."""
    await asyncio.sleep(0)
    try:
        return function(*args, **kwargs)
    finally:
        await asyncio.sleep(0)


class FakeModelStore:
    """A models directory whose versions are empty, so that `FakeRegistry` loads them instantly."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def publish(self, name: str, version: str, *, fault: str | None = None, is_current: bool = True) -> None:
        """Publish a version, which may have a fault from the start."""
        path = self.directory / name / version
        path.mkdir(parents=True)
        self.set_fault(name, version, fault)
        if is_current:
            self.set_current(name, version)

    def set_current(self, name: str, version: str) -> None:
        """Write a model's `current` file."""
        (self.directory / name / "current").write_text(version)

    def current(self, name: str) -> str:
        """Read a model's `current` file."""
        return (self.directory / name / "current").read_text().strip()

    def set_fault(self, name: str, version: str, fault: str | None) -> None:
        """Make a version fail to load, with this reason. None makes it loadable again."""
        file = self.directory / name / version / "fault"
        if fault is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(fault)

    def remove(self, name: str) -> None:
        """Delete a model with all its versions."""
        shutil.rmtree(self.directory / name)


class FakeRegistry(Registry[int]):
    """A registry of the models in a `FakeModelStore`. Its runners are numbers, counted from 0 in order of their start.

    Attributes:
        started_versions: The reference of each version that a runner was started for.
        retired: The runners of the versions that were retired.
        reported: The failures that were reported, by name or reference.
        read_versions: The reference of each version that was read, successfully or not.
    """

    def __init__(self, directory: Path, default_model: str = "a", **options: Any) -> None:
        self.started_versions: list[str] = []
        self.retired: list[int] = []
        self.reported: list[str] = []
        self.read_versions: list[str] = []
        super().__init__(
            directory,
            default_model,
            "onnx",
            self._start,
            on_retire=lambda model: self.retired.append(model.runner),
            on_failure=lambda reference, error: self.reported.append(reference),
            **options,
        )

    def _start(self, manifest: Manifest, forecaster: Forecaster) -> int:
        self.started_versions.append(f"{manifest.name}@{manifest.version}")
        return len(self.started_versions) - 1

    def _read(self, name: str, version: str) -> tuple[Manifest, Forecaster]:
        self.read_versions.append(f"{name}@{version}")
        path = self._models_dir / name / version
        if not path.is_dir():
            raise ArtifactError(path, "it is not there")
        if (path / "fault").exists():
            raise ArtifactError(path, (path / "fault").read_text())
        return cast("Manifest", SimpleNamespace(name=name, version=version)), cast("Forecaster", None)
