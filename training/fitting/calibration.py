"""Calibration: the source of the median, and the offsets that give the intervals their nominal coverage."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from app.artifact.manifest import Calibration, interval_columns
from app.artifact.transform import F64, EncodedWindows, Transform
from app.inference.forecaster import Forecaster
from training.data.blocks import Samples
from training.evaluation import backtest, scoring, summary
from training.evaluation.backtest import Backtest
from training.recipe import Recipe


def identity_calibration(horizon: int, levels: Sequence[int], center: str) -> Calibration:
    """A calibration that leaves the network's intervals as they are, around the given center."""
    return Calibration.model_validate({"center": center, "offsets": [[0.0] * len(levels)] * horizon})


def conformal_offsets(quantiles: F64, targets: F64, levels: Sequence[int]) -> list[list[float]]:
    """Compute the offsets that widen each interval on both sides so that it covers its level.

    The method is conformalized quantile regression (Romano, Patterson & Candès, 2019). The offsets are in the network's
    output units, which the transform has normalized by volatility. A negative offset narrows an interval.

    Args:
        quantiles: (N, H, Q) quantile forecasts on a block that was used neither for fitting nor for model selection.
        targets: (N, H) outcomes in the same units.
        levels: Interval levels in ascending order. The outermost pair of quantiles belongs to the last level.

    Returns:
        (H, L) offsets.
    """
    n, horizon, _ = quantiles.shape
    offsets = np.empty((horizon, len(levels)))
    for i, level in enumerate(levels):
        lower, upper = (quantiles[:, :, column] for column in interval_columns(level, levels))  # (N, H)
        scores = np.sort(np.maximum(lower - targets, targets - upper), axis=0)
        rank = -(-(n + 1) * level // 100)  # ⌈(N + 1) · level⌉, in integer arithmetic
        offsets[:, i] = scores[min(rank, n) - 1]
    return [[float(offset) for offset in row] for row in offsets]


def fit_calibration(
    recipe: Recipe,
    make_forecaster: Callable[[Calibration], Forecaster],
    transform: Transform,
    validation: Sequence[Samples],
    calibration: Sequence[Samples],
) -> Calibration:
    """Choose the center on the validation block, and fit the offsets on the calibration block.

    Args:
        recipe: Recipe of the network.
        make_forecaster: Creates a forecaster of the trained network with a given calibration.
        transform: Transform of the network.
        validation: Validation block of the series that evaluate the model.
        calibration: Calibration block.
    """

    def backtests(center: str, block: Iterable[Samples]) -> list[Backtest]:
        forecaster = make_forecaster(identity_calibration(recipe.horizon, recipe.levels, center))
        return [backtest.run_backtest(forecaster, samples, recipe.quantiles, recipe.levels) for samples in block]

    center = recipe.calibration.center
    if center == "auto":
        tests = backtests("network", validation)
        scores = [row for test in tests for row in scoring.score_backtest(test, with_baselines=False)]
        center = "network" if summary.has_skill(scores) else "last_price"
    if not recipe.levels:
        return identity_calibration(recipe.horizon, recipe.levels, center)
    quantiles, targets = [], []
    for test in backtests(center, calibration):
        encoded = transform.encode(test.samples.windows)
        targets.append(transform.encode_targets(test.samples.futures, encoded))
        quantiles.append(_to_output_units(transform, test.forecasts, encoded))
    offsets = conformal_offsets(np.concatenate(quantiles), np.concatenate(targets), recipe.levels)
    return Calibration(center=center, offsets=offsets)


def _to_output_units(transform: Transform, forecasts: F64, encoded: EncodedWindows) -> F64:
    """Convert (N, H, Q) price forecasts back to the network's output units."""
    return np.stack([transform.encode_targets(forecasts[:, :, i], encoded) for i in range(forecasts.shape[2])], axis=2)
