"""The strategies make what they say, and reach the corners that they are there for."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from app.artifact.manifest import LogReturnParameters
from app.artifact.affine import Affine
from app.artifact.transform import LogReturn
from tests.strategies import (
    F64,
    LARGEST_SCALE,
    SMALLEST_SCALE,
    WINDOW,
    constants,
    jumps,
    scales,
    single_jumps,
    ticked,
    volatilities,
    walks,
    windows,
    zigzags,
)

quick = settings(max_examples=30, deadline=None)


def steps(prices: F64) -> F64:
    """The factor of each step, up or down alike: never below 1."""
    factors: F64 = np.exp(np.abs(np.diff(np.log(prices))))
    return factors


@quick
@given(windows(rows=3), windows(rows=3, window=7))
def test_windows_are_arrays_of_prices_that_every_transform_takes(long: F64, short: F64) -> None:
    for prices, window in ((long, WINDOW), (short, 7)):
        assert prices.dtype == np.float64
        assert prices.ndim == 2
        assert 1 <= prices.shape[0] <= 3
        assert prices.shape[1] == window
        assert LogReturn(LogReturnParameters(), Affine(1.0, 0.0)).invalid_prices(prices) == []


@quick
@given(scales, volatilities, jumps)
def test_drawn_parameters_keep_their_bounds(scale: float, volatility: float, jump: float) -> None:
    assert SMALLEST_SCALE * 0.999 <= scale <= LARGEST_SCALE * 1.001
    assert 0.999e-7 <= volatility <= 0.1001
    assert max(jump, 1 / jump) >= 1.25


@quick
@given(constants())
def test_a_constant_window_never_changes(prices: F64) -> None:
    assert prices.shape == (WINDOW,)
    assert np.ptp(prices) == 0


@quick
@given(walks())
def test_a_walk_has_no_jump(prices: F64) -> None:
    assert prices.shape == (WINDOW,)
    assert steps(prices).max() <= np.e * 1.001


@quick
@given(ticked())
def test_ticked_prices_are_few_and_have_no_jump(prices: F64) -> None:
    assert prices.shape == (WINDOW,)
    assert (prices > 0).all()
    assert steps(prices).max() <= np.e * 1.001


@quick
@given(zigzags())
def test_a_zigzag_goes_back_and_forth(prices: F64) -> None:
    assert steps(prices).min() >= 1.25
    assert len(set(prices)) == 2


@quick
@given(single_jumps())
def test_a_single_jump_is_the_only_step_that_no_walk_could_do(prices: F64) -> None:
    taken = np.sort(steps(prices))
    assert taken[-1] > 1
    assert taken[-2] <= np.e * 1.001


CORNERS: dict[str, st.SearchStrategy[F64]] = {
    "tiny prices": windows().filter(lambda prices: bool(prices.max() < 1e-4)),
    "huge prices": windows().filter(lambda prices: bool(prices.min() > 1e7)),
    "a constant row": windows().filter(lambda prices: bool((np.ptp(prices, axis=1) == 0).any())),
    "a quiet row": windows().filter(lambda prices: bool((steps(prices).max(axis=1) < 1.0001).any())),
    "a row of a few ticks": windows().filter(lambda prices: any(2 < len(set(row)) < 10 for row in prices.tolist())),
    "several rows": windows().filter(lambda prices: len(prices) > 1),
    "a jump from calm": single_jumps().filter(lambda prices: len(set(prices)) == 2),
    "a jump amid a walk": single_jumps().filter(lambda prices: len(set(prices)) > 2),
    "a fall by more than a thousand": single_jumps().filter(lambda prices: bool(prices[-1] < prices[0] / 1e3)),
    "a wild zigzag": zigzags().filter(lambda prices: bool(steps(prices).max() > 1e4)),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_every_corner_is_reached(corner: str) -> None:
    find(CORNERS[corner], lambda prices: True, settings=settings(database=None, phases=[Phase.generate]))


def test_zigzags_can_be_left_out() -> None:
    @quick
    @given(windows(zigzag=False))
    def none_is_a_zigzag(prices: F64) -> None:
        for row in prices:
            assert np.sort(steps(row))[-2] <= np.e * 1.001

    none_is_a_zigzag()
