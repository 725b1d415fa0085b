"""What a forecast has to beat: forecasts of windows, without more knowledge than a window, or than a block before."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import RidgeCV

from app.artifact.transform import F64
from app.evaluation import baselines

GARCH = "GARCH-t"  # its name in the evidence
PENALTIES = np.logspace(0, 6, 13)  # of ridge, for inputs whose variance is about 1

Forecast = Callable[[F64, int], F64]  # (N, W) windows and H to (N, H) prices


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


def _standardised(windows: F64) -> tuple[F64, F64]:
    """(N, W-1) log returns over the window's (N, 1) volatility, which is 1 where no price moves."""
    unit = baselines.ewma_volatility(windows)[:, None]
    unit = np.where(unit > 0, unit, 1.0)
    return np.diff(np.log(windows), axis=1) / unit, unit
