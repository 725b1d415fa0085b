"""Measurements of all rounds of a run, with their medians, ranges and ratios."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

FigureKey = tuple[str, str, str]  # server, scenario, figure


class MeasurementFailed(Exception):
    """A server cannot be measured. The message is reported as the reason."""


@dataclass(frozen=True)
class Measurement:
    """The figures of one server in one scenario of one round, or the reason why there are none."""

    round: int
    server: str
    scenario: str
    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class Spread:
    """Median and range of a figure over several rounds."""

    median: float
    low: float
    high: float


class Measurements:
    """All measurements of a run. Failed measurements are listed in `failures` and are excluded from medians."""

    def __init__(self, measurements: Iterable[Measurement] = ()) -> None:
        self.all = list(measurements)

    def by_round(self, server: str, scenario: str, figure: str) -> dict[int, float]:
        """Return the figure of each round that measured it, by round number."""
        return {
            each.round: each.figures[figure]
            for each in self.all
            if (each.server, each.scenario) == (server, scenario) and each.failure is None and figure in each.figures
        }

    def spread(self, server: str, scenario: str, figure: str) -> Spread | None:
        """Return the spread of a figure over the rounds, or None if no round measured it."""
        return compute_spread(self.by_round(server, scenario, figure).values())

    def combine(self, function: Callable[..., float], *keys: FigureKey) -> Spread | None:
        """Apply a function to figures of the same round, and return the spread of its results.

        Only rounds that measured all figures count. Figures of one round were measured within minutes, so a machine
        that slows down between rounds affects all arguments of the function alike.

        Args:
            function: Called with one figure for each key.
            keys: Figures to combine.
        """
        by_round = [self.by_round(*key) for key in keys]
        common = set.intersection(*(set(each) for each in by_round)) if by_round else set()
        return compute_spread(function(*(each[number] for each in by_round)) for number in sorted(common))

    def ratio(self, numerator: FigureKey, denominator: FigureKey) -> Spread | None:
        """Return the spread of the ratio of two figures, taken within each round."""
        return self.combine(lambda above, below: above / below, numerator, denominator)

    def best(self, candidates: Iterable[FigureKey], *, is_lower_better: bool = False) -> FigureKey | None:
        """Return the candidate with the best median, or None if none was measured."""
        medians = {key: found.median for key in candidates if (found := self.spread(*key))}
        if not medians:
            return None
        return (min if is_lower_better else max)(medians, key=lambda key: medians[key])

    @property
    def failures(self) -> list[Measurement]:
        """Measurements that failed."""
        return [each for each in self.all if each.failure is not None]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the measurements as result files store them: there, a server is a subject and a scenario is a cell."""
        return [
            {
                "round": each.round,
                "subject": each.server,
                "cell": each.scenario,
                "figures": each.figures,
                "failure": each.failure,
            }
            for each in self.all
        ]

    @classmethod
    def from_json(cls, raw: Iterable[dict[str, Any]]) -> "Measurements":
        """Read measurements as `to_json` returns them."""
        return cls(
            Measurement(each["round"], each["subject"], each["cell"], each["figures"], each["failure"]) for each in raw
        )


def compute_spread(values: Iterable[float]) -> Spread | None:
    """Return the median and range of some values, or None if there are none."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found)) if found else None
