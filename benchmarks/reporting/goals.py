"""Performance goals of Pricecast, and whether a run met them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measurements import FigureKey, Measurements, Spread
from benchmarks.micro import engine
from benchmarks.servers.spec import ServerSpec

Direction = Literal["≥", "≤"]

RATE, P50, P99, WINDOWS = "requests_per_s", "p50_ms", "p99_ms", "windows_per_s"
TUNED_PEER, PLAIN_PEER = "mosec-tuned", "sync"

# Minimum ratio of Pricecast's throughput to a peer's, at 64 connections and Pricecast's best number of processes.
MIN_RATIO_TO_PEER = {
    "mosec-tuned": 1.15, "pytriton": 3.5, "bentoml": 5, "litserve": 5, "mlserver": 5, "ray": 25, "tutorial": 300,
}  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """A bound for a measured figure.

    Attributes:
        name: Description of the figure.
        bound: Value to reach.
        direction: Whether the bound is a minimum or a maximum.
        measured: The figure, or None if a part of it was not measured.
        unit: Suffix of bound and figure in reports.
    """

    name: str
    bound: float
    direction: Direction
    measured: Spread | None
    unit: str = "×"

    @property
    def is_met(self) -> bool | None:
        """Whether the median meets the bound, or None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured.median >= self.bound if self.direction == "≥" else self.measured.median <= self.bound


def evaluate_goals(measurements: Measurements, servers: Sequence[ServerSpec]) -> list[Goal]:
    """Return all goals that concern the servers of a run, with the figures measured."""
    own = [server.name for server in servers if server.kind == "pricecast"]
    peers = [server for server in servers if server.kind == "peer"]
    goals = _goals_against_upper_bounds(measurements)
    goals += [goal for name in own for goal in _goals_under_load(measurements, name)]
    batch = measurements.best(_batch_keys(own))
    best_engine = measurements.best(
        (setup.name, str(size), WINDOWS) for setup in engine.SETUPS for size in engine.BATCH_SIZES
    )
    goals.append(
        _ratio_goal(measurements, "batches of 256: windows/s over engine alone", 0.75, "≥", batch, best_engine)
    )
    return goals + (_goals_against_peers(measurements, own, peers) if peers else [])


def _goals_against_upper_bounds(measurements: Measurements) -> list[Goal]:
    overhead_us = measurements.combine(
        lambda own, http, call: (own - http - call) * 1e3,
        ("pricecast", "1", P50), ("uvicorn", "1", P50), ("engine-1x1", "1", P50),
    )  # fmt: skip
    rate = ("pricecast", "64", RATE), ("fastapi-echo", "64", RATE)
    name = "64 connections, one process: requests/s over FastAPI with validation"
    return [
        _ratio_goal(measurements, name, 1.05, "≥", *rate),
        Goal("1 connection: p50 minus p50 of uvicorn alone and of an engine call", 150, "≤", overhead_us, " µs"),
    ]


def _goals_under_load(measurements: Measurements, name: str) -> list[Goal]:
    """Goals for how a server's latency and throughput change with load."""
    p99_and_p50 = (name, "64", P99), (name, "64", P50)
    rates_at_256_and_64 = (name, "256", RATE), (name, "64", RATE)
    return [
        _ratio_goal(measurements, f"{name}: p99 over p50 at 64 connections", 2, "≤", *p99_and_p50),
        _ratio_goal(measurements, f"{name}: requests/s at 256 over 64 connections", 0.95, "≥", *rates_at_256_and_64),
    ]


def _goals_against_peers(measurements: Measurements, own: Sequence[str], peers: Sequence[ServerSpec]) -> list[Goal]:
    names = [peer.name for peer in peers]
    batching = [peer.name for peer in peers if peer.is_batching]
    own_at_64 = measurements.best((name, "64", RATE) for name in own)
    own_at_16 = measurements.best((name, "16", RATE) for name in own)
    fastest = measurements.best(((name, "1", P50) for name in batching), is_lower_better=True)
    best_batch = measurements.best(_batch_keys(names))
    own_p50 = ("pricecast", "1", P50)
    at_16, at_64 = (f"{connections} connections, best process count" for connections in (16, 64))

    def goal(name: str, bound: float, direction: Direction, own: FigureKey | None, peer: FigureKey | None) -> Goal:
        return _ratio_goal(measurements, name, bound, direction, own, peer)

    return [
        *(
            goal(f"{at_64}: requests/s over {peer}", bound, "≥", own_at_64, (peer, "64", RATE))
            for peer, bound in MIN_RATIO_TO_PEER.items()
            if peer in names
        ),
        goal(f"{at_16}: requests/s over {TUNED_PEER}", 1.3, "≥", own_at_16, (TUNED_PEER, "16", RATE)),
        goal(f"1 connection: p50 over the fastest batching peer{_suffix(fastest)}", 0.5, "≤", own_p50, fastest),
        goal(f"1 connection: p50 over a plain endpoint ({PLAIN_PEER})", 1, "≤", own_p50, (PLAIN_PEER, "1", P50)),
        goal(
            f"batches of 256: windows/s over the best peer{_suffix(best_batch)}",
            1.25, "≥", measurements.best(_batch_keys(own)), best_batch,
        ),
    ]  # fmt: skip


def _ratio_goal(
    measurements: Measurements,
    name: str,
    bound: float,
    direction: Direction,
    numerator: FigureKey | None,
    denominator: FigureKey | None,
) -> Goal:
    ratio = measurements.ratio(numerator, denominator) if numerator and denominator else None
    return Goal(name, bound, direction, ratio)


def _batch_keys(names: Iterable[str]) -> list[FigureKey]:
    return [(name, scenario, WINDOWS) for name in names for scenario in ("batch-1", "batch-2")]


def _suffix(key: FigureKey | None) -> str:
    """Return the name of the chosen server in brackets, or nothing."""
    return f" ({key[0]})" if key else ""
