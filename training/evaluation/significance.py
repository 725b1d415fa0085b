"""Significance tests and confidence intervals for the comparison of two forecasters."""

import numpy as np
from arch.bootstrap import StationaryBootstrap
from scipy import stats

from app.artifact.arrays import F64
from app.evaluation.binomial import CONFIDENCE
from app.evaluation.scores import loss_ratio

BOOTSTRAP_DRAWS = 1000


def diebold_mariano(loss: F64, baseline_loss: F64, horizon: int) -> float | None:
    """Test the null hypothesis that the forecasts are no better than the baseline's.

    The test of Diebold & Mariano (1995) uses a Bartlett window over `horizon` − 1 lags, the small-sample correction of
    Harvey, Leybourne & Newbold (1997), and Student's t distribution with N − 1 degrees of freedom.

    Args:
        loss: (N,) losses of the forecasts.
        baseline_loss: (N,) losses of the baseline for the same outcomes.
        horizon: Number of steps ahead. Consecutive forecasts overlap by `horizon` − 1 steps.

    Returns:
        The one-sided p-value, or None if the losses are equal.
    """
    n = len(loss)
    gain = baseline_loss - loss
    variance = _long_run_variance(gain, horizon)
    if n < 2 or variance <= 1e-18 * float(np.mean(baseline_loss)) ** 2:
        return None
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = gain.mean() / np.sqrt(variance / n) * np.sqrt(max(correction, 0.0))
    return float(stats.t.sf(statistic, n - 1))


def clark_west(forecast: F64, outcome: F64, horizon: int) -> float | None:
    """Test the null hypothesis that the forecasts are no better than forecasting 0, which their model nests.

    If a model nests its baseline and has nothing to add, the estimation noise of its extra parameters still raises its
    loss. The test of Clark & West (2007) corrects for this: the gain is y² − (y − f)² + f². Its variance uses a
    Bartlett window over `horizon` − 1 lags.

    Args:
        forecast: (N,) forecasts of a quantity that the baseline forecasts to be 0, such as a log return.
        outcome: (N,) outcomes.
        horizon: Number of steps ahead.

    Returns:
        The one-sided p-value, or None if all forecasts are 0.
    """
    n = len(outcome)
    gain = outcome**2 - (outcome - forecast) ** 2 + forecast**2
    variance = _long_run_variance(gain, horizon)
    if n < 2 or variance <= 1e-18 * float(np.mean(outcome**2)) ** 2:
        return None
    return float(stats.norm.sf(gain.mean() / np.sqrt(variance / n)))


def bootstrap_ratio_intervals(loss: F64, baseline_losses: F64, horizon: int) -> F64:
    """Estimate 95% confidence intervals of mean loss / mean baseline loss, for K baselines.

    The ends are percentiles of a stationary bootstrap (Politis & Romano, 1994) that resamples all losses together.
    Overlapping forecasts and clustered volatility make losses autocorrelated, so the mean block length is N^⅓, but at
    least two horizons. The seed is fixed.

    Args:
        loss: (N,) losses of the forecasts.
        baseline_losses: (N, K) losses of the baselines for the same outcomes.
        horizon: Number of steps ahead.

    Returns:
        (K, 2) lower and upper ends.
    """
    n = len(loss)
    block_length = min(n, max(2 * horizon, round(n ** (1 / 3))))
    bootstrap = StationaryBootstrap(block_length, np.arange(n), seed=1)
    draws = bootstrap.bootstrap(BOOTSTRAP_DRAWS)
    counts = np.stack([np.bincount(data[0], minlength=n) for data, _ in draws])  # (DRAWS, N)
    means = counts @ np.column_stack([loss, baseline_losses]) / n  # (DRAWS, 1 + K)
    tail = (1 - CONFIDENCE) / 2
    ends: F64 = np.quantile(loss_ratio(means[:, :1], means[:, 1:]), [tail, 1 - tail], axis=0).T
    return ends


def _long_run_variance(values: F64, horizon: int) -> float:
    """Return the long-run variance of (N,) values, with a Bartlett window over `horizon` − 1 lags.

    The estimator is from Newey & West (1987).
    """
    n = len(values)
    centered = values - values.mean()
    variance = float(centered @ centered) / n
    for lag in range(1, horizon):
        variance += 2 * (1 - lag / horizon) * float(centered[lag:] @ centered[:-lag]) / n
    return variance
