"""Warnings: what in a window makes its forecast less trustworthy than the evidence says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from app.artifact.manifest import Range
from app.artifact.transform import F64

Code = Literal["outside_training_range", "constant_window", "stale_tail", "likely_split"]
CODES: tuple[Code, ...] = get_args(Code)

STALE_PRICES = 5  # equal prices at the end from which it is likelier that nobody looked than that nothing moved
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100)
SPLIT_TOLERANCE = 0.03  # of the log ratio, beside two typical steps: the price moves on the day of a split too
SMALLEST_SPLIT = SPLIT_RATIOS[0] * np.exp(-2 * SPLIT_TOLERANCE)  # nothing less is taken for one
SPLIT_STEPS = 10  # typical steps that a jump must exceed; where all steps are wild, a halving is none
SIDES = np.array([-1.0, 1.0])  # what is too low is, with its sign turned, too high


@dataclass(frozen=True)
class ForecastWarning:
    """`code` is stable, `detail` is prose."""

    code: Code
    detail: str


class InputChecks:
    """Looks over windows for what their callers should know."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        """
        Args:
            ranges: what the training data had of each of R quantities.
        """
        self._ranges = ranges
        self._limits = SIDES * np.array([[each.low, each.high] for each in ranges])  # (R, 2)

    def warnings(self, windows: F64, observed: F64) -> list[Sequence[ForecastWarning]]:
        """The warnings for each of B windows (B, W), of which (B, R, 2) was observed.

        Most windows have none, and take a few comparisons here; only one that may have some is looked at closely.
        """
        found: list[Sequence[ForecastWarning]] = [()] * len(windows)
        outside = (SIDES * observed > self._limits).any(axis=(1, 2))  # (B,)
        may_be_stale = windows[:, -1] == windows[:, -STALE_PRICES]
        may_have_split = windows.max(axis=1) > SMALLEST_SPLIT * windows.min(axis=1)
        looks: list[tuple[npt.NDArray[np.bool_], Callable[[int], list[ForecastWarning]]]] = [
            (outside, lambda row: self._outside(observed[row])),
            (may_be_stale, lambda row: _stale(windows[row])),
            (may_have_split, lambda row: _split(windows[row])),
        ]
        for rows, look in looks:
            for row in rows.nonzero()[0].tolist():
                found[row] = [*found[row], *look(row)]
        return found

    def _outside(self, observed: F64) -> list[ForecastWarning]:
        """One window's (R, 2) against the ranges."""
        warnings = []
        for (low, high), trained in zip(observed.tolist(), self._ranges, strict=True):
            sides = []
            if low < trained.low:
                sides.append(f"{low:.6g} is below {trained.low:.6g}, the lowest")
            if high > trained.high:
                sides.append(f"{high:.6g} is above {trained.high:.6g}, the highest")
            if sides:
                detail = f"{trained.quantity} of the window: {' and '.join(sides)} in the training data"
                warnings.append(ForecastWarning("outside_training_range", detail))
        return warnings


def _stale(window: F64) -> list[ForecastWarning]:
    """Of equal prices at the end of a window (W,)."""
    moves = np.flatnonzero(window != window[-1])
    if not len(moves):
        return [ForecastWarning("constant_window", f"all {len(window)} prices are equal: how far may they move?")]
    equal = len(window) - 1 - int(moves[-1])
    if equal < STALE_PRICES:
        return []
    return [ForecastWarning("stale_tail", f"the last {equal} prices are equal: is the source still alive?")]


def _split(window: F64) -> list[ForecastWarning]:
    """Of jumps by a simple ratio within a window (W,)."""
    if not (window > 0).all():
        return []
    steps = np.diff(np.log(window))  # (W-1,)
    sizes = np.abs(steps)
    typical = float(np.median(sizes))
    warnings = []
    for at in np.flatnonzero((sizes > SPLIT_STEPS * typical) & (sizes > np.log(SMALLEST_SPLIT))).tolist():
        off = np.abs(np.log(SPLIT_RATIOS) - sizes[at])  # (ratios,)
        if off.min() <= SPLIT_TOLERANCE + 2 * typical:
            ratio = f"{SPLIT_RATIOS[int(off.argmin())]:g}"
            ratio = f"{ratio}:1" if steps[at] < 0 else f"1:{ratio}"
            ago = len(window) - 2 - at
            when = "the last price" if not ago else f"the price {ago} before the last one"
            detail = (
                f"{when} is {np.exp(steps[at]):.3g} times the one before it; after a {ratio} split, adjust those before"
            )
            warnings.append(ForecastWarning("likely_split", detail))
    return warnings
