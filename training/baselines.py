"""What a forecast has to beat."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from app.artifact.transform import F64

DECAY = 0.94  # RiskMetrics (1996), daily data


def last_price(windows: F64, horizon: int) -> F64:
    """(N, W) windows to (N, H): the last price, whatever the horizon."""
    return np.repeat(windows[:, -1:], horizon, axis=1)


def ewma_random_walk(windows: F64, horizon: int, quantiles: Sequence[float]) -> F64:
    """(N, W) windows to (N, H, Q): a Gaussian random walk of log prices around the last price.

    Its volatility is the exponentially weighted root mean square of the window's log returns, and grows with √h.
    """
    returns = np.diff(np.log(windows), axis=1)  # (N, W-1)
    weights = DECAY ** np.arange(returns.shape[1] - 1, -1, -1)
    volatility = np.sqrt(returns**2 @ (weights / weights.sum()))  # (N,)
    spread = np.sqrt(np.arange(1, horizon + 1))[:, None] * stats.norm.ppf(quantiles)  # (H, Q)
    walk: F64 = windows[:, -1, None, None] * np.exp(volatility[:, None, None] * spread)
    return walk
