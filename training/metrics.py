"""Figures by which forecasts are judged. Arrays of N forecasts, oldest first."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from app.artifact.transform import F64


def rmse(forecast: F64, outcome: F64) -> float:
    return float(np.sqrt(np.mean((forecast - outcome) ** 2)))


def mae(forecast: F64, outcome: F64) -> float:
    return float(np.mean(np.abs(forecast - outcome)))


def skill(loss: F64, baseline_loss: F64) -> float:
    """1 − loss/baseline loss: 0 is no better than the baseline, 1 perfect, below 0 worse.

    Against a baseline without any loss nothing can be better: 0 without loss either, −1 with.
    """
    ours, theirs = float(np.mean(loss)), float(np.mean(baseline_loss))
    return 1 - ours / theirs if theirs else -float(ours > 0)


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
    centred = gain - gain.mean()
    variance = float(centred @ centred) / n
    for lag in range(1, horizon):
        variance += 2 * (1 - lag / horizon) * float(centred[lag:] @ centred[:-lag]) / n
    if n < 2 or variance <= 1e-18 * float(np.mean(baseline_loss)) ** 2:
        return None
    factor = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = gain.mean() / np.sqrt(variance / n) * np.sqrt(max(factor, 0.0))
    return float(stats.t.sf(statistic, n - 1))


def copy_ratio(forecast: F64, last: F64, outcome: F64) -> float:
    """MAE(forecast, last price)/MAE(next price, last price): how far the forecasts go from it.

    0 where no price moves.
    """
    moved = mae(outcome, last)
    return mae(forecast, last) / moved if moved else 0.0


def correlation(a: F64, b: F64) -> float:
    """Pearson's; 0 where one of them does not vary."""
    spread = a.std() * b.std()
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread else 0.0


def coverage(lower: F64, upper: F64, outcome: F64) -> float:
    """Percent of outcomes inside."""
    return float(100 * np.mean((lower <= outcome) & (outcome <= upper)))


def pinball(forecast: F64, outcome: F64, quantiles: Sequence[float], scale: F64 | float = 1.0) -> float:
    """Mean pinball loss (Koenker & Bassett, 1978) of (N, Q) quantiles against (N,) outcomes, over `scale`."""
    error = (outcome - forecast.T) / scale  # (Q, N)
    tau: npt.NDArray[np.float64] = np.asarray(quantiles)[:, None]
    return float(np.mean(np.maximum(tau * error, (tau - 1) * error)))
