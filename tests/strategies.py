"""Hypothesis strategies for windows of prices, as (B, W) arrays that every transform accepts.

Hypothesis draws the scale, the volatility, and the position and size of a jump. A drawn seed generates the random walk.
A window of 60 prices therefore takes only a few draws, and shrinks towards a calm window.
"""

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

F64 = npt.NDArray[np.float64]

WINDOW = 60
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 1e9
LARGEST_JUMP = 1e5  # a factor; even together with the walk around it, less than a transform rejects

few_examples = settings(max_examples=40, deadline=None)
moderate_examples = settings(max_examples=60, deadline=None)

seeds = st.integers(0, 2**32 - 1)
scales = st.floats(np.log10(SMALLEST_SCALE), np.log10(LARGEST_SCALE)).map(lambda exponent: float(10**exponent))
# Per step: from a pegged currency to a market crash.
volatilities = st.floats(-7, -1).map(lambda exponent: float(10**exponent))
# A factor of at least 1.25, up or down.
jumps = st.tuples(st.floats(0.1, np.log10(LARGEST_JUMP)), st.sampled_from([-1, 1])).map(
    lambda drawn: float(10 ** (drawn[0] * drawn[1]))
)


@st.composite
def walks(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) prices: a random walk of log prices with constant volatility, starting near a drawn scale."""
    returns = np.random.default_rng(draw(seeds)).normal(0.0, draw(volatilities), window)
    walk: F64 = draw(scales) * np.exp(returns.clip(-1, 1).cumsum())
    return walk


@st.composite
def constants(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) prices: one price, repeated."""
    return np.full(window, draw(scales))


@st.composite
def rounded_walks(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) prices: a walk rounded to multiples of a tick size, so that many prices repeat.

    The tick size is at most half of the walk's lowest price.
    """
    walk = draw(walks(window))
    tick_size = walk.min() * draw(st.floats(-4, np.log10(0.5)).map(lambda exponent: float(10**exponent)))
    prices: F64 = tick_size * np.round(walk / tick_size)
    return prices


@st.composite
def single_jumps(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) prices: a walk or a constant, with all prices from a drawn position on multiplied by a factor."""
    prices: F64 = draw(st.one_of(constants(window), walks(window))).copy()
    prices[draw(st.integers(1, window - 1)) :] *= draw(jumps)
    return prices


@st.composite
def zigzags(draw: st.DrawFn, window: int = WINDOW) -> F64:
    """(W,) prices: two prices that alternate, as volatile as a window can be."""
    prices: F64 = draw(scales) * np.where(np.arange(window) % 2, draw(jumps), 1.0)
    return prices


def windows(rows: int = 4, window: int = WINDOW, zigzag: bool = True) -> st.SearchStrategy[F64]:
    """(B, W) prices: up to `rows` windows, each of any kind; zigzags only if `zigzag` is true."""
    kinds = [constants(window), walks(window), rounded_walks(window), single_jumps(window)]
    kinds += [zigzags(window)] if zigzag else []
    return st.lists(st.one_of(kinds), min_size=1, max_size=rows).map(np.array)
