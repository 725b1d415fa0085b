"""`python -m benchmarks.scenarios.serving`: how fast Pricecast answers on this machine, beside what it could do at best."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import load_generator as load
from benchmarks import machine, processes
from benchmarks.measurements import Measurements
from benchmarks.reporting import report
from benchmarks.reporting.goals import targets
from benchmarks.runner import Plan, Runner, cells_named
from benchmarks.servers.spec import Subject, own
from benchmarks.windows import Windows

RESULTS = Path(__file__).parent.parent / "results"


def options(description: str | None, seconds: float, budget_s: float) -> argparse.ArgumentParser:
    """What every run of the runner can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="in each, every subject is started and measured once")
    parser.add_argument("--seconds", type=float, default=seconds, help="of each load")
    parser.add_argument("--engine-seconds", type=float, default=0.4, help="of each size of engine call; 0: no engine")
    parser.add_argument("--budget", type=float, default=budget_s, help="seconds after which nothing new is begun")
    parser.add_argument("--subjects", type=_names, help="only these, by name and with commas between")
    parser.add_argument("--cells", type=_names, help="only these: 1, 16, 64, 256, batch-1, batch-2")
    parser.add_argument("--load", choices=("wrk", "asyncio"), help="the load generator; wrk where it is installed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory for what was measured")
    return parser


def measured(title: str, subjects: Sequence[Subject], given: argparse.Namespace) -> report.Run:
    """The run that was asked for. It ends by itself, and leaves no process behind however it ends."""
    if given.subjects is not None:
        if unknown := set(given.subjects) - {subject.name for subject in subjects}:
            sys.exit(f"no such subject: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in subjects)}")
        subjects = [subject for subject in subjects if subject.name in given.subjects]
    for subject in subjects:
        if subject.absent:
            print(f"{subject.name} is left out: {subject.absent}", file=sys.stderr)
    processes.guard()
    generator = load.choose(given.load)
    plan = Plan(
        subjects, cells_named(given.cells), given.rounds, given.seconds, given.engine_seconds, generator, given.budget
    )
    described = machine.description()  # before the run, which is a load itself
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        runner = Runner(plan, Windows.made(), Path(directory), lambda told: print(told, file=sys.stderr, flush=True))
        found = Measurements(runner.run())
    present = [subject for subject in subjects if subject.absent is None]
    return report.Run(
        title=title,
        machine=described,
        generator=generator,
        rounds=given.rounds,
        seconds=given.seconds,
        subjects=subjects,
        versions={each.name: machine.versions(each.python, each.distributions) for each in present},
        measurements=found,
        targets=targets(found, subjects),
    )


def keep(run: report.Run, directory: Path, name: str) -> None:
    """Writes a run as NAME.md and NAME.json, and prints it."""
    directory.mkdir(parents=True, exist_ok=True)
    markdown = report.as_markdown(run)
    (directory / f"{name}.md").write_text(markdown)
    (directory / f"{name}.json").write_text(report.as_json(run))
    print(markdown)


def _names(given: str) -> list[str]:
    return given.split(",")


def main() -> None:
    given = options(__doc__, seconds=3, budget_s=280).parse_args()
    keep(measured("Pricecast and its ceilings", own(), given), given.out, "serving")


if __name__ == "__main__":
    main()
