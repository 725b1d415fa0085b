"""Each warning is issued for the windows that meet its condition, and for no others."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.artifact.affine import Affine
from app.artifact.manifest import LogReturnParameters, TrainingRange
from app.artifact.transform import LogReturn
from app.inference.input_checks import (
    SPLIT_RATIOS,
    STALE_PRICES,
    WARNING_CODES,
    ForecastWarning,
    InputChecks,
    WarningCode,
)
from tests.app.inference.forecasters import UNLIMITED_RANGES
from tests.strategies import F64, WINDOW, moderate_examples, scales, seeds, walks, windows

TRANSFORM = LogReturn(LogReturnParameters(), Affine(1.0, 0.0))


def find_warnings(prices: F64, ranges: Sequence[TrainingRange] = UNLIMITED_RANGES) -> list[list[ForecastWarning]]:
    """Return the warnings for each of (B, W) windows."""
    observed = TRANSFORM.encode(prices).observed_ranges
    return [list(each) for each in InputChecks(ranges).find_warnings(prices, observed)]


def warning_details(code: WarningCode, prices: F64) -> list[str]:
    """Return the details of the warnings of one code, for one window (W,)."""
    return [each.detail for each in find_warnings(prices[None])[0] if each.code == code]


def calm_walk(seed: int, volatility: float = 0.01, length: int = WINDOW, start: float = 100.0) -> F64:
    """Return prices (length,) whose logarithms are a random walk."""
    steps = np.random.default_rng(seed).normal(0, volatility, length)
    walk: F64 = start * np.exp(steps.cumsum())
    return walk


# All warnings


@moderate_examples
@given(prices=windows())
def test_warnings_do_not_depend_on_other_windows(prices: F64) -> None:
    together = find_warnings(prices)
    assert together == [find_warnings(prices[row : row + 1])[0] for row in range(len(prices))]
    for each in together:
        assert {one.code for one in each} <= set(WARNING_CODES)
        assert all(one.detail for one in each)


@moderate_examples
@given(seed=seeds, start=scales, volatility=st.floats(1e-5, 0.03))
def test_ordinary_random_walk_has_no_warnings(seed: int, start: float, volatility: float) -> None:
    assert find_warnings(calm_walk(seed, volatility, start=start)[None]) == [[]]


def test_one_window_can_have_several_warnings() -> None:
    prices = calm_walk(1)
    prices[40:] /= 2
    prices[-8:] = prices[-1]
    calm = [TrainingRange(quantity="volatility", low=0, high=1e-3), UNLIMITED_RANGES[1]]
    assert [each.code for each in find_warnings(prices[None], calm)[0]] == [
        "outside_training_range",
        "stale_tail",
        "likely_split",
    ]


# outside_training_range


@pytest.mark.parametrize(
    ("quantity", "low", "high", "excess"),
    [
        ("volatility", 0.02, 0.05, "0.01 is below the minimum of 0.02"),
        ("volatility", 0.001, 0.005, "0.01 is above the maximum of 0.005"),
        ("last step", -3, 0.5, "1 is above the maximum of 0.5"),
        ("last step", 1.5, 3, "1 is below the minimum of 1.5"),
    ],
)
def test_range_of_each_quantity_is_checked(quantity: str, low: float, high: float, excess: str) -> None:
    prices = 100 * np.exp(0.01 * (np.arange(WINDOW)[None] % 2))  # (1, W): steps of ±1%, the last one upwards
    narrow = TrainingRange.model_validate({"quantity": quantity, "low": low, "high": high})
    ranges = [narrow if each.quantity == quantity else each for each in UNLIMITED_RANGES]
    detail = f"the window's {quantity} is outside the training range: {excess}"
    assert find_warnings(prices, ranges) == [[ForecastWarning("outside_training_range", detail)]]


def test_range_limits_themselves_are_inside() -> None:
    prices = calm_walk(3)[None]
    ((volatility, _), (step, _)) = TRANSFORM.encode(prices).observed_ranges[0].tolist()
    limits = [
        TrainingRange(quantity="volatility", low=volatility, high=volatility),
        TrainingRange(quantity="last step", low=step, high=step),
    ]
    assert find_warnings(prices, limits) == [[]]


def test_window_outside_two_ranges_has_two_warnings() -> None:
    unreachable = [
        TrainingRange(quantity="volatility", low=8, high=9),
        TrainingRange(quantity="last step", low=8e3, high=9e3),
    ]
    found = [each.detail for each in find_warnings(calm_walk(1)[None], unreachable)[0]]
    assert [detail.partition(" is outside the training range: ")[0] for detail in found] == [
        "the window's volatility",
        "the window's last step",
    ]


# constant_window and stale_tail


@moderate_examples
@given(price=scales)
def test_constant_window_has_no_other_warning(price: float) -> None:
    ((only,),) = find_warnings(np.full((1, WINDOW), price))
    assert only.code == "constant_window"
    assert only.detail.startswith("all 60 prices are equal")


@moderate_examples
@given(prices=walks(), equal=st.integers(1, WINDOW - 1))
def test_stale_tail_starts_at_five_equal_prices(prices: F64, equal: int) -> None:
    assume((np.diff(prices) != 0).all())
    prices[-equal:] = prices[-equal]
    found = warning_details("stale_tail", prices)
    if equal < STALE_PRICES:
        assert found == []
    else:
        assert found == [f"the last {equal} prices are equal; check that the source still updates"]
    assert warning_details("constant_window", prices) == []


def test_equal_prices_elsewhere_are_no_stale_tail() -> None:
    prices = calm_walk(1)
    prices[10:40] = prices[10]
    assert find_warnings(prices[None]) == [[]]
    prices[-STALE_PRICES] = prices[-1]  # the same price again, but it moved in between
    assert find_warnings(prices[None]) == [[]]


# likely_split


@moderate_examples
@given(
    seed=seeds,
    start=scales,
    volatility=st.floats(1e-5, 0.008),
    ratio=st.sampled_from(SPLIT_RATIOS),
    at=st.integers(1, WINDOW - 1),
    is_reverse=st.booleans(),
)
def test_split_in_calm_walk_is_found_at_its_place(
    seed: int, start: float, volatility: float, ratio: float, at: int, is_reverse: bool
) -> None:
    """The price also moves on the day of the split, so the warning states the ratio nearest to the jump."""
    prices = calm_walk(seed, volatility, start=start)
    steps = np.abs(np.diff(np.log(prices)))
    assume(steps[at - 1] < 0.03)
    prices[at:] *= ratio if is_reverse else 1 / ratio
    (detail,) = warning_details("likely_split", prices)
    steps_ago = WINDOW - 1 - at
    distance = "1 step" if steps_ago == 1 else f"{steps_ago} steps"
    assert detail.startswith(f"the price {distance} before the last is " if steps_ago else "the last price is ")
    assert f"{prices[at] / prices[at - 1]:.3g} times the previous price" in detail
    assert f"if this is a 1:{ratio:g} split" in detail if is_reverse else f"if this is a {ratio:g}:1 split" in detail


def test_two_splits_have_two_warnings() -> None:
    prices = calm_walk(5)
    prices[20:] /= 2
    prices[50:] /= 7
    found = warning_details("likely_split", prices)
    assert ["2:1 split" in found[0], "7:1 split" in found[1]] == [True, True]


@moderate_examples
@given(seed=seeds, factor=st.floats(0.7, 1.38), at=st.integers(1, WINDOW - 1))
def test_jump_smaller_than_any_split_has_no_warning(seed: int, factor: float, at: int) -> None:
    prices = calm_walk(seed, 0.001)
    prices[at:] *= factor
    assert warning_details("likely_split", prices) == []


@pytest.mark.parametrize("factor", [2.3, 0.4, 13.0, 1 / 40])
def test_jump_by_unusual_ratio_has_no_warning(factor: float) -> None:
    prices = calm_walk(2, 0.005)
    prices[30:] *= factor
    assert warning_details("likely_split", prices) == []


@moderate_examples
@given(seed=seeds)
def test_halving_in_very_volatile_window_has_no_warning(seed: int) -> None:
    prices = 100 * 2.0 ** np.random.default_rng(seed).choice([-1, 1], WINDOW).cumsum()
    assert warning_details("likely_split", prices) == []


def test_halving_in_otherwise_constant_window_is_split() -> None:
    prices = np.full(WINDOW, 80.0)
    prices[25:] = 40.0
    expected = (
        "the price 34 steps before the last is 0.5 times the previous price; "
        "if this is a 2:1 split, adjust all earlier prices"
    )
    assert warning_details("likely_split", prices) == [expected]


@pytest.mark.parametrize("low", [0.0, -5.0])
def test_window_with_non_positive_price_has_no_split_warning(low: float) -> None:
    """Models of price levels accept such prices, but a split is a ratio."""
    prices = np.full((1, WINDOW), 40.0)
    prices[:, :30] = low
    observed = np.array([[[low, 40.0]]])
    trained = [TrainingRange(quantity="price", low=-10.0, high=100.0)]
    assert [each.code for each in InputChecks(trained).find_warnings(prices, observed)[0]] == ["stale_tail"]
