"""Stand-ins for what is slow, random or out of reach: each does as it is told, and remembers what was asked of it."""

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


def answer(item: int) -> str:
    """What `FakeCall` makes of one item."""
    return f"<{item}>"


class BadItems(Exception):
    """What `FakeCall` raises for the items it was told to fail on."""

    def __init__(self, items: list[int]) -> None:
        self.items = items
        super().__init__(f"cannot compute {items}")


@dataclass
class Made:
    """One call that was made of a `FakeCall`."""

    started_s: float
    items: list[int]
    ended_s: float | None = None  # None while it runs, and if it was cancelled


@dataclass
class FakeCall:
    """The async callable behind a batcher: items in, as many answers out, after a while on the loop's clock."""

    takes_s: float = 1.0  # each call
    takes_s_per_item: float = 0.0  # and for each item in it
    bad: set[int] = field(default_factory=set)  # a call that holds one of these raises BadItems
    lost: set[int] = field(default_factory=set)  # these get no answer, so the others come back too few
    hangs: bool = False  # a call made while this holds never ends
    made: list[Made] = field(default_factory=list)

    @property
    def seen(self) -> list[tuple[float, list[int]]]:
        """When each call started, and with what."""
        return [(call.started_s, call.items) for call in self.made]

    async def __call__(self, items: list[int]) -> list[str]:
        loop = asyncio.get_running_loop()
        items = list(items)
        call = Made(loop.time(), items)
        self.made.append(call)
        if self.hangs:
            await loop.create_future()
        await asyncio.sleep(self.takes_s + self.takes_s_per_item * len(items))
        call.ended_s = loop.time()
        if bad := [item for item in items if item in self.bad]:
            raise BadItems(bad)
        return [answer(item) for item in items if item not in self.lost]


@dataclass
class TurnedClock:
    """A clock turned by hand, or one that follows another; it can break."""

    now_s: float = 0.0
    follows: Callable[[], float] = lambda: 0.0
    broken: Exception | None = None
    read: int = 0  # how often

    def __call__(self) -> float:
        self.read += 1
        if self.broken is not None:
            raise self.broken
        return self.now_s + self.follows()

    def turn(self, by_s: float) -> None:
        self.now_s += by_s


async def in_turns(
    function: Callable[Parameters, Returned], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Returned:
    """What stands for `asyncio.to_thread` where there are no threads: others have a turn before and after."""
    await asyncio.sleep(0)
    try:
        return function(*args, **kwargs)
    finally:
        await asyncio.sleep(0)


class Shelf:
    """A models directory whose versions are empty: `QuickRegistry` reads them in no time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def publish(self, name: str, version: str, *, fault: str | None = None, is_current: bool = True) -> None:
        path = self.directory / name / version
        path.mkdir(parents=True)
        self.spoil(name, version, fault)
        if is_current:
            self.point(name, version)

    def point(self, name: str, current: str) -> None:
        (self.directory / name / "current").write_text(current)

    def pointed(self, name: str) -> str:
        """What `current` says."""
        return (self.directory / name / "current").read_text().strip()

    def spoil(self, name: str, version: str, fault: str | None) -> None:
        """Gives a version this fault; none mends it."""
        file = self.directory / name / version / "fault"
        if fault is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(fault)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.directory / name)


class QuickRegistry(Registry[int]):
    """A registry of what lies on a `Shelf`; its runners are numbers, in the order in which they were started."""

    def __init__(self, directory: Path, default_model: str = "a", **how: Any) -> None:
        self.started: list[str] = []
        self.retired: list[int] = []
        self.told: list[str] = []
        self.read: list[str] = []  # whether or not it could be
        super().__init__(
            directory,
            default_model,
            "onnx",
            self._start,
            retire=lambda model: self.retired.append(model.runner),
            on_failure=lambda reference, error: self.told.append(reference),
            **how,
        )

    def _start(self, manifest: Manifest, forecaster: Forecaster) -> int:
        self.started.append(f"{manifest.name}@{manifest.version}")
        return len(self.started) - 1

    def _read(self, name: str, version: str) -> tuple[Manifest, Forecaster]:
        self.read.append(f"{name}@{version}")
        path = self._models_dir / name / version
        if not path.is_dir():
            raise ArtifactError(path, "it is not there")
        if (path / "fault").exists():
            raise ArtifactError(path, (path / "fault").read_text())
        return cast("Manifest", SimpleNamespace(name=name, version=version)), cast("Forecaster", None)
