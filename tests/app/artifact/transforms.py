"""Transforms and inputs for tests of the transforms."""

import numpy as np
import pytest
from hypothesis import strategies as st

from app.artifact.affine import Affine
from app.artifact.manifest import LogReturnParameters, MinMaxPriceParameters
from app.artifact.transform import LogReturn, MinMaxPrice
from tests.strategies import F64

HORIZON, QUANTILES = 5, 9

factors = st.floats(-6, 6).map(lambda power: float(10**power))


def log_return(
    scale: float = 0.8,
    *,
    winsor: float = 8.0,
    floor: float = 1e-6,
    clip: float = 10.0,
    decay: float = 0.94,
    level: bool = False,
) -> LogReturn:
    parameters = LogReturnParameters(winsor=winsor, floor=floor, clip=clip, decay=decay, level=level)
    return LogReturn(parameters, Affine(scale, 0.0))


def minmax_price(low: float = 50.0, high: float = 250.0) -> MinMaxPrice:
    return MinMaxPrice(MinMaxPriceParameters(), Affine(1 / (high - low), -low / (high - low)))


def random_outputs(seed: int, rows: int) -> F64:
    """Return (B, H, Q) network outputs."""
    return np.random.default_rng(seed).normal(0.0, 2.0, (rows, HORIZON, QUANTILES))


def window_with_returns(*returns: float) -> F64:
    """Return (1, W) prices with these log returns."""
    prices: F64 = 100 * np.exp(np.cumsum([[0.0, *returns]], axis=1))
    return prices


ALL_TRANSFORMS = pytest.mark.parametrize(
    "transform",
    [log_return(), log_return(level=True), minmax_price()],
    ids=["log_return", "log_return with level", "minmax_price"],
)
WITH_AND_WITHOUT_LEVEL = pytest.mark.parametrize("level", [False, True], ids=["without level", "with level"])
