"""What a forecast has to beat: forecasts of windows, without more knowledge than a window, or than a block before."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from sklearn.linear_model import RidgeCV

from app.artifact.transform import F64

LAST_PRICE, EWMA, GARCH = "last price", "EWMA volatility", "GARCH-t"  # names that are asked for by name
DECAY = 0.94  # RiskMetrics (1996), daily data
MEAN_OF = 20  # prices
PENALTIES = np.logspace(0, 6, 13)  # of ridge, for inputs whose variance is about 1

Forecast = Callable[[F64, int], F64]  # (N, W) windows and H to (N, H) prices


def last_price(windows: F64, horizon: int) -> F64:
    """(N, W) windows to (N, H): the last price, whatever the horizon."""
    return np.repeat(windows[:, -1:], horizon, axis=1)


def mean_price(windows: F64, horizon: int) -> F64:
    """(N, W) windows to (N, H): the mean of the last 20 prices, whatever the horizon."""
    return np.repeat(windows[:, -MEAN_OF:].mean(axis=1, keepdims=True), horizon, axis=1)


def drift(windows: F64, futures: F64) -> Forecast:
    """The last price, and the mean log return of (N, W) windows and (N, H) futures for every step."""
    mean = float(np.mean(np.log(futures[:, 0] / windows[:, -1])))
    return lambda asked, horizon: asked[:, -1:] * np.exp(mean * np.arange(1, horizon + 1))


def ar1(windows: F64, futures: F64) -> Forecast:
    """A first-order autoregression of log returns, by least squares on (N, W) windows and (N, H) futures."""
    before = np.log(windows[:, -1] / windows[:, -2])
    after = np.log(futures[:, 0] / windows[:, -1])
    slope = float(np.cov(before, after)[0, 1] / before.var(ddof=1)) if before.std() else 0.0
    constant = float(after.mean() - slope * before.mean())

    def forecast(asked: F64, horizon: int) -> F64:
        returns = [np.log(asked[:, -1] / asked[:, -2])]
        for _ in range(horizon):
            returns.append(constant + slope * returns[-1])
        walk: F64 = asked[:, -1:] * np.exp(np.cumsum(np.stack(returns[1:], axis=1), axis=1))
        return walk

    return forecast


def ridge(windows: F64, futures: F64, horizons: Sequence[int]) -> Forecast:
    """A ridge regression (Hoerl & Kennard, 1970) of the log return over each horizon on the window's log returns.

    Both are over the window's volatility, as a network gets them; the penalty is chosen by generalized
    cross-validation (Golub, Heath & Wahba, 1979) on the same (N, W) windows and (N, H) futures.

    Args:
        horizons: those to fit; at the others it repeats the last price.
    """
    inputs, unit = _standardised(windows)  # (N, W-1), (N, 1)
    fitted = {
        h: RidgeCV(PENALTIES).fit(inputs, np.log(futures[:, h - 1] / windows[:, -1]) / unit[:, 0]) for h in horizons
    }

    def forecast(asked: F64, horizon: int) -> F64:
        inputs, unit = _standardised(asked)
        returns = np.zeros((len(asked), horizon))
        for h, model in fitted.items():
            returns[:, h - 1] = model.predict(inputs) * unit[:, 0]
        found: F64 = asked[:, -1:] * np.exp(returns)
        return found

    return forecast


def ewma_volatility(windows: F64) -> F64:
    """(N,) exponentially weighted root mean squares of the log returns of (N, W) windows, per step."""
    returns = np.diff(np.log(windows), axis=1)  # (N, W-1)
    weights = DECAY ** np.arange(returns.shape[1] - 1, -1, -1)
    volatility: F64 = np.sqrt(returns**2 @ (weights / weights.sum()))
    return volatility


def historical_volatility(windows: F64) -> F64:
    """(N,) standard deviations of the log returns of (N, W) windows, per step."""
    volatility: F64 = np.diff(np.log(windows), axis=1).std(axis=1, ddof=1)
    return volatility


def random_walk(windows: F64, volatility: F64, horizon: int, quantiles: Sequence[float]) -> F64:
    """(N, W) windows to (N, H, Q): a Gaussian random walk of log prices around the last price.

    Its (N,) volatility grows with √h.
    """
    spread = np.sqrt(np.arange(1, horizon + 1))[:, None] * stats.norm.ppf(quantiles)  # (H, Q)
    walk: F64 = windows[:, -1, None, None] * np.exp(volatility[:, None, None] * spread)
    return walk


def ewma_random_walk(windows: F64, horizon: int, quantiles: Sequence[float]) -> F64:
    """(N, W) windows to (N, H, Q): the random walk with the volatility of recent returns."""
    return random_walk(windows, ewma_volatility(windows), horizon, quantiles)


def _standardised(windows: F64) -> tuple[F64, F64]:
    """(N, W-1) log returns over the window's (N, 1) volatility, which is 1 where no price moves."""
    unit = ewma_volatility(windows)[:, None]
    unit = np.where(unit > 0, unit, 1.0)
    return np.diff(np.log(windows), axis=1) / unit, unit
