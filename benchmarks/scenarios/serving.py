"""`python -m benchmarks.scenarios.serving`: throughput and latency of Pricecast, with upper bounds and goals."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import load_generator, machine, processes
from benchmarks.measurements import Measurement, Measurements
from benchmarks.processes import ROOT
from benchmarks.reporting import report
from benchmarks.reporting.goals import evaluate_goals
from benchmarks.reporting.report import RunReport
from benchmarks.runner import BenchmarkRunner, RunPlan, format_measurement, select_scenarios
from benchmarks.servers.catalog import own_servers
from benchmarks.servers.spec import ServerSpec
from benchmarks.windows import WindowPool

RESULTS = ROOT / "benchmarks" / "results"


def build_parser(description: str | None, load_s: float, budget_s: float) -> argparse.ArgumentParser:
    """Build a parser for the options that all runs share.

    Args:
        description: Description in the help.
        load_s: Default duration of a load, in seconds.
        budget_s: Default time budget, in seconds.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds; each starts and measures every server once")
    parser.add_argument("--seconds", type=float, default=load_s, help="duration of each load")
    parser.add_argument(
        "--engine-seconds", type=float, default=0.4, help="duration of each engine measurement; 0 skips the engine"
    )
    parser.add_argument("--budget", type=float, default=budget_s, help="seconds after which no server is started")
    parser.add_argument("--servers", type=_split, help="measure only these servers: comma-separated names")
    parser.add_argument(
        "--scenarios",
        type=_split,
        help="measure only these scenarios: comma-separated, from 1,16,64,256,batch-1,batch-2",
    )
    parser.add_argument("--load", choices=("wrk", "asyncio"), help="load generator; by default wrk if it is installed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory for the results")
    return parser


def run_benchmark(title: str, servers: Sequence[ServerSpec], options: argparse.Namespace) -> RunReport:
    """Measure servers as the command line asks. All server processes are stopped, even on SIGTERM and Ctrl-C.

    Args:
        title: Heading of the report.
        servers: Servers to choose from.
        options: Parsed options of `build_parser`.
    """
    if options.servers is not None:
        if unknown := set(options.servers) - {server.name for server in servers}:
            known = ", ".join(server.name for server in servers)
            sys.exit(f"no such server: {', '.join(sorted(unknown))}; choose from {known}")
        servers = [server for server in servers if server.name in options.servers]
    for server in servers:
        if server.unavailable:
            print(f"{server.name} is skipped: {server.unavailable}", file=sys.stderr)
    processes.prevent_orphans()
    generator = load_generator.choose_generator(options.load)
    plan = RunPlan(
        servers,
        select_scenarios(options.scenarios),
        options.rounds,
        options.seconds,
        options.engine_seconds,
        generator,
        options.budget,
    )
    description = machine.describe_machine()  # before the run, which would raise the load average
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        measurements = Measurements(
            BenchmarkRunner(plan, WindowPool.generate(), Path(directory), _print_progress).run()
        )
    available = [server for server in servers if server.unavailable is None]
    return RunReport(
        title=title,
        machine=description,
        generator=generator,
        rounds=options.rounds,
        load_s=options.seconds,
        servers=servers,
        versions={each.name: machine.installed_versions(each.python, each.distributions) for each in available},
        measurements=measurements,
        goals=evaluate_goals(measurements, servers),
    )


def save_report(run: RunReport, directory: Path, name: str) -> None:
    """Write a report to NAME.md and NAME.json, and print it."""
    directory.mkdir(parents=True, exist_ok=True)
    markdown = report.to_markdown(run)
    (directory / f"{name}.md").write_text(markdown)
    (directory / f"{name}.json").write_text(report.to_json(run))
    print(markdown)


def _print_progress(measurement: Measurement) -> None:
    print(format_measurement(measurement), file=sys.stderr, flush=True)


def _split(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    """Run the benchmark from the command line."""
    options = build_parser(__doc__, load_s=3, budget_s=280).parse_args()
    save_report(run_benchmark("Pricecast and its upper bounds", own_servers(), options), options.out, "serving")


if __name__ == "__main__":
    main()
