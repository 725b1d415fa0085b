"""What in a window is warned of, and what is not: each code on windows made for it, and on none made otherwise."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.artifact.manifest import LogReturnTransform, Range
from app.artifact.transform import Affine, LogReturn
from app.inference.input_checks import CODES, SPLIT_RATIOS, STALE_PRICES, Code, ForecastWarning, InputChecks
from tests.strategies import F64, WINDOW, scales, seeds, walks, windows

modest = settings(max_examples=60, deadline=None)

EVERYTHING = [Range(quantity="volatility", low=0, high=1e9), Range(quantity="last step", low=-1e9, high=1e9)]
TRANSFORM = LogReturn(LogReturnTransform(), Affine(1.0, 0.0))


def found(prices: F64, ranges: Sequence[Range] = EVERYTHING) -> list[list[ForecastWarning]]:
    """The warnings for each of (B, W) windows."""
    return [list(each) for each in InputChecks(ranges).warnings(prices, TRANSFORM.encode(prices).observed)]


def of(code: Code, prices: F64) -> list[str]:
    """The details of one code, for one window (W,)."""
    return [each.detail for each in found(prices[None])[0] if each.code == code]


def calm_walk(seed: int, volatility: float = 0.01, length: int = WINDOW, start: float = 100.0) -> F64:
    steps = np.random.default_rng(seed).normal(0, volatility, length)
    walk: F64 = start * np.exp(steps.cumsum())
    return walk


# All of them


@modest
@given(prices=windows())
def test_windows_are_warned_of_in_order_and_each_by_itself(prices: F64) -> None:
    together = found(prices)
    assert together == [found(prices[row : row + 1])[0] for row in range(len(prices))]
    for each in together:
        assert {one.code for one in each} <= set(CODES)
        assert all(one.detail for one in each)


@modest
@given(seed=seeds, start=scales, volatility=st.floats(1e-5, 0.03))
def test_an_ordinary_random_walk_is_not_warned_of(seed: int, start: float, volatility: float) -> None:
    assert found(calm_walk(seed, volatility, start=start)[None]) == [[]]


def test_one_window_may_deserve_several_warnings() -> None:
    prices = calm_walk(1)
    prices[40:] /= 2
    prices[-8:] = prices[-1]
    calm = [Range(quantity="volatility", low=0, high=1e-3), EVERYTHING[1]]
    assert [each.code for each in found(prices[None], calm)[0]] == [
        "outside_training_range",
        "stale_tail",
        "likely_split",
    ]


# Outside of the training range


@pytest.mark.parametrize(
    ("quantity", "low", "high", "said"),
    [
        ("volatility", 0.02, 0.05, "volatility of the window: 0.01 is below 0.02, the lowest in the training data"),
        ("volatility", 0.001, 0.005, "volatility of the window: 0.01 is above 0.005, the highest in the training data"),
        ("last step", -3, 0.5, "last step of the window: 1 is above 0.5, the highest in the training data"),
        ("last step", 1.5, 3, "last step of the window: 1 is below 1.5, the lowest in the training data"),
    ],
)
def test_each_quantity_has_its_own_range(quantity: str, low: float, high: float, said: str) -> None:
    """Steps of 1% up and down, the last of them up."""
    prices = 100 * np.exp(0.01 * (np.arange(WINDOW)[None] % 2))  # (1, W)
    narrow = Range.model_validate({"quantity": quantity, "low": low, "high": high})
    ranges = [narrow if each.quantity == quantity else each for each in EVERYTHING]
    assert found(prices, ranges) == [[ForecastWarning("outside_training_range", said)]]


def test_the_ends_of_a_range_are_inside() -> None:
    prices = calm_walk(3)[None]
    ((volatility, _), (step, _)) = TRANSFORM.encode(prices).observed[0].tolist()
    ends = [
        Range(quantity="volatility", low=volatility, high=volatility),
        Range(quantity="last step", low=step, high=step),
    ]
    assert found(prices, ends) == [[]]


def test_a_window_outside_of_two_ranges_gets_a_warning_for_each() -> None:
    nothing = [Range(quantity="volatility", low=8, high=9), Range(quantity="last step", low=8e3, high=9e3)]
    details = [each.detail for each in found(calm_walk(1)[None], nothing)[0]]
    assert [detail.partition(" of the window: ")[0] for detail in details] == ["volatility", "last step"]


# Prices that stand still


@modest
@given(price=scales)
def test_a_constant_window_is_said_to_be_one_and_nothing_else(price: float) -> None:
    ((only,),) = found(np.full((1, WINDOW), price))
    assert only.code == "constant_window"
    assert only.detail.startswith("all 60 prices are equal")


@modest
@given(prices=walks(), equal=st.integers(1, WINDOW - 1))
def test_a_tail_is_stale_from_five_equal_prices_on(prices: F64, equal: int) -> None:
    assume((np.diff(prices) != 0).all())
    prices[-equal:] = prices[-equal]
    said = of("stale_tail", prices)
    if equal < STALE_PRICES:
        assert said == []
    else:
        assert said == [f"the last {equal} prices are equal: is the source still alive?"]
    assert of("constant_window", prices) == []


def test_equal_prices_elsewhere_are_not_a_stale_tail() -> None:
    prices = calm_walk(1)
    prices[10:40] = prices[10]
    assert found(prices[None]) == [[]]
    prices[-STALE_PRICES] = prices[-1]  # the same price again, but it moved in between
    assert found(prices[None]) == [[]]


# Splits


@modest
@given(
    seed=seeds,
    start=scales,
    volatility=st.floats(1e-5, 0.008),
    ratio=st.sampled_from(SPLIT_RATIOS),
    at=st.integers(1, WINDOW - 1),
    is_reverse=st.booleans(),
)
def test_a_planted_split_is_found_and_named_at_its_place(
    seed: int, start: float, volatility: float, ratio: float, at: int, is_reverse: bool
) -> None:
    """Of a calm walk; the ratio named is the nearest to the jump, which the step of that day may move a little."""
    prices = calm_walk(seed, volatility, start=start)
    steps = np.abs(np.diff(np.log(prices)))
    assume(steps[at - 1] < 0.03)
    prices[at:] *= ratio if is_reverse else 1 / ratio
    (said,) = of("likely_split", prices)
    ago = WINDOW - 1 - at
    assert said.startswith("the last price is " if not ago else f"the price {ago} before the last one is ")
    assert f"{prices[at] / prices[at - 1]:.3g} times the one before it" in said
    assert f"after a 1:{ratio:g} split" in said if is_reverse else f"after a {ratio:g}:1 split" in said


def test_two_splits_are_both_named() -> None:
    prices = calm_walk(5)
    prices[20:] /= 2
    prices[50:] /= 7
    said = of("likely_split", prices)
    assert ["2:1 split" in said[0], "7:1 split" in said[1]] == [True, True]


@modest
@given(seed=seeds, factor=st.floats(0.7, 1.38), at=st.integers(1, WINDOW - 1))
def test_a_jump_smaller_than_any_split_is_none(seed: int, factor: float, at: int) -> None:
    prices = calm_walk(seed, 0.001)
    prices[at:] *= factor
    assert of("likely_split", prices) == []


@pytest.mark.parametrize("factor", [2.3, 0.4, 13.0, 1 / 40])
def test_a_jump_that_is_near_no_simple_ratio_is_no_split(factor: float) -> None:
    prices = calm_walk(2, 0.005)
    prices[30:] *= factor
    assert of("likely_split", prices) == []


@modest
@given(seed=seeds)
def test_where_prices_halve_and_double_all_the_time_nothing_is_a_split(seed: int) -> None:
    prices = 100 * 2.0 ** np.random.default_rng(seed).choice([-1, 1], WINDOW).cumsum()
    assert of("likely_split", prices) == []


def test_where_nothing_else_moves_a_halving_is_a_split() -> None:
    prices = np.full(WINDOW, 80.0)
    prices[25:] = 40.0
    assert of("likely_split", prices) == [
        "the price 34 before the last one is 0.5 times the one before it; after a 2:1 split, adjust those before"
    ]


@pytest.mark.parametrize("low", [0.0, -5.0])
def test_prices_that_need_not_be_positive_do_not_split(low: float) -> None:
    """Of a model of price levels; half of nothing is nothing."""
    prices = np.full((1, WINDOW), 40.0)
    prices[:, :30] = low
    observed = np.array([[[low, 40.0]]])
    trained = [Range(quantity="price", low=-10.0, high=100.0)]
    assert [each.code for each in InputChecks(trained).warnings(prices, observed)[0]] == ["stale_tail"]
