"""Windows of prices for tests in which the prices do not matter."""

import numpy as np

from app.artifact.arrays import F64

PRICES = [100.0 + i % 7 for i in range(60)]  # one window


def random_walk_windows(count: int, seed: int, *, volatility: float = 0.01, start: float = 100.0) -> F64:
    """Return different windows, of shape (count, 60).

    Args:
        count: Number of windows.
        seed: Determines the prices.
        volatility: Standard deviation of a log return.
        start: Price before the first step.
    """
    steps = np.random.default_rng(seed).normal(scale=volatility, size=(count, 60))
    prices: F64 = start * np.exp(steps.cumsum(axis=1))
    return prices
