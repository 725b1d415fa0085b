"""Generates price series from seeds, with the standard library only, so that they are the same on every machine."""

import math
import random
from typing import Any

WINDOW = 60


def walk(seed: int, length: int = WINDOW, *, start: float = 100.0, volatility: float = 0.01) -> list[float]:
    """Generate a random walk of positive prices, rounded to seven significant digits.

    Args:
        seed: Determines the walk.
        length: Number of prices.
        start: Price before the first step.
        volatility: Standard deviation of a log return.
    """
    source = random.Random(seed)
    prices = []
    for _ in range(length):
        start *= math.exp(source.gauss(0.0, volatility))
        prices.append(float(f"{start:.7g}"))
    return prices


def replaced(prices: list[float], index: int, value: Any) -> list[Any]:
    """Copy `prices` with another value at `index`."""
    return [*prices[:index], value, *prices[index:][1:]]


def split(prices: list[float], index: int, ratio: float) -> list[float]:
    """Divide all prices from `index` on by `ratio`, as a stock split does."""
    return [*prices[:index], *(float(f"{price / ratio:.7g}") for price in prices[index:])]


def stale(prices: list[float], count: int) -> list[float]:
    """Repeat one price `count` times at the end."""
    return [*prices[:-count], *[prices[-count]] * count]


def tutorial_walk(seed: int) -> list[float]:
    """Generate a window in the price range that the `tutorial` model was trained on."""
    return walk(seed, start=500.0, volatility=0.005)
