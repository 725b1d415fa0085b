"""How much of a figure may be chance."""

from typing import Literal

import numpy as np
from arch.bootstrap import StationaryBootstrap
from scipy import stats

from app.artifact.evidence import Proportion
from app.artifact.transform import F64
from training.metrics import ratio

DRAWS = 1000  # of a bootstrap
CONFIDENCE = 0.95


def diebold_mariano(loss: F64, baseline_loss: F64, horizon: int) -> float | None:
    """One-sided p-value that the forecasts are no better than the baseline's; None where the losses are the same.

    Diebold & Mariano (1995), with a Bartlett window over `horizon` − 1 lags, the small-sample factor of Harvey,
    Leybourne & Newbold (1997), and Student's t with N − 1 degrees of freedom.

    Args:
        loss, baseline_loss: (N,) of the same outcomes.
        horizon: steps ahead; forecasts overlap by one less.
    """
    n = len(loss)
    gain = baseline_loss - loss
    variance = _long_run_variance(gain, horizon)
    if n < 2 or variance <= 1e-18 * float(np.mean(baseline_loss)) ** 2:
        return None
    factor = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = gain.mean() / np.sqrt(variance / n) * np.sqrt(max(factor, 0.0))
    return float(stats.t.sf(statistic, n - 1))


def clark_west(forecast: F64, outcome: F64, horizon: int) -> float | None:
    """One-sided p-value that the forecasts are no better than 0, which their model contains; None where they are 0.

    Clark & West (2007): a model that nests its baseline pays, where it has nothing to add, for the noise of what it
    adds, and that is given back to it: the gain is y² − (y − f)² + f². With a Bartlett window over `horizon` − 1 lags.

    Args:
        forecast, outcome: (N,) of what the baseline says is 0, such as log returns.
    """
    n = len(outcome)
    gain = outcome**2 - (outcome - forecast) ** 2 + forecast**2
    variance = _long_run_variance(gain, horizon)
    if n < 2 or variance <= 1e-18 * float(np.mean(outcome**2)) ** 2:
        return None
    return float(stats.norm.sf(gain.mean() / np.sqrt(variance / n)))


def share(hits: int, count: int, method: Literal["exact", "wilson"] = "exact") -> Proportion:
    """Percent of `count`, at least 1, with its interval: exact (Clopper & Pearson, 1934) or Wilson's (1927)."""
    interval = stats.binomtest(hits, count).proportion_ci(CONFIDENCE, method)
    return Proportion(percent=100 * hits / count, low=100 * float(interval.low), high=100 * float(interval.high))


def ratio_intervals(loss: F64, baseline_losses: F64, horizon: int) -> F64:
    """(K, 2) ends of 95% intervals of mean loss/mean loss of K baselines, by percentiles of a stationary bootstrap.

    Politis & Romano (1994), of all losses together, with blocks of a mean length of N^⅓ and at least two horizons:
    losses of overlapping forecasts, and volatility, come in clusters. Always the same draws.

    Args:
        loss: (N,)
        baseline_losses: (N, K) of the same outcomes.
    """
    n = len(loss)
    block = min(n, max(2 * horizon, round(n ** (1 / 3))))
    rows = StationaryBootstrap(block, np.arange(n), seed=1)
    counts = np.stack([np.bincount(data[0], minlength=n) for data, _ in rows.bootstrap(DRAWS)])  # (DRAWS, N)
    means = counts @ np.column_stack([loss, baseline_losses]) / n  # (DRAWS, 1 + K)
    tail = (1 - CONFIDENCE) / 2
    ends: F64 = np.quantile(ratio(means[:, :1], means[:, 1:]), [tail, 1 - tail], axis=0).T
    return ends


def _long_run_variance(values: F64, horizon: int) -> float:
    """Of (N,) values, with a Bartlett window over `horizon` − 1 lags (Newey & West, 1987)."""
    n = len(values)
    centred = values - values.mean()
    variance = float(centred @ centred) / n
    for lag in range(1, horizon):
        variance += 2 * (1 - lag / horizon) * float(centred[lag:] @ centred[:-lag]) / n
    return variance
