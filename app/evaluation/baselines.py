"""Baselines that need no fitting, because they forecast from a single window."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from app.artifact.arrays import F64

LAST_PRICE, EWMA = "last price", "EWMA volatility"  # names of these baselines in the evidence
EWMA_DECAY = 0.94  # RiskMetrics (1996) value for daily returns
MEAN_PRICES = 20  # number of prices that `mean_price` averages


def last_price(windows: F64, horizon: int) -> F64:
    """Forecast the last price at every step: (N, W) windows to (N, H) prices."""
    return np.repeat(windows[:, -1:], horizon, axis=1)


def mean_price(windows: F64, horizon: int) -> F64:
    """Forecast the mean of the last 20 prices at every step: (N, W) windows to (N, H) prices."""
    return np.repeat(windows[:, -MEAN_PRICES:].mean(axis=1, keepdims=True), horizon, axis=1)


def ewma_volatility(windows: F64) -> F64:
    """Estimate the one-step volatility of (N, W) windows.

    Returns:
        (N,) exponentially weighted root mean squares of the log returns.
    """
    returns = np.diff(np.log(windows), axis=1)  # (N, W-1)
    weights = EWMA_DECAY ** np.arange(returns.shape[1] - 1, -1, -1)
    volatility: F64 = np.sqrt(returns**2 @ (weights / weights.sum()))
    return volatility


def historical_volatility(windows: F64) -> F64:
    """Return the (N,) standard deviations of the one-step log returns of (N, W) windows."""
    volatility: F64 = np.diff(np.log(windows), axis=1).std(axis=1, ddof=1)
    return volatility


def random_walk(windows: F64, volatility: F64, horizon: int, quantiles: Sequence[float]) -> F64:
    """Forecast a Gaussian random walk of log prices that starts at the last price.

    Args:
        windows: (N, W) prices.
        volatility: (N,) standard deviations of the one-step log return. They are scaled by the square root of the
            number of steps.
        horizon: Number of steps ahead.
        quantiles: Q probabilities.

    Returns:
        (N, H, Q) prices.
    """
    spread = np.sqrt(np.arange(1, horizon + 1))[:, None] * normal_quantiles(quantiles)  # (H, Q)
    prices: F64 = windows[:, -1, None, None] * np.exp(volatility[:, None, None] * spread)
    return prices


def ewma_random_walk(windows: F64, horizon: int, quantiles: Sequence[float]) -> F64:
    """Forecast a random walk with the EWMA volatility of each window: (N, W) windows to (N, H, Q) prices."""
    return random_walk(windows, ewma_volatility(windows), horizon, quantiles)


def normal_quantiles(probabilities: Sequence[float]) -> F64:
    """Return the (Q,) quantiles of the standard normal distribution."""
    return np.array([NormalDist().inv_cdf(probability) for probability in probabilities])
