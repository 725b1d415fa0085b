from collections.abc import Mapping
from typing import Literal

import pytest

from benchmarks.measurements import Measurement, Measurements, Spread
from benchmarks.reporting.goals import Target, targets
from benchmarks.servers.spec import Request, Subject, own

NOTHING = Request("/predict", lambda prices: None, lambda answer: [])
MOSEC = Subject("mosec-tuned", "mosec", "peer", lambda port: [], NOTHING)
PLAIN = Subject("sync", "plain", "peer", lambda port: [], NOTHING, batches=False)


def reached(rates: Mapping[str, float], figure: str, cell: str = "64") -> dict[str, Target]:
    found = Measurements(Measurement(0, name, cell, {figure: value}) for name, value in rates.items())
    return {target.name: target for target in targets(found, [*own(), MOSEC, PLAIN])}


@pytest.mark.parametrize(
    ("sense", "value", "met"), [("≥", 2.0, True), ("≥", 1.9, False), ("≤", 2.0, True), ("≤", 2.1, False)]
)
def test_a_target_is_met_on_its_own_side(sense: Literal["≥", "≤"], value: float, met: bool) -> None:
    assert Target("t", 2.0, sense, Spread(value, value, value)).met is met


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert Target("t", 2.0, "≥", None).met is None
    assert all(target.met is None for target in targets(Measurements(), [*own(), MOSEC, PLAIN]))


def test_peers_are_compared_with_the_best_number_of_processes() -> None:
    found = reached(
        {"pricecast": 4000, "pricecast-2": 6000, "mosec-tuned": 5000, "fastapi-echo": 4000}, "requests_per_s"
    )
    over_mosec = found["64 connections, best number of processes, over mosec-tuned"]
    assert over_mosec.measured == Spread(1.2, 1.2, 1.2)
    assert over_mosec.met
    over_fastapi = found["64 connections, one process, over FastAPI's validation alone"]
    assert over_fastapi.measured == Spread(1.0, 1.0, 1.0)
    assert over_fastapi.met is False


def test_the_overhead_of_one_request_is_what_is_left_of_http_and_engine() -> None:
    found = reached({"pricecast": 0.5, "uvicorn": 0.1, "engine-1x1": 0.3}, "p50_ms", cell="1")
    overhead = found["1 connection, p50 above that of bare uvicorn and of an engine call"]
    assert overhead.measured is not None
    assert round(overhead.measured.median) == 100  # µs
    assert overhead.met


def test_the_quickest_peer_is_looked_for_among_those_that_batch() -> None:
    found = reached({"pricecast": 0.5, "mosec-tuned": 2.0, "sync": 0.6}, "p50_ms", cell="1")
    over_batching = found["1 connection, p50 over that of the best peer that batches (mosec-tuned)"]
    assert over_batching.measured == Spread(0.25, 0.25, 0.25)
    assert over_batching.met


def test_batches_are_compared_with_every_peer() -> None:
    found = reached({"pricecast": 10_000, "mosec-tuned": 3000, "sync": 8000}, "windows_per_s", cell="batch-2")
    best = found["batch of 256, windows/s over those of the best peer (sync)"]
    assert best.measured == Spread(1.25, 1.25, 1.25)
    assert best.met
