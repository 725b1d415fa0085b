"""What was measured, round by round, and the medians, spreads and ratios of it."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

Series = tuple[str, str, str]  # a subject, a cell, a figure


@dataclass(frozen=True)
class Measurement:
    """Figures of one subject in one cell of one round; or why there are none."""

    round: int
    subject: str
    cell: str
    figures: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and the least and the greatest of them."""

    median: float
    low: float
    high: float


class Measurements:
    """All measurements of a run. Rounds that failed are in no median, and are told by `failures`."""

    def __init__(self, measurements: Iterable[Measurement] = ()) -> None:
        self.all = list(measurements)

    def rounds(self, subject: str, cell: str, figure: str) -> dict[int, float]:
        """The figure in each round that has it."""
        return {
            each.round: each.figures[figure]
            for each in self.all
            if (each.subject, each.cell) == (subject, cell) and each.failure is None and figure in each.figures
        }

    def spread(self, subject: str, cell: str, figure: str) -> Spread | None:
        return spread(self.rounds(subject, cell, figure).values())

    def combined(self, of: Callable[..., float], *series: Series) -> Spread | None:
        """`of` the figures of each round, and the spread of that over the rounds which have them all.

        What is compared was measured within minutes, so that a machine that gets slower in between takes part of
        neither side.
        """
        by_round = [self.rounds(*each) for each in series]
        common = set.intersection(*(set(each) for each in by_round)) if by_round else set()
        return spread(of(*(each[round_] for each in by_round)) for round_ in sorted(common))

    def ratio(self, numerator: Series, denominator: Series) -> Spread | None:
        return self.combined(lambda above, below: above / below, numerator, denominator)

    def best(self, candidates: Iterable[Series], *, least: bool = False) -> Series | None:
        """The candidate with the greatest (or least) median."""
        medians = {series: found.median for series in candidates if (found := self.spread(*series))}
        if not medians:
            return None
        return (min if least else max)(medians, key=lambda series: medians[series])

    @property
    def failures(self) -> list[Measurement]:
        return [each for each in self.all if each.failure is not None]

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.all]

    @classmethod
    def of_json(cls, raw: Iterable[dict[str, Any]]) -> "Measurements":
        return cls(Measurement(**each) for each in raw)


def spread(values: Iterable[float]) -> Spread | None:
    """None of no values."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found)) if found else None
