"""`invalid_prices` reports the first price of each row that a transform cannot encode."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact.transform import MAX_PRICE, MAX_STEP_RATIO
from tests.app.artifact.transforms import log_return, minmax_price
from tests.strategies import F64, WINDOW, few_examples, windows


def window_with_price(index: int, price: float) -> F64:
    """Return (1, 6) prices of 100, one of them replaced."""
    prices = np.full((1, 6), 100.0)
    prices[:, index] = price
    return prices


@pytest.mark.parametrize("index", [0, 3, 5])
@pytest.mark.parametrize("price", [0.0, -1.0, -1e31, 1.01e30, 0.99e-30, np.inf, -np.inf, np.nan])
def test_log_return_invalid_price_is_reported(price: float, index: int) -> None:
    reason = "a price must be positive for this model (from 1e-30 to 1e+30)"
    assert log_return().invalid_prices(window_with_price(index, price)) == [(0, index, reason)]


@pytest.mark.parametrize("index", [0, 3, 5])
@pytest.mark.parametrize("price", [1.01e30, -1.01e30, np.inf, -np.inf, np.nan])
def test_minmax_price_invalid_price_is_reported(price: float, index: int) -> None:
    reason = "a price must lie within ±1e+30"
    assert minmax_price().invalid_prices(window_with_price(index, price)) == [(0, index, reason)]


@pytest.mark.parametrize("price", [0.0, -1.0, MAX_PRICE, -MAX_PRICE])
def test_minmax_price_any_other_price_is_valid(price: float) -> None:
    assert minmax_price().invalid_prices(window_with_price(2, price)) == []


@pytest.mark.parametrize("price", [MAX_PRICE, 1 / MAX_PRICE])
def test_log_return_price_bounds_are_valid(price: float) -> None:
    assert log_return().invalid_prices(np.full((1, WINDOW), price)) == []


@pytest.mark.parametrize("factor", [1.01 * MAX_STEP_RATIO, 0.99 / MAX_STEP_RATIO])
@pytest.mark.parametrize("index", [1, 3, 5])
def test_log_return_large_step_is_reported_at_later_price(factor: float, index: int) -> None:
    prices = np.full((1, 6), 100.0)
    prices[:, index:] *= factor
    reason = "the price changes by more than a factor of 1e+06 in one step"
    assert log_return().invalid_prices(prices) == [(0, index, reason)]


@pytest.mark.parametrize("factor", [MAX_STEP_RATIO, 1 / MAX_STEP_RATIO])
def test_log_return_largest_step_is_valid(factor: float) -> None:
    assert log_return().invalid_prices(np.array([[1.0, 1.0, factor, factor]])) == []


def test_invalid_prices_reports_only_first_of_a_row() -> None:
    transform = log_return()
    assert [found[:2] for found in transform.invalid_prices(np.array([[1.0, 0.0, -1.0, 2.0, np.nan]]))] == [(0, 1)]
    assert [found[:2] for found in transform.invalid_prices(np.array([[1.0, 1.0, 1e7, 1.0, 1e9]]))] == [(0, 2)]
    assert [found[:2] for found in minmax_price().invalid_prices(np.array([[1.0, 1e31, 1e32]]))] == [(0, 1)]


def test_log_return_invalid_price_takes_precedence_over_step() -> None:
    (found,) = log_return().invalid_prices(np.array([[1.0, 1e7, 1.0, 0.0, 1.0]]))
    assert found[1] == 3
    assert "must be positive" in found[2]


def test_invalid_prices_reports_every_invalid_row() -> None:
    prices = np.full((5, 6), 100.0)
    prices[1, 4] = 0.0
    prices[2, 2:] = 1e10
    prices[4, 0] = -3.0
    assert sorted(found[:2] for found in log_return().invalid_prices(prices)) == [(1, 4), (2, 2), (4, 0)]
    prices[3, 5] = 1e31
    assert [found[:2] for found in minmax_price().invalid_prices(prices)] == [(3, 5)]


@few_examples
@given(windows(), st.integers(0, 3), st.integers(0, WINDOW - 1), st.sampled_from([0.0, -2.5, 1e31]))
def test_log_return_single_invalid_price_is_found(prices: F64, row: int, index: int, price: float) -> None:
    row %= len(prices)
    prices[row, index] = price
    assert [found[:2] for found in log_return().invalid_prices(prices)] == [(row, index)]
