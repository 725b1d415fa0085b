"""GARCH: the interval baseline that is fitted to the very series it forecasts."""

from collections.abc import Sequence

import numpy as np
from arch import arch_model
from arch.univariate.base import ARCHModel
from scipy import stats

from app.artifact.transform import F64

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

PERCENT = 100  # returns in percent, which the optimizer likes


class Garch:
    """GARCH(1, 1) with Student's t (Bollerslev, 1987) of zero mean, fitted to the first prices of a series.

    Its parameters are then fixed, and its variance is filtered over the whole series. The variance of h steps is the
    sum of the h variances expected; the shape of the one-step distribution is kept for their sum, which is a little
    too heavy in the tails where h is large.
    """

    def __init__(self, prices: F64, fitted_on: int) -> None:
        """
        Args:
            prices: (N,) of the whole series, positive.
            fitted_on: how many of them, the first, the parameters are fitted on.
        """
        returns = PERCENT * np.diff(np.log(prices))  # (N-1,)
        fitted = _model(returns[: fitted_on - 1]).fit(disp="off", show_warning=False)
        self._omega, self._alpha, self._beta, self._freedom = fitted.params.to_numpy()
        now = _model(returns).fix(fitted.params).conditional_volatility ** 2
        self._next = self._omega + self._alpha * returns**2 + self._beta * now  # (N-1,) variance of the return after

    def deviations(self, origins: Rows, horizon: int) -> F64:
        """(M, H) standard deviations of the log return over each horizon, after (M,) rows of the series."""
        expected = [self._next[origins - 1]]
        for _ in range(horizon - 1):
            expected.append(self._omega + (self._alpha + self._beta) * expected[-1])
        deviation: F64 = np.sqrt(np.cumsum(np.stack(expected, axis=1), axis=1)) / PERCENT
        return deviation

    def forecast(self, windows: F64, origins: Rows, horizon: int, quantiles: Sequence[float]) -> F64:
        """(M, W) windows, whose last prices stand in (M,) rows of the series, to (M, H, Q) prices."""
        unit = stats.t.ppf(quantiles, self._freedom) * np.sqrt(1 - 2 / self._freedom)  # (Q,) of variance 1
        spread = self.deviations(origins, horizon)[:, :, None] * unit
        prices: F64 = windows[:, -1, None, None] * np.exp(spread)
        return prices


def _model(returns: F64) -> ARCHModel:
    return arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
