"""A run as Markdown and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load_generator import Generator
from benchmarks.measurements import Measurements, Spread
from benchmarks.micro import engine
from benchmarks.reporting.goals import Target
from benchmarks.servers.spec import Subject

NOTHING = "–"
FAILED = "FAILED"
LONGEST_REASON = 400  # characters; a traceback's end says most
MET = {True: "met", False: "NOT met", None: "not measured"}

COLUMNS = (
    "subject", "processes", "1 connection: p50 ms", "16: requests/s", "64: requests/s", "64: p50 / p99 ms",
    "256: requests/s", "256: p50 / p99 ms", "batches of 256: windows/s, 1 / 2 connections", "cold start s", "MiB",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """All that is told of a run."""

    title: str
    machine: Mapping[str, str]
    generator: Generator
    rounds: int
    seconds: float
    subjects: Sequence[Subject]
    versions: Mapping[str, Mapping[str, str]]  # subject -> distribution -> version
    measurements: Measurements
    targets: Sequence[Target]


def as_json(run: Run) -> str:
    """Every figure of every round."""
    content: dict[str, Any] = {
        "title": run.title,
        "machine": dict(run.machine),
        "load_generator": run.generator,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "versions": {name: dict(found) for name, found in run.versions.items()},
        "absent": {subject.name: subject.absent for subject in run.subjects if subject.absent},
        "left_out": {subject.name: dict(subject.left_out) for subject in run.subjects if subject.left_out},
        "targets": [
            {
                "name": target.name, "goal": f"{target.sense} {target.goal:g}{target.unit}", "met": target.met,
                "median": target.measured and target.measured.median,
            }
            for target in run.targets
        ],
        "measurements": run.measurements.as_json(),
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def as_markdown(run: Run) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in run.machine.items())
    parts = [
        f"# {run.title}",
        f"Measured on: {machine}.",
        _method(run),
        _table(COLUMNS, [_row(run.measurements, subject) for subject in run.subjects if subject.absent is None]),
    ]
    if engine_rows := _engine_rows(run.measurements):
        columns = ("engine alone, windows/s", *(f"{size} in a call" for size in engine.SIZES), "one call of 1: p50 ms")
        parts.append(_table(columns, engine_rows))
    if notes := _notes(run):
        parts += ["## Not measured", "\n".join(notes)]
    parts += ["## Targets", targets_table(run.targets), "## Versions", "\n".join(_versions(run))]
    return "\n\n".join(parts) + "\n"


def _method(run: Run) -> str:
    return (
        f"The load is made by {run.generator} on the same machine, {run.seconds:g} s for each cell. Every connection "
        "sends different windows; answers are compared with what the network should say before and after each load. "
        f"Figures are medians of {_rounds(run.measurements)} interleaved rounds, in brackets the least and the "
        "greatest. Every subject that forecasts serves the same network: four LSTM layers of 50 units, 60 prices in, "
        "one price out. MiB is what all processes hold after the start: pages that they share counted once (PSS) / in "
        "each (RSS)."
    )


def _rounds(found: Measurements) -> str:
    """How many rounds the figures are medians of: the budget may end a run within one."""
    counts = Counter((each.subject, each.cell) for each in found.all if each.failure is None).values()
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{most}" if least == most else f"{least} to {most}"


def targets_table(targets: Sequence[Target]) -> str:
    rows = [
        (target.name, f"{target.sense} {target.goal:g}{target.unit}", _measured(target), MET[target.met])
        for target in targets
    ]
    return _table(("target", "goal", "measured", ""), rows)


def _measured(target: Target) -> str:
    if target.measured is None:
        return NOTHING
    digits = 0 if target.unit.strip() == "µs" else 2
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (target.measured.low, target.measured.median, target.measured.high)
    )
    return f"{middle}{target.unit} ({low} to {high})"


def _row(found: Measurements, subject: Subject) -> tuple[str, ...]:
    def median(cell: str, figure: str, digits: int = 0) -> str:
        spread = found.spread(subject.name, cell, figure)
        return missing(cell) if spread is None else f"{spread.median:,.{digits}f}"

    def missing(cell: str) -> str:
        failed = any((each.subject, each.cell) == (subject.name, cell) for each in found.failures)
        return FAILED if failed else NOTHING

    def pair(first: str, second: str) -> str:
        return first if first == second and first in (NOTHING, FAILED) else f"{first} / {second}"

    return (
        f"{subject.label} (`{subject.name}`)",
        str(subject.processes),
        median("1", "p50_ms", 2),
        median("16", "requests_per_s"),
        median("64", "requests_per_s") + _range(found.spread(subject.name, "64", "requests_per_s")),
        pair(median("64", "p50_ms", 1), median("64", "p99_ms", 1)),
        median("256", "requests_per_s"),
        pair(median("256", "p50_ms", 1), median("256", "p99_ms", 1)),
        pair(median("batch-1", "windows_per_s"), median("batch-2", "windows_per_s")),
        median("start", "start_s", 2),
        pair(median("start", "pss_mib"), median("start", "rss_mib")),
    )


def _range(spread: Spread | None) -> str:
    return "" if spread is None else f" ({spread.low:,.0f} to {spread.high:,.0f})"


def _engine_rows(found: Measurements) -> list[tuple[str, ...]]:
    rows = []
    for setup in engine.SETUPS:
        spreads = [found.spread(setup.name, str(size), "windows_per_s") for size in engine.SIZES]
        call = found.spread(setup.name, "1", "p50_ms")
        if call is not None:
            told = [NOTHING if spread is None else f"{spread.median:,.0f}" for spread in spreads]
            rows.append((f"{setup.sessions} × session of {setup.threads} threads", *told, f"{call.median:.2f}"))
    return rows


def _notes(run: Run) -> list[str]:
    absent = [f"- `{subject.name}`: {subject.absent}" for subject in run.subjects if subject.absent]
    left_out = [
        f"- `{subject.name}`, {cell}: {reason}" for subject in run.subjects for cell, reason in subject.left_out.items()
    ]
    failed = [
        f"- `{each.subject}`, {each.cell}, round {each.round + 1}: {FAILED}: {_short(each.failure or '')}"
        for each in run.measurements.failures
    ]
    return [*absent, *left_out, *failed]


def _short(reason: str) -> str:
    """On one line, and without its middle where it is long."""
    reason = " ".join(reason.split())
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:60]} … {reason[-LONGEST_REASON + 60 :]}"


def _versions(run: Run) -> list[str]:
    told = []
    for name, found in run.versions.items():
        told.append(f"- `{name}`: " + ", ".join(f"{distribution} {version}" for distribution, version in found.items()))
    return told


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)
