"""`python -m benchmarks.peers.tune PEER …`: tries tunings of a peer at 64 connections, best first."""

import argparse
import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks import load, processes
from benchmarks.measurements import Measurements
from benchmarks.peers.subjects import PEERS
from benchmarks.peers.tuning import Tuning
from benchmarks.runner import Plan, Runner
from benchmarks.subjects import SINGLE
from benchmarks.windows import Windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="+", choices=PEERS)
    parser.add_argument("--seconds", type=float, default=1, help="of each load")
    parser.add_argument("--workers", type=_numbers, default=[1, 2])
    parser.add_argument("--threads", type=_numbers, default=[1, 2])
    parser.add_argument("--batch", type=_numbers, default=[8, 32, 256])
    parser.add_argument("--wait-ms", type=_numbers, default=[0, 1, 5])
    given = parser.parse_args()
    processes.adopt_orphans()
    grid = [Tuning(*each) for each in itertools.product(given.workers, given.threads, given.batch, given.wait_ms)]
    for name in given.peers:
        tried = {str(tuning): replace(PEERS[name], tuning=tuning) for tuning in grid}
        subjects = [peer.subject_named(told) for told, peer in tried.items()]
        cells = [cell for cell in SINGLE if cell.name in ("1", "64")]
        plan = Plan(subjects, cells, 1, given.seconds, 0, load.choose(None), budget_s=1800)
        with tempfile.TemporaryDirectory() as directory:
            found = Measurements(Runner(plan, Windows.made(), Path(directory), lambda told: None).run())
        print(f"{name}: requests/s at 64 connections, p50 ms at 1")
        print("\n".join(_told(found, tried)))


def _told(found: Measurements, tunings: Iterable[str]) -> list[str]:
    rows = []
    for tuning in tunings:
        rate, alone = found.spread(tuning, "64", "requests_per_s"), found.spread(tuning, "1", "p50_ms")
        failures = "; ".join(str(each.failure) for each in found.failures if each.subject == tuning)
        told = f"{rate.median if rate else 0:8,.0f} {alone.median if alone else 0:8.2f}  {tuning} {failures[-300:]}"
        rows.append((rate.median if rate else 0.0, told))
    return [told for _, told in sorted(rows, reverse=True)]


def _numbers(given: str) -> list[float]:
    return [float(each) if "." in each else int(each) for each in given.split(",")]


if __name__ == "__main__":
    main()
