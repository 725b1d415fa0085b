"""Baselines that are fitted to prices: drift, AR(1), ridge regression and GARCH."""

from collections.abc import Callable, Sequence

import numpy as np
from arch import arch_model
from arch.univariate.base import ARCHModel
from scipy import stats
from sklearn.linear_model import RidgeCV

from app.artifact.arrays import F64
from app.evaluation import baselines

GARCH = "GARCH-t"  # name of this baseline in the evidence
RIDGE_PENALTIES = np.logspace(0, 6, 13)  # suitable for inputs with a variance of about 1
PERCENT = 100  # GARCH is fitted to returns in percent, because the optimizer then converges better

PointForecast = Callable[[F64, int], F64]  # forecasts (N, H) prices from (N, W) windows and H
Origins = np.ndarray[tuple[int], np.dtype[np.int64]]


def fit_drift(windows: F64, futures: F64) -> PointForecast:
    """Fit a random walk with drift, which adds the mean log return at every step.

    Args:
        windows: (N, W) prices.
        futures: (N, H) prices that followed each window.
    """
    mean = float(np.mean(np.log(futures[:, 0] / windows[:, -1])))
    return lambda new_windows, horizon: new_windows[:, -1:] * np.exp(mean * np.arange(1, horizon + 1))


def fit_ar1(windows: F64, futures: F64) -> PointForecast:
    """Fit a first-order autoregression of log returns by least squares.

    Args:
        windows: (N, W) prices.
        futures: (N, H) prices that followed each window.
    """
    before = np.log(windows[:, -1] / windows[:, -2])
    after = np.log(futures[:, 0] / windows[:, -1])
    slope = float(np.cov(before, after)[0, 1] / before.var(ddof=1)) if before.std() else 0.0
    intercept = float(after.mean() - slope * before.mean())

    def forecast(new_windows: F64, horizon: int) -> F64:
        returns = [np.log(new_windows[:, -1] / new_windows[:, -2])]
        for _ in range(horizon):
            returns.append(intercept + slope * returns[-1])
        prices: F64 = new_windows[:, -1:] * np.exp(np.cumsum(np.stack(returns[1:], axis=1), axis=1))
        return prices

    return forecast


def fit_ridge(windows: F64, futures: F64, horizons: Sequence[int]) -> PointForecast:
    """Fit a ridge regression (Hoerl & Kennard, 1970) of the log return over each horizon on the window's log returns.

    Inputs and outputs are divided by the window's volatility, as for a network. Generalized cross-validation (Golub,
    Heath & Wahba, 1979) on the same data chooses the penalty.

    Args:
        windows: (N, W) prices.
        futures: (N, H) prices that followed each window.
        horizons: The horizons to fit. At other horizons, the forecast repeats the last price.
    """
    inputs, scale = _standardized_returns(windows)  # (N, W-1), (N, 1)
    models = {
        h: RidgeCV(RIDGE_PENALTIES).fit(inputs, np.log(futures[:, h - 1] / windows[:, -1]) / scale[:, 0])
        for h in horizons
    }

    def forecast(new_windows: F64, horizon: int) -> F64:
        inputs, scale = _standardized_returns(new_windows)
        returns = np.zeros((len(new_windows), horizon))
        for h, model in models.items():
            returns[:, h - 1] = model.predict(inputs) * scale[:, 0]
        prices: F64 = new_windows[:, -1:] * np.exp(returns)
        return prices

    return forecast


def _standardized_returns(windows: F64) -> tuple[F64, F64]:
    """Return (N, W-1) log returns divided by the window's volatility, and the (N, 1) divisors.

    The divisor is 1 if the volatility is 0.
    """
    volatility = baselines.ewma_volatility(windows)[:, None]
    scale = np.where(volatility > 0, volatility, 1.0)
    return np.diff(np.log(windows), axis=1) / scale, scale


class Garch:
    """A zero-mean GARCH(1, 1) with Student's t distribution (Bollerslev, 1987), fitted to the start of a series.

    The fitted parameters are then held fixed, and the variance is filtered over the whole series. The variance of the
    return over h steps is the sum of the h expected variances. The distribution of this return has the shape of the
    one-step distribution, so its tails are slightly too heavy at long horizons.
    """

    def __init__(self, prices: F64, fitted_rows: int) -> None:
        """Fit the model.

        Args:
            prices: (N,) positive prices of the whole series.
            fitted_rows: Number of prices at the start of the series that the parameters are fitted to.
        """
        returns = PERCENT * np.diff(np.log(prices))  # (N-1,)
        fitted = _garch_model(returns[: fitted_rows - 1]).fit(disp="off", show_warning=False)
        self._omega, self._alpha, self._beta, self._degrees_of_freedom = fitted.params.to_numpy()
        variance = _garch_model(returns).fix(fitted.params).conditional_volatility ** 2
        self._next_variance = self._omega + self._alpha * returns**2 + self._beta * variance  # (N-1,) after each return

    def standard_deviations(self, origins: Origins, horizon: int) -> F64:
        """Return the (M, H) standard deviations of the log return over each horizon.

        Args:
            origins: (M,) rows of the last known prices.
            horizon: Number of steps ahead.
        """
        variances = [self._next_variance[origins - 1]]
        for _ in range(horizon - 1):
            variances.append(self._omega + (self._alpha + self._beta) * variances[-1])
        deviations: F64 = np.sqrt(np.cumsum(np.stack(variances, axis=1), axis=1)) / PERCENT
        return deviations

    def forecast(self, windows: F64, origins: Origins, horizon: int, quantiles: Sequence[float]) -> F64:
        """Forecast (M, H, Q) prices.

        Args:
            windows: (M, W) windows of the series.
            origins: (M,) rows of the last prices of the windows.
            horizon: Number of steps ahead.
            quantiles: Q probabilities.
        """
        freedom = self._degrees_of_freedom
        unit_quantiles = stats.t.ppf(quantiles, freedom) * np.sqrt(1 - 2 / freedom)  # (Q,), scaled to a variance of 1
        spread = self.standard_deviations(origins, horizon)[:, :, None] * unit_quantiles
        prices: F64 = windows[:, -1, None, None] * np.exp(spread)
        return prices


def _garch_model(returns: F64) -> ARCHModel:
    return arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
