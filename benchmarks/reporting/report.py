"""The report of a run, as Markdown and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load_generator import Generator
from benchmarks.measurements import Measurements, Spread
from benchmarks.micro import engine
from benchmarks.reporting.goals import Goal
from benchmarks.servers.spec import ServerSpec

MISSING = "–"
FAILED = "FAILED"
MAX_REASON_CHARS = 400
REASON_HEAD_CHARS = 60  # the rest shows the end, where a traceback names the error
GOAL_STATUS = {True: "met", False: "NOT met", None: "not measured"}

COLUMNS = (
    "server", "processes", "1 connection: p50 ms", "16: requests/s", "64: requests/s", "64: p50 / p99 ms",
    "256: requests/s", "256: p50 / p99 ms", "batches of 256: windows/s, 1 / 2 connections", "cold start s", "MiB",
)  # fmt: skip


@dataclass(frozen=True)
class RunReport:
    """Everything that is reported about a run.

    Attributes:
        title: Heading.
        machine: Description of the machine.
        generator: Load generator.
        rounds: Number of rounds planned.
        load_s: Duration of a load, in seconds.
        servers: Servers of the run, including unavailable ones.
        versions: Versions by server and distribution.
        measurements: All measurements.
        goals: Goals, with the figures measured.
    """

    title: str
    machine: Mapping[str, str]
    generator: Generator
    rounds: int
    load_s: float
    servers: Sequence[ServerSpec]
    versions: Mapping[str, Mapping[str, str]]
    measurements: Measurements
    goals: Sequence[Goal]


def to_json(report: RunReport) -> str:
    """Format a report as JSON, with every figure of every round."""
    content: dict[str, Any] = {
        "title": report.title,
        "machine": dict(report.machine),
        "load_generator": report.generator,
        "rounds": report.rounds,
        "seconds": report.load_s,
        "versions": {name: dict(versions) for name, versions in report.versions.items()},
        "absent": {server.name: server.unavailable for server in report.servers if server.unavailable},
        "left_out": {server.name: dict(server.skipped) for server in report.servers if server.skipped},
        "targets": [
            {
                "name": goal.name, "goal": f"{goal.direction} {goal.bound:g}{goal.unit}", "met": goal.is_met,
                "median": goal.measured and goal.measured.median,
            }
            for goal in report.goals
        ],
        "measurements": report.measurements.to_json(),
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def to_markdown(report: RunReport) -> str:
    """Format a report as Markdown, with medians over the rounds."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    parts = [
        f"# {report.title}",
        f"Measured on: {machine}.",
        _describe_method(report),
        _table(
            COLUMNS, [_server_row(report.measurements, spec) for spec in report.servers if spec.unavailable is None]
        ),
    ]
    if engine_rows := _engine_rows(report.measurements):
        sizes = (f"{size} in a call" for size in engine.BATCH_SIZES)
        parts.append(_table(("engine alone, windows/s", *sizes, "one call of 1: p50 ms"), engine_rows))
    if omissions := _list_omissions(report):
        parts += ["## Not measured", "\n".join(omissions)]
    parts += ["## Goals", format_goals(report.goals), "## Versions", "\n".join(_list_versions(report))]
    return "\n\n".join(parts) + "\n"


def format_goals(goals: Sequence[Goal]) -> str:
    """Format a table of goals, as Markdown."""
    rows = [
        (goal.name, f"{goal.direction} {goal.bound:g}{goal.unit}", _format_measured(goal), GOAL_STATUS[goal.is_met])
        for goal in goals
    ]
    return _table(("figure", "goal", "measured", ""), rows)


def _describe_method(report: RunReport) -> str:
    return (
        f"{report.generator} on the same machine generates the load, {report.load_s:g} s for each figure. Every "
        "connection sends different windows. Before and after each load, answers are compared with the network's own "
        f"output. Figures are medians of {_format_rounds(report.measurements)} interleaved rounds, with the range in "
        "brackets. Every server that forecasts serves the same network: four LSTM layers of 50 units, 60 prices in, "
        "one price out. MiB is the memory of all processes after the start: with shared pages counted once (PSS) / "
        "once per process (RSS)."
    )


def _format_rounds(measurements: Measurements) -> str:
    """The number of rounds behind the figures. It differs between figures if the budget ran out within a round."""
    counts = Counter((each.server, each.scenario) for each in measurements.all if each.failure is None).values()
    fewest, most = min(counts, default=0), max(counts, default=0)
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def _format_measured(goal: Goal) -> str:
    if goal.measured is None:
        return MISSING
    digits = 0 if goal.unit.strip() == "µs" else 2
    low, median, high = (
        f"{value:,.{digits}f}" for value in (goal.measured.low, goal.measured.median, goal.measured.high)
    )
    return f"{median}{goal.unit} ({low} to {high})"


def _server_row(measurements: Measurements, spec: ServerSpec) -> tuple[str, ...]:
    def median(scenario: str, figure: str, digits: int = 0) -> str:
        spread = measurements.spread(spec.name, scenario, figure)
        return placeholder(scenario) if spread is None else f"{spread.median:,.{digits}f}"

    def placeholder(scenario: str) -> str:
        failed = any((each.server, each.scenario) == (spec.name, scenario) for each in measurements.failures)
        return FAILED if failed else MISSING

    def pair(first: str, second: str) -> str:
        return first if first == second and first in (MISSING, FAILED) else f"{first} / {second}"

    return (
        f"{spec.label} (`{spec.name}`)",
        str(spec.processes),
        median("1", "p50_ms", 2),
        median("16", "requests_per_s"),
        median("64", "requests_per_s") + _format_range(measurements.spread(spec.name, "64", "requests_per_s")),
        pair(median("64", "p50_ms", 1), median("64", "p99_ms", 1)),
        median("256", "requests_per_s"),
        pair(median("256", "p50_ms", 1), median("256", "p99_ms", 1)),
        pair(median("batch-1", "windows_per_s"), median("batch-2", "windows_per_s")),
        median("start", "start_s", 2),
        pair(median("start", "pss_mib"), median("start", "rss_mib")),
    )


def _format_range(spread: Spread | None) -> str:
    return "" if spread is None else f" ({spread.low:,.0f} to {spread.high:,.0f})"


def _engine_rows(measurements: Measurements) -> list[tuple[str, ...]]:
    rows = []
    for setup in engine.SETUPS:
        spreads = [measurements.spread(setup.name, str(size), "windows_per_s") for size in engine.BATCH_SIZES]
        call = measurements.spread(setup.name, "1", "p50_ms")
        if call is not None:
            rates = [MISSING if spread is None else f"{spread.median:,.0f}" for spread in spreads]
            threads = f"{setup.threads} thread" + "s" * (setup.threads > 1)
            rows.append((f"{setup.sessions} × session with {threads}", *rates, f"{call.median:.2f}"))
    return rows


def _list_omissions(report: RunReport) -> list[str]:
    unavailable = [f"- `{server.name}`: {server.unavailable}" for server in report.servers if server.unavailable]
    skipped = [
        f"- `{server.name}`, {scenario}: {reason}"
        for server in report.servers
        for scenario, reason in server.skipped.items()
    ]
    failed = [
        f"- `{each.server}`, {each.scenario}, round {each.round + 1}: {FAILED}: {_shorten(each.failure or '')}"
        for each in report.measurements.failures
    ]
    return [*unavailable, *skipped, *failed]


def _shorten(reason: str) -> str:
    """Join the lines of a reason, and cut out its middle if it is long."""
    reason = " ".join(reason.split())
    if len(reason) <= MAX_REASON_CHARS:
        return reason
    return f"{reason[:REASON_HEAD_CHARS]} … {reason[-MAX_REASON_CHARS + REASON_HEAD_CHARS :]}"


def _list_versions(report: RunReport) -> list[str]:
    return [
        f"- `{name}`: " + ", ".join(f"{distribution} {version}" for distribution, version in versions.items())
        for name, versions in report.versions.items()
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)
