"""Tests of the strategies: drawn windows have the documented properties, and the corner cases are reached."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from app.artifact.affine import Affine
from app.artifact.manifest import LogReturnParameters
from app.artifact.transform import LogReturn
from tests.strategies import (
    F64,
    LARGEST_SCALE,
    SMALLEST_SCALE,
    WINDOW,
    constants,
    jumps,
    rounded_walks,
    scales,
    single_jumps,
    volatilities,
    walks,
    windows,
    zigzags,
)

quick = settings(max_examples=30, deadline=None)


def step_factors(prices: F64) -> F64:
    """Return the factor of each step; a fall counts like a rise, so no factor is below 1."""
    factors: F64 = np.exp(np.abs(np.diff(np.log(prices))))
    return factors


@quick
@given(windows(rows=3), windows(rows=3, window=7))
def test_windows_are_arrays_that_every_transform_accepts(long: F64, short: F64) -> None:
    for prices, window in ((long, WINDOW), (short, 7)):
        assert prices.dtype == np.float64
        assert prices.ndim == 2
        assert 1 <= prices.shape[0] <= 3
        assert prices.shape[1] == window
        assert LogReturn(LogReturnParameters(), Affine(1.0, 0.0)).invalid_prices(prices) == []


@quick
@given(scales, volatilities, jumps)
def test_parameters_stay_within_their_bounds(scale: float, volatility: float, jump: float) -> None:
    assert SMALLEST_SCALE * 0.999 <= scale <= LARGEST_SCALE * 1.001
    assert 0.999e-7 <= volatility <= 0.1001
    assert max(jump, 1 / jump) >= 1.25


@quick
@given(constants())
def test_constants_never_change(prices: F64) -> None:
    assert prices.shape == (WINDOW,)
    assert np.ptp(prices) == 0


@quick
@given(walks())
def test_walks_have_no_jump(prices: F64) -> None:
    assert prices.shape == (WINDOW,)
    assert step_factors(prices).max() <= np.e * 1.001


@quick
@given(rounded_walks())
def test_rounded_walks_are_positive_and_have_no_jump(prices: F64) -> None:
    assert prices.shape == (WINDOW,)
    assert (prices > 0).all()
    assert step_factors(prices).max() <= np.e * 1.001


@quick
@given(zigzags())
def test_zigzags_alternate_between_two_prices(prices: F64) -> None:
    assert step_factors(prices).min() >= 1.25
    assert len(set(prices)) == 2


@quick
@given(single_jumps())
def test_single_jumps_have_at_most_one_jump(prices: F64) -> None:
    factors = np.sort(step_factors(prices))
    assert factors[-1] > 1
    assert factors[-2] <= np.e * 1.001


CORNER_CASES: dict[str, st.SearchStrategy[F64]] = {
    "tiny prices": windows().filter(lambda prices: bool(prices.max() < 1e-4)),
    "huge prices": windows().filter(lambda prices: bool(prices.min() > 1e7)),
    "a constant row": windows().filter(lambda prices: bool((np.ptp(prices, axis=1) == 0).any())),
    "a quiet row": windows().filter(lambda prices: bool((step_factors(prices).max(axis=1) < 1.0001).any())),
    "a row of few distinct prices": windows().filter(
        lambda prices: any(2 < len(set(row)) < 10 for row in prices.tolist())
    ),
    "several rows": windows().filter(lambda prices: len(prices) > 1),
    "a jump in a constant window": single_jumps().filter(lambda prices: len(set(prices)) == 2),
    "a jump in a walk": single_jumps().filter(lambda prices: len(set(prices)) > 2),
    "a fall to less than a thousandth": single_jumps().filter(lambda prices: bool(prices[-1] < prices[0] / 1e3)),
    "a wild zigzag": zigzags().filter(lambda prices: bool(step_factors(prices).max() > 1e4)),
}


@pytest.mark.parametrize("corner_case", CORNER_CASES)
def test_corner_case_is_reached(corner_case: str) -> None:
    find(CORNER_CASES[corner_case], lambda prices: True, settings=settings(database=None, phases=[Phase.generate]))


def test_windows_without_zigzags_have_none() -> None:
    @quick
    @given(windows(zigzag=False))
    def check(prices: F64) -> None:
        for row in prices:
            assert np.sort(step_factors(row))[-2] <= np.e * 1.001

    check()
