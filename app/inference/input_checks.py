"""Input checks: find what makes a window's forecast less reliable than the evidence suggests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from app.artifact.arrays import F64
from app.artifact.manifest import TrainingRange

WarningCode = Literal["outside_training_range", "constant_window", "stale_tail", "likely_split"]
WARNING_CODES: tuple[WarningCode, ...] = get_args(WarningCode)

STALE_PRICES = 5  # after this many equal prices, a stalled data source is more likely than a market that did not move
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100)
SPLIT_TOLERANCE = 0.03  # in log ratio, in addition to two typical steps: the price also moves on the day of a split
SMALLEST_SPLIT = SPLIT_RATIOS[0] * np.exp(-2 * SPLIT_TOLERANCE)  # smallest price ratio that is checked for a split
SPLIT_STEPS = 10  # a split must exceed this many typical steps; in a very volatile window a halved price is no split
_SIGNS = np.array([-1.0, 1.0])  # for (low, high) pairs: once negated, a value that is too low exceeds its limit


@dataclass(frozen=True)
class ForecastWarning:
    """A warning about one window. `code` is stable; the wording of `detail` may change."""

    code: WarningCode
    detail: str


class InputChecks:
    """Checks windows against the training ranges, and for stale prices and splits."""

    def __init__(self, training_ranges: Sequence[TrainingRange]) -> None:
        """Precompute the limits.

        Args:
            training_ranges: The range of each of R quantities in the training data.
        """
        self._training_ranges = training_ranges
        self._signed_limits = _SIGNS * np.array([[each.low, each.high] for each in training_ranges])  # (R, 2)

    def find_warnings(self, windows: F64, observed_ranges: F64) -> list[Sequence[ForecastWarning]]:
        """Return the warnings for each of B windows.

        A few vectorized comparisons clear most windows. Only the others are examined one by one.

        Args:
            windows: (B, W) prices.
            observed_ranges: (B, R, 2) lowest and highest value of each quantity, from `EncodedWindows`.
        """
        found: list[Sequence[ForecastWarning]] = [()] * len(windows)
        is_outside = (_SIGNS * observed_ranges > self._signed_limits).any(axis=(1, 2))  # (B,)
        may_be_stale = windows[:, -1] == windows[:, -STALE_PRICES]
        may_have_split = windows.max(axis=1) > SMALLEST_SPLIT * windows.min(axis=1)
        checks: list[tuple[npt.NDArray[np.bool_], Callable[[int], list[ForecastWarning]]]] = [
            (is_outside, lambda row: self._check_ranges(observed_ranges[row])),
            (may_be_stale, lambda row: _check_stale(windows[row])),
            (may_have_split, lambda row: _check_splits(windows[row])),
        ]
        for candidates, check in checks:
            for row in candidates.nonzero()[0].tolist():
                found[row] = [*found[row], *check(row)]
        return found

    def _check_ranges(self, observed: F64) -> list[ForecastWarning]:
        """Compare one window's (R, 2) observed ranges with the training ranges."""
        warnings = []
        for (low, high), trained in zip(observed.tolist(), self._training_ranges, strict=True):
            excesses = []
            if low < trained.low:
                excesses.append(f"{low:.6g} is below the minimum of {trained.low:.6g}")
            if high > trained.high:
                excesses.append(f"{high:.6g} is above the maximum of {trained.high:.6g}")
            if excesses:
                detail = f"the window's {trained.quantity} is outside the training range: {' and '.join(excesses)}"
                warnings.append(ForecastWarning("outside_training_range", detail))
        return warnings


def _check_stale(window: F64) -> list[ForecastWarning]:
    """Check a window (W,) for equal prices at its end."""
    different = np.flatnonzero(window != window[-1])
    if not len(different):
        detail = f"all {len(window)} prices are equal, so their volatility is unknown"
        return [ForecastWarning("constant_window", detail)]
    equal = len(window) - 1 - int(different[-1])
    if equal < STALE_PRICES:
        return []
    return [ForecastWarning("stale_tail", f"the last {equal} prices are equal; check that the source still updates")]


def _check_splits(window: F64) -> list[ForecastWarning]:
    """Check a window (W,) for jumps by a ratio that is usual for stock splits."""
    if not (window > 0).all():
        return []
    steps = np.diff(np.log(window))  # (W-1,)
    sizes = np.abs(steps)
    typical = float(np.median(sizes))
    warnings = []
    for step in np.flatnonzero((sizes > SPLIT_STEPS * typical) & (sizes > np.log(SMALLEST_SPLIT))).tolist():
        distances = np.abs(np.log(SPLIT_RATIOS) - sizes[step])  # (ratios,)
        if distances.min() <= SPLIT_TOLERANCE + 2 * typical:
            ratio = f"{SPLIT_RATIOS[int(distances.argmin())]:g}"
            ratio = f"{ratio}:1" if steps[step] < 0 else f"1:{ratio}"
            steps_ago = len(window) - 2 - step
            distance = f"{steps_ago} step{'s' if steps_ago > 1 else ''}"
            price = f"the price {distance} before the last" if steps_ago else "the last price"
            detail = (
                f"{price} is {np.exp(steps[step]):.3g} times the previous price; "
                f"if this is a {ratio} split, adjust all earlier prices"
            )
            warnings.append(ForecastWarning("likely_split", detail))
    return warnings
