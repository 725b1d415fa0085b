"""`python -m benchmarks.scenarios.tune_peer PEER …`: measures a grid of tunings of a peer, fastest first."""

import argparse
import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks import processes
from benchmarks.load_generator import choose_generator
from benchmarks.measurements import Measurements
from benchmarks.runner import BenchmarkRunner, RunPlan, select_scenarios
from benchmarks.servers.peer_catalog import PEERS
from benchmarks.servers.peers.tuning import Tuning
from benchmarks.windows import WindowPool

BUDGET_S = 1800


def _format_results(measurements: Measurements, names: Iterable[str]) -> list[str]:
    """Format one line for each tuning, the fastest at 64 connections first."""
    rows = []
    for name in names:
        rates = [measurements.spread(name, scenario, "requests_per_s") for scenario in ("64", "16")]
        p50 = measurements.spread(name, "1", "p50_ms")
        figures = [*(rate.high if rate else 0 for rate in rates), p50.low if p50 else 0]
        failures = "; ".join(str(each.failure)[-200:] for each in measurements.failures if each.server == name)
        rows.append((figures[0], "{:8,.0f} {:8,.0f} {:8.2f}  ".format(*figures) + f"{name} {failures}"))
    return [line for _, line in sorted(rows, reverse=True)]


def _parse_numbers(text: str) -> list[float]:
    return [float(each) if "." in each else int(each) for each in text.split(",")]


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("peers", nargs="+", choices=PEERS)
    parser.add_argument("--seconds", type=float, default=1, help="duration of each load")
    parser.add_argument(
        "--rounds",
        type=int,
        default=2,
        help="rounds; the best counts, because other programs can only slow a server down",
    )
    parser.add_argument("--workers", type=_parse_numbers, default=[1, 2], help="comma-separated numbers of workers")
    parser.add_argument("--threads", type=_parse_numbers, default=[1, 2], help="comma-separated numbers of threads")
    parser.add_argument("--batch", type=_parse_numbers, default=[8, 32, 256], help="comma-separated batch sizes")
    parser.add_argument("--wait-ms", type=_parse_numbers, default=[0, 1, 5], help="comma-separated batching delays")
    options = parser.parse_args()
    processes.prevent_orphans()
    grid = itertools.product(options.workers, options.threads, options.batch, options.wait_ms)
    tunings = [Tuning(*each) for each in grid]
    for name in options.peers:
        servers = [replace(PEERS[name], tuning=tuning).server(str(tuning)) for tuning in tunings]
        scenarios = select_scenarios(["1", "16", "64"])
        plan = RunPlan(servers, scenarios, options.rounds, options.seconds, 0, choose_generator(None), BUDGET_S)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            runner = BenchmarkRunner(plan, WindowPool.generate(), Path(directory), lambda measurement: None)
            measurements = Measurements(runner.run())
        print(f"{name}: requests/s at 64 and at 16 connections, p50 ms at 1 connection")
        print("\n".join(_format_results(measurements, (server.name for server in servers))))


if __name__ == "__main__":
    main()
