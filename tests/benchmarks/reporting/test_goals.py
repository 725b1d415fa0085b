from collections.abc import Mapping
from typing import Literal

import pytest

from benchmarks.measurements import Measurement, Measurements, Spread
from benchmarks.reporting.goals import Goal, evaluate_goals
from benchmarks.servers.catalog import own_servers
from benchmarks.servers.spec import RequestFormat, ServerSpec

NO_FORMAT = RequestFormat("/predict", lambda prices: None, lambda response: [])
MOSEC = ServerSpec("mosec-tuned", "mosec", "peer", lambda port: [], NO_FORMAT)
PLAIN = ServerSpec("sync", "plain", "peer", lambda port: [], NO_FORMAT, is_batching=False)


def evaluate(figures: Mapping[str, float], figure: str, scenario: str = "64") -> dict[str, Goal]:
    """Evaluate the goals of a run that measured one figure of some servers."""
    measurements = Measurements(Measurement(0, name, scenario, {figure: value}) for name, value in figures.items())
    return {goal.name: goal for goal in evaluate_goals(measurements, [*own_servers(), MOSEC, PLAIN])}


@pytest.mark.parametrize(
    ("direction", "value", "is_met"), [("≥", 2.0, True), ("≥", 1.9, False), ("≤", 2.0, True), ("≤", 2.1, False)]
)
def test_goal_is_met_at_or_beyond_bound(direction: Literal["≥", "≤"], value: float, is_met: bool) -> None:
    assert Goal("g", 2.0, direction, Spread(value, value, value)).is_met is is_met


def test_unmeasured_goal_is_neither_met_nor_missed() -> None:
    assert Goal("g", 2.0, "≥", None).is_met is None
    assert all(goal.is_met is None for goal in evaluate_goals(Measurements(), [*own_servers(), MOSEC, PLAIN]))


def test_peers_are_compared_with_best_process_count() -> None:
    goals = evaluate(
        {"pricecast": 4000, "pricecast-2": 6000, "mosec-tuned": 5000, "fastapi-echo": 4000}, "requests_per_s"
    )
    over_mosec = goals["64 connections, best process count: requests/s over mosec-tuned"]
    assert over_mosec.measured == Spread(1.2, 1.2, 1.2)
    assert over_mosec.is_met
    over_fastapi = goals["64 connections, one process: requests/s over FastAPI with validation"]
    assert over_fastapi.measured == Spread(1.0, 1.0, 1.0)
    assert over_fastapi.is_met is False


def test_request_overhead_excludes_http_and_engine() -> None:
    goals = evaluate({"pricecast": 0.5, "uvicorn": 0.1, "engine-1x1": 0.3}, "p50_ms", scenario="1")
    overhead = goals["1 connection: p50 minus p50 of uvicorn alone and of an engine call"]
    assert overhead.measured is not None
    assert round(overhead.measured.median) == 100  # µs
    assert overhead.is_met


def test_fastest_peer_is_a_batching_peer() -> None:
    goals = evaluate({"pricecast": 0.5, "mosec-tuned": 2.0, "sync": 0.6}, "p50_ms", scenario="1")
    over_batching = goals["1 connection: p50 over the fastest batching peer (mosec-tuned)"]
    assert over_batching.measured == Spread(0.25, 0.25, 0.25)
    assert over_batching.is_met


def test_batches_are_compared_with_every_peer() -> None:
    goals = evaluate({"pricecast": 10_000, "mosec-tuned": 3000, "sync": 8000}, "windows_per_s", scenario="batch-2")
    best = goals["batches of 256: windows/s over the best peer (sync)"]
    assert best.measured == Spread(1.25, 1.25, 1.25)
    assert best.is_met
