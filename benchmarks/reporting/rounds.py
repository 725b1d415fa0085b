"""Output of benchmarks that measure Pricecast alone: the figures of each round, and a table of all rounds."""

import json
import sys
from collections.abc import Iterable, Mapping

from benchmarks import processes
from benchmarks.machine import describe_machine
from benchmarks.measurements import compute_spread

Figures = Mapping[str, float]  # of one round, by name


def print_rounds(rounds: Iterable[Figures]) -> None:
    """Print each round as it is measured, then the machine and a table of medians and ranges.

    Args:
        rounds: Measures a round in each iteration. Servers that it starts are stopped even on SIGTERM.
    """
    processes.prevent_orphans()
    machine = describe_machine()  # before the first round, which would raise the load average
    measured = []
    for figures in rounds:
        measured.append(figures)
        print(json.dumps(figures), file=sys.stderr, flush=True)
    print(json.dumps(machine))
    print(format_rounds(measured))


def format_rounds(rounds: Iterable[Figures]) -> str:
    """Format one line for each figure. A figure may be missing in some rounds."""
    values: dict[str, list[float]] = {}
    for figures in rounds:
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    spreads = {name: compute_spread(each) for name, each in values.items()}
    return "\n".join(
        f"{name:24} {found.median:12,.3f}  ({found.low:,.3f} to {found.high:,.3f})"
        for name, found in spreads.items()
        if found
    )
