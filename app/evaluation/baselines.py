"""Baselines that need no fitting: forecasts and volatilities from a window alone."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from app.artifact.transform import F64

LAST_PRICE, EWMA = "last price", "EWMA volatility"  # names in the evidence
DECAY = 0.94  # RiskMetrics (1996), daily data
MEAN_OF = 20  # prices


def last_price(windows: F64, horizon: int) -> F64:
    """(N, W) windows to (N, H): the last price, whatever the horizon."""
    return np.repeat(windows[:, -1:], horizon, axis=1)


def mean_price(windows: F64, horizon: int) -> F64:
    """(N, W) windows to (N, H): the mean of the last 20 prices, whatever the horizon."""
    return np.repeat(windows[:, -MEAN_OF:].mean(axis=1, keepdims=True), horizon, axis=1)


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
    spread = np.sqrt(np.arange(1, horizon + 1))[:, None] * normal_quantiles(quantiles)  # (H, Q)
    walk: F64 = windows[:, -1, None, None] * np.exp(volatility[:, None, None] * spread)
    return walk


def ewma_random_walk(windows: F64, horizon: int, quantiles: Sequence[float]) -> F64:
    """(N, W) windows to (N, H, Q): the random walk with the volatility of recent returns."""
    return random_walk(windows, ewma_volatility(windows), horizon, quantiles)


def normal_quantiles(probabilities: Sequence[float]) -> F64:
    """(Q,) quantiles of the standard normal distribution."""
    return np.array([NormalDist().inv_cdf(probability) for probability in probabilities])
