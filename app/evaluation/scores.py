"""Figures by which forecasts are judged. Arrays of N forecasts, oldest first."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.artifact.transform import F64


def rmse(forecast: F64, outcome: F64) -> float:
    return float(np.sqrt(np.mean((forecast - outcome) ** 2)))


def mae(forecast: F64, outcome: F64) -> float:
    return float(np.mean(np.abs(forecast - outcome)))


def ratio(loss: F64 | float, baseline_loss: F64 | float) -> F64:
    """Of losses, elementwise; against a baseline without any, 1 without loss either and 2 with."""
    loss, baseline_loss = np.asarray(loss), np.asarray(baseline_loss)
    any_loss = baseline_loss > 0
    found: F64 = np.where(any_loss, loss / np.where(any_loss, baseline_loss, 1.0), 1.0 + (loss > 0))
    return found


def skill(loss: F64, baseline_loss: F64) -> float:
    """1 − loss/baseline loss: 0 is no better than the baseline, 1 perfect, below 0 worse.

    Against a baseline without any loss nothing can be better: 0 without loss either, −1 with.
    """
    return 1 - float(ratio(float(np.mean(loss)), float(np.mean(baseline_loss))))


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
    """Mean pinball loss of (N, Q) quantiles against (N,) outcomes, over `scale`."""
    return float(np.mean(pinball_losses(forecast, outcome, quantiles, scale)))


def pinball_losses(forecast: F64, outcome: F64, quantiles: Sequence[float], scale: F64 | float = 1.0) -> F64:
    """(N, Q) pinball losses (Koenker & Bassett, 1978) of (N, Q) quantiles against (N,) outcomes, over `scale`."""
    error = ((outcome - forecast.T) / scale).T  # (N, Q)
    tau: npt.NDArray[np.float64] = np.asarray(quantiles)
    losses: F64 = np.maximum(tau * error, (tau - 1) * error)
    return losses


def crps(losses: F64, quantiles: Sequence[float]) -> F64:
    """(N,) continuous ranked probability scores from (N, Q) pinball losses.

    The score is twice the integral of the pinball loss over all probabilities (Laio & Tamea, 2007); here by the
    trapezoidal rule, over the quantiles there are and the ends, where the loss is 0. Quantiles that do not reach far
    out give a score that is too small, for each of two forecasters alike.
    """
    ends = np.zeros((len(losses), 1))
    whole = np.concatenate([ends, losses, ends], axis=1)  # (N, Q+2)
    score: F64 = 2 * np.trapezoid(whole, [0.0, *quantiles, 1.0], axis=1)
    return score


def winkler(lower: F64, upper: F64, outcome: F64, level: int) -> F64:
    """(N,) interval scores (Winkler, 1972): the width, and what lies outside of it times 2/α."""
    outside = np.maximum(lower - outcome, 0) + np.maximum(outcome - upper, 0)
    score: F64 = upper - lower + 2 / (1 - level / 100) * outside
    return score


def pit(forecast: F64, outcome: F64) -> F64:
    """(Q+1,) percent of outcomes below, between and above (N, Q) quantiles (Dawid, 1984); on one it is above it."""
    above = (outcome[:, None] >= forecast).sum(axis=1)  # (N,)
    counts = np.bincount(above, minlength=forecast.shape[1] + 1)
    return 100 * counts / len(outcome)


def scaled(error: float, changes: F64) -> float | None:
    """A mean absolute error over that of repeating the last price before: MASE (Hyndman & Koehler, 2006).

    Args:
        changes: one-step changes before the first forecast; None where there are none.
    """
    usual = float(np.mean(np.abs(changes))) if len(changes) else 0.0
    return error / usual if usual else None


def root_scaled(error: float, changes: F64) -> float | None:
    """The same of root mean squares: RMSSE (Makridakis, Spiliotis & Assimakopoulos, 2022)."""
    usual = float(np.sqrt(np.mean(changes**2))) if len(changes) else 0.0
    return error / usual if usual else None
