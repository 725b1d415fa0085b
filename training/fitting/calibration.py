"""Calibrates forecasts: chooses the median's source, and fits the offsets that give intervals their coverage."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from app.artifact.arrays import F64
from app.artifact.manifest import Calibration, interval_columns
from app.artifact.transform import EncodedWindows, Transform
from app.inference.forecaster import Forecaster
from training.data.split import Samples
from training.evaluation import backtest, scoring, summary
from training.evaluation.backtest import Backtest
from training.recipe import Recipe


def identity_calibration(horizon: int, levels: Sequence[int], center: str) -> Calibration:
    """Return a calibration with the given center that does not change the width of the intervals."""
    return Calibration.model_validate({"center": center, "offsets": [[0.0] * len(levels)] * horizon})


def conformal_offsets(quantiles: F64, targets: F64, levels: Sequence[int]) -> list[list[float]]:
    """Compute the offsets that widen each interval on both sides so that its coverage reaches its level.

    The method is conformalized quantile regression (Romano, Patterson & Candès, 2019). Offsets are in the network's
    output units. A negative offset narrows an interval.

    Args:
        quantiles: (N, H, Q) quantile forecasts, in output units, on a block that was used neither for fitting nor for
            model selection.
        targets: (N, H) outcomes, in output units.
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
        make_forecaster: Creates a forecaster from the trained network and a calibration.
        transform: Transform of the network.
        validation: Validation block of the series that the model is evaluated on.
        calibration: Calibration block, including simulated paths.
    """

    def run_backtests(center: str, block: Iterable[Samples]) -> list[Backtest]:
        forecaster = make_forecaster(identity_calibration(recipe.horizon, recipe.levels, center))
        return [backtest.run_backtest(forecaster, samples, recipe.quantiles, recipe.levels) for samples in block]

    center = recipe.calibration.center
    if center == "auto":
        validated = run_backtests("network", validation)
        scores = [score for each in validated for score in scoring.score_backtest(each, with_baselines=False)]
        center = "network" if summary.has_skill(scores) else "last_price"
    if not recipe.levels:
        return identity_calibration(recipe.horizon, recipe.levels, center)
    quantiles, targets = [], []
    for each in run_backtests(center, calibration):
        encoded = transform.encode(each.samples.windows)
        targets.append(transform.encode_targets(each.samples.futures, encoded))
        quantiles.append(_to_output_units(transform, each.forecasts, encoded))
    offsets = conformal_offsets(np.concatenate(quantiles), np.concatenate(targets), recipe.levels)
    return Calibration(center=center, offsets=offsets)


def _to_output_units(transform: Transform, forecasts: F64, encoded: EncodedWindows) -> F64:
    """Convert (N, H, Q) price forecasts back to the network's output units."""
    return np.stack([transform.encode_targets(forecasts[:, :, i], encoded) for i in range(forecasts.shape[2])], axis=2)
