"""What Pricecast should reach, beside what it did reach in a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measurements import Measurements, Series, Spread
from benchmarks.micro import engine
from benchmarks.servers.spec import Subject

RATE, P50, P99, WINDOWS = "requests_per_s", "p50_ms", "p99_ms", "windows_per_s"

# Requests per second at 64 connections over those of each peer, with the best number of processes.
TIMES_PEER = {
    "mosec-tuned": 1.15, "pytriton": 3.5, "bentoml": 5, "litserve": 5, "mlserver": 5, "ray": 25, "tutorial": 300,
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A goal, and what was measured of it; None where a part of it was not measured."""

    name: str
    goal: float
    sense: Literal["≥", "≤"]
    measured: Spread | None
    unit: str = "×"

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured.median >= self.goal if self.sense == "≥" else self.measured.median <= self.goal


def targets(found: Measurements, subjects: Sequence[Subject]) -> list[Target]:
    """Every target that these subjects have a part in."""
    own = [subject.name for subject in subjects if subject.kind == "pricecast"]
    peers = [subject for subject in subjects if subject.kind == "peer"]
    lines = _against_ceilings(found) + [line for name in own for line in _shape(found, name)]
    batch = found.best(_batches(own))
    engine_best = found.best((setup.name, str(size), WINDOWS) for setup in engine.SETUPS for size in engine.SIZES)
    lines.append(_ratio(found, "batch of 256, over the engine's own best", 0.75, "≥", batch, engine_best))
    return lines + (_against_peers(found, own, peers) if peers else [])


def _against_ceilings(found: Measurements) -> list[Target]:
    overhead = found.combined(
        lambda own, http, call: (own - http - call) * 1e3,
        ("pricecast", "1", P50), ("uvicorn", "1", P50), ("engine-1x1", "1", P50),
    )  # fmt: skip
    rate = ("pricecast", "64", RATE), ("fastapi-echo", "64", RATE)
    return [
        _ratio(found, "64 connections, one process, over FastAPI's validation alone", 1.05, "≥", *rate),
        Target("1 connection, p50 above that of bare uvicorn and of an engine call", 150, "≤", overhead, " µs"),
    ]


def _shape(found: Measurements, name: str) -> list[Target]:
    """How one subject bears load: of itself alone."""
    p99 = (name, "64", P99), (name, "64", P50)
    crowd = (name, "256", RATE), (name, "64", RATE)
    return [
        _ratio(found, f"{name}: p99 over p50 at 64 connections", 2, "≤", *p99),
        _ratio(found, f"{name}: requests/s at 256 connections, over those at 64", 0.95, "≥", *crowd),
    ]


def _against_peers(found: Measurements, own: Sequence[str], peers: Sequence[Subject]) -> list[Target]:
    names = [peer.name for peer in peers]
    batching = [peer.name for peer in peers if peer.batches]
    at_64 = found.best((name, "64", RATE) for name in own)
    at_16 = found.best((name, "16", RATE) for name in own)
    quickest = found.best(((name, "1", P50) for name in batching), least=True)
    alone = ("pricecast", "1", P50)
    lines = [
        _ratio(found, f"64 connections, best number of processes, over {peer}", goal, "≥", at_64, (peer, "64", RATE))
        for peer, goal in TIMES_PEER.items()
        if peer in names
    ]
    tuned, plain = "mosec-tuned", "sync"
    over_quickest = f"1 connection, p50 over that of the best peer that batches{_named(quickest)}"
    return [
        *lines,
        _ratio(found, f"16 connections, best number of processes, over {tuned}", 1.3, "≥", at_16, (tuned, "16", RATE)),
        _ratio(found, over_quickest, 0.5, "≤", alone, quickest),
        _ratio(found, f"1 connection, p50 over that of a plain endpoint ({plain})", 1, "≤", alone, (plain, "1", P50)),
        _batch_over_peers(found, own, names),
    ]


def _batch_over_peers(found: Measurements, own: Sequence[str], peers: Sequence[str]) -> Target:
    best = found.best(_batches(peers))
    name = f"batch of 256, windows/s over those of the best peer{_named(best)}"
    return _ratio(found, name, 1.25, "≥", found.best(_batches(own)), best)


def _ratio(
    found: Measurements, name: str, goal: float, sense: Literal["≥", "≤"], above: Series | None, below: Series | None
) -> Target:
    return Target(name, goal, sense, found.ratio(above, below) if above and below else None)


def _batches(names: Iterable[str]) -> list[Series]:
    return [(name, cell, WINDOWS) for name in names for cell in ("batch-1", "batch-2")]


def _named(series: Series | None) -> str:
    return f" ({series[0]})" if series else ""
