"""Scores of point forecasts, quantiles and intervals.

Unless stated otherwise, arrays have the shape (N,), one element for each forecast, oldest first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.artifact.arrays import F64


def rmse(forecast: F64, outcome: F64) -> float:
    """Return the root mean squared error."""
    return float(np.sqrt(np.mean((forecast - outcome) ** 2)))


def mae(forecast: F64, outcome: F64) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(forecast - outcome)))


def loss_ratio(loss: F64 | float, baseline_loss: F64 | float) -> F64:
    """Return loss / baseline loss for each element.

    If a baseline loss is 0, the ratio is 1 if the loss is 0 too, and 2 otherwise.
    """
    loss, baseline_loss = np.asarray(loss), np.asarray(baseline_loss)
    is_positive = baseline_loss > 0
    ratio: F64 = np.where(is_positive, loss / np.where(is_positive, baseline_loss, 1.0), 1.0 + (loss > 0))
    return ratio


def skill(loss: F64, baseline_loss: F64) -> float:
    """Return 1 − mean loss / mean baseline loss.

    A skill of 1 is perfect, 0 equals the baseline, and a negative skill is worse. If the mean baseline loss is 0, the
    skill is 0 if the mean loss is 0 too, and −1 otherwise.
    """
    return 1 - float(loss_ratio(float(np.mean(loss)), float(np.mean(baseline_loss))))


def copy_ratio(forecast: F64, last: F64, outcome: F64) -> float:
    """Return MAE(forecast, last price) / MAE(outcome, last price).

    The ratio measures how far forecasts move away from the last price. It is 0 if forecasts repeat the last price, or
    if no price moves.
    """
    movement = mae(outcome, last)
    return mae(forecast, last) / movement if movement else 0.0


def correlation(a: F64, b: F64) -> float:
    """Return Pearson's correlation, or 0 if one of the two is constant."""
    spread = a.std() * b.std()
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread else 0.0


def coverage(lower: F64, upper: F64, outcome: F64) -> float:
    """Return the percentage of outcomes inside their interval, including its ends."""
    return float(100 * np.mean((lower <= outcome) & (outcome <= upper)))


def pinball(forecast: F64, outcome: F64, quantiles: Sequence[float], scale: F64 | float = 1.0) -> float:
    """Return the pinball loss averaged over forecasts and quantiles; see `pinball_losses`."""
    return float(np.mean(pinball_losses(forecast, outcome, quantiles, scale)))


def pinball_losses(forecast: F64, outcome: F64, quantiles: Sequence[float], scale: F64 | float = 1.0) -> F64:
    """Return the pinball loss of each quantile (Koenker & Bassett, 1978).

    Args:
        forecast: (N, Q) quantile forecasts.
        outcome: (N,) outcomes.
        quantiles: Q probabilities.
        scale: (N,) divisors of the losses, or one divisor for all.

    Returns:
        (N, Q) losses.
    """
    error = ((outcome - forecast.T) / scale).T  # (N, Q)
    tau: npt.NDArray[np.float64] = np.asarray(quantiles)
    losses: F64 = np.maximum(tau * error, (tau - 1) * error)
    return losses


def crps(losses: F64, quantiles: Sequence[float]) -> F64:
    """Return (N,) continuous ranked probability scores from (N, Q) pinball losses.

    The score is twice the integral of the pinball loss over all probabilities (Laio & Tamea, 2007). The trapezoidal
    rule uses the given quantiles, and a loss of 0 at the probabilities 0 and 1. If the outermost quantiles are far from
    0 and 1, the score is too small, but equally so for every forecaster with the same quantiles.
    """
    ends = np.zeros((len(losses), 1))
    padded = np.concatenate([ends, losses, ends], axis=1)  # (N, Q+2)
    score: F64 = 2 * np.trapezoid(padded, [0.0, *quantiles, 1.0], axis=1)
    return score


def winkler(lower: F64, upper: F64, outcome: F64, level: int) -> F64:
    """Return (N,) interval scores (Winkler, 1972): width + 2/α · distance of the outcome from the interval.

    The level is in percent, and α = 1 − level / 100.
    """
    distance = np.maximum(lower - outcome, 0) + np.maximum(outcome - upper, 0)
    score: F64 = upper - lower + 2 / (1 - level / 100) * distance
    return score


def pit(forecast: F64, outcome: F64) -> F64:
    """Return the histogram of the probability integral transform (Dawid, 1984).

    Returns:
        (Q+1,) percentages of outcomes below, between and above (N, Q) quantiles. An outcome equal to a quantile counts
        as above it.
    """
    bins = (outcome[:, None] >= forecast).sum(axis=1)  # (N,)
    counts = np.bincount(bins, minlength=forecast.shape[1] + 1)
    return 100 * counts / len(outcome)


def mase(mean_absolute_error: float, changes: F64) -> float | None:
    """Return the mean absolute scaled error (Hyndman & Koehler, 2006).

    Args:
        mean_absolute_error: MAE of the forecasts.
        changes: One-step price changes before the first forecast; their mean absolute value is the scale.

    Returns:
        None if there are no changes, or all are 0.
    """
    scale = float(np.mean(np.abs(changes))) if len(changes) else 0.0
    return mean_absolute_error / scale if scale else None


def rmsse(root_mean_squared_error: float, changes: F64) -> float | None:
    """Return the root mean squared scaled error (Makridakis, Spiliotis & Assimakopoulos, 2022).

    Args:
        root_mean_squared_error: RMSE of the forecasts.
        changes: One-step price changes before the first forecast; their root mean square is the scale.

    Returns:
        None if there are no changes, or all are 0.
    """
    scale = float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0
    return root_mean_squared_error / scale if scale else None
