"""Hypothesis strategies for windows of prices: (B, W) arrays that every transform takes.

Hypothesis draws what matters (scale, volatility, place and size of a jump); the wandering in between comes from a seed,
so that a window of 60 prices is a handful of draws, and shrinks to a quiet one.
"""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

F64 = npt.NDArray[np.float64]

WINDOW = 60
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 1e9
LARGEST_JUMP = 1e5  # as a factor; together with the wandering around it still less than a transform refuses

seeds = st.integers(0, 2**32 - 1)
scales = st.floats(np.log10(SMALLEST_SCALE), np.log10(LARGEST_SCALE)).map(lambda power: float(10**power))
volatilities = st.floats(-7, -1).map(lambda power: float(10**power))  # per step, from a pegged currency to a panic
jumps = st.tuples(st.floats(0.1, np.log10(LARGEST_JUMP)), st.sampled_from([-1, 1])).map(
    lambda drawn: float(10 ** (drawn[0] * drawn[1]))  # a factor, up or down, of a quarter at the least
)


@st.composite
def walks(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) a random walk of log prices with one volatility, beginning near its scale."""
    returns = np.random.default_rng(draw(seeds)).normal(0.0, draw(volatilities), window)
    walk: F64 = draw(scales) * np.exp(returns.clip(-1, 1).cumsum())
    return walk


@st.composite
def constants(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) the same price again and again."""
    return np.full(window, draw(scales))


@st.composite
def ticked(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) a walk in whole ticks, of half its lowest price at most: many prices are those of the step before."""
    walk = draw(walks(window))
    tick = walk.min() * draw(st.floats(-4, np.log10(0.5)).map(lambda power: float(10**power)))
    prices: F64 = tick * np.round(walk / tick)
    return prices


@st.composite
def single_jumps(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) a walk or a constant, all of it multiplied by one factor from one place on."""
    prices: F64 = draw(st.one_of(constants(window), walks(window))).copy()
    prices[draw(st.integers(1, window - 1)) :] *= draw(jumps)
    return prices


@st.composite
def zigzags(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) two prices in turn: as volatile as a window can be."""
    prices: F64 = draw(scales) * np.where(np.arange(window) % 2, draw(jumps), 1.0)
    return prices


def windows(rows: int = 4, window: int = WINDOW, zigzag: bool = True) -> st.SearchStrategy[F64]:
    """(B, W) up to `rows` windows, each of any kind."""
    kinds = [constants(window), walks(window), ticked(window), single_jumps(window)]
    kinds += [zigzags(window)] if zigzag else []
    return st.lists(st.one_of(kinds), min_size=1, max_size=rows).map(np.array)
