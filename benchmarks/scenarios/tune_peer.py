"""`python -m benchmarks.scenarios.tune_peer PEER …`: tries tunings of a peer, and prints them with the fastest first."""

import argparse
import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks import load_generator as load
from benchmarks import processes
from benchmarks.measurements import Measurements
from benchmarks.runner import Plan, Runner, cells_named
from benchmarks.servers.peer_catalog import PEERS
from benchmarks.servers.peers.tuning import Tuning
from benchmarks.windows import Windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="+", choices=PEERS)
    parser.add_argument("--seconds", type=float, default=1, help="of each load")
    parser.add_argument("--rounds", type=int, default=2, help="the best counts: other work on the machine only slows")
    parser.add_argument("--workers", type=_numbers, default=[1, 2])
    parser.add_argument("--threads", type=_numbers, default=[1, 2])
    parser.add_argument("--batch", type=_numbers, default=[8, 32, 256])
    parser.add_argument("--wait-ms", type=_numbers, default=[0, 1, 5])
    given = parser.parse_args()
    processes.guard()
    grid = [Tuning(*each) for each in itertools.product(given.workers, given.threads, given.batch, given.wait_ms)]
    for name in given.peers:
        tried = {str(tuning): replace(PEERS[name], tuning=tuning) for tuning in grid}
        subjects = [peer.subject_named(told) for told, peer in tried.items()]
        cells = cells_named(["1", "16", "64"])
        plan = Plan(subjects, cells, given.rounds, given.seconds, 0, load.choose(None), budget_s=1800)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            found = Measurements(Runner(plan, Windows.made(), Path(directory), lambda told: None).run())
        print(f"{name}: requests/s at 64 and at 16 connections, p50 ms at 1")
        print("\n".join(_told(found, tried)))


def _told(found: Measurements, tunings: Iterable[str]) -> list[str]:
    rows = []
    for tuning in tunings:
        rates = [found.spread(tuning, cell, "requests_per_s") for cell in ("64", "16")]
        alone = found.spread(tuning, "1", "p50_ms")
        figures = [*(rate.high if rate else 0 for rate in rates), alone.low if alone else 0]
        failures = "; ".join(str(each.failure)[-200:] for each in found.failures if each.subject == tuning)
        rows.append((figures[0], "{:8,.0f} {:8,.0f} {:8.2f}  ".format(*figures) + f"{tuning} {failures}"))
    return [told for _, told in sorted(rows, reverse=True)]


def _numbers(given: str) -> list[float]:
    return [float(each) if "." in each else int(each) for each in given.split(",")]


if __name__ == "__main__":
    main()
