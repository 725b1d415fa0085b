"""Calibration: where the median comes from, and how much the intervals must widen to hold what they promise."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from app.artifact.manifest import Calibration, columns_of
from app.artifact.transform import F64, Encoded, Transform
from app.inference.forecaster import Forecaster
from training.data.blocks import Samples
from training.evaluation import backtest, scoring, summary
from training.evaluation.backtest import Backtest
from training.recipe import Recipe


def uncalibrated(horizon: int, levels: Sequence[int], center: str) -> Calibration:
    """The network's quantiles as they are, around its own median or around the last price."""
    return Calibration.model_validate({"center": center, "offsets": [[0.0] * len(levels)] * horizon})


def conformal_offsets(quantiles: F64, targets: F64, levels: Sequence[int]) -> list[list[float]]:
    """What to add outside each interval so that it covers its level: (H, L), negative where it is too wide.

    Conformalized quantile regression (Romano, Patterson & Candès, 2019), in the network's output units, which the
    transform has normalised by volatility already.

    Args:
        quantiles: (N, H, Q) of the network, on a block that it was neither fitted nor chosen on.
        targets: (N, H) outcomes in the same units.
        levels: rising; the outermost pair of quantiles belongs to the last.
    """
    n, horizon, _ = quantiles.shape
    offsets = np.empty((horizon, len(levels)))
    for i, level in enumerate(levels):
        lower, upper = (quantiles[:, :, column] for column in columns_of(level, levels))  # (N, H)
        outside = np.sort(np.maximum(lower - targets, targets - upper), axis=0)
        rank = -(-(n + 1) * level // 100)  # ⌈(N + 1) · level⌉, in whole numbers
        offsets[:, i] = outside[min(rank, n) - 1]
    return [[float(offset) for offset in row] for row in offsets]


def measure_calibration(
    recipe: Recipe,
    forecaster: Callable[[Calibration], Forecaster],
    transform: Transform,
    validation: Sequence[Samples],
    block: Sequence[Samples],
) -> Calibration:
    """Chooses the center on the validation block of what judges, and measures the offsets on the calibration block.

    Args:
        forecaster: the network under a calibration.
    """

    def backtests(center: str, block: Iterable[Samples]) -> list[Backtest]:
        plain = forecaster(uncalibrated(recipe.horizon, recipe.levels, center))
        return [backtest.run_backtest(plain, samples, recipe.quantiles, recipe.levels) for samples in block]

    center = recipe.calibration.center
    if center == "auto":
        tests = backtests("network", validation)
        scores = [row for test in tests for row in scoring.score_backtest(test, with_baselines=False)]
        center = "network" if summary.has_skill(scores) else "last_price"
    if not recipe.levels:
        return uncalibrated(recipe.horizon, recipe.levels, center)
    quantiles, targets = [], []
    for test in backtests(center, block):
        encoded = transform.encode(test.samples.windows)
        targets.append(transform.targets(test.samples.futures, encoded))
        quantiles.append(_in_output_units(transform, test.forecasts, encoded))
    offsets = conformal_offsets(np.concatenate(quantiles), np.concatenate(targets), recipe.levels)
    return Calibration(center=center, offsets=offsets)


def _in_output_units(transform: Transform, forecasts: F64, encoded: Encoded) -> F64:
    """(N, H, Q) prices as the network would have said them."""
    return np.stack([transform.targets(forecasts[:, :, i], encoded) for i in range(forecasts.shape[2])], axis=2)
