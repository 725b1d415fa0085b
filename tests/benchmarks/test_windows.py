import numpy as np
import pytest

from benchmarks.windows import MAX_RELATIVE_ERROR, POOL_WINDOWS, WINDOW, WindowPool


def test_pool_has_different_positive_prices_in_cents(pool: WindowPool) -> None:
    assert pool.prices.shape == (POOL_WINDOWS, WINDOW)
    assert len(np.unique(pool.prices, axis=0)) == POOL_WINDOWS
    assert (pool.prices > 1).all()
    np.testing.assert_array_equal(pool.prices, np.round(pool.prices, 2))


def test_correct_forecasts_have_no_error(pool: WindowPool) -> None:
    rows = slice(5, 9)
    assert pool.find_error(rows, pool.forecasts[rows].tolist()) is None


def test_one_wrong_forecast_is_found(pool: WindowPool) -> None:
    received = pool.forecasts[:8].tolist()
    received[3] *= 1 + 2 * MAX_RELATIVE_ERROR
    assert "wrong forecast" in str(pool.find_error(slice(0, 8), received))


def test_forecasts_of_other_windows_are_wrong(pool: WindowPool) -> None:
    assert pool.find_error(slice(0, 2), pool.forecasts[1::-1].tolist()) is not None


@pytest.mark.parametrize("received", [[], [1.0, 2.0], [float("nan")]])
def test_missing_extra_and_nan_forecasts_are_wrong(pool: WindowPool, received: list[float]) -> None:
    assert pool.find_error(slice(0, 1), received) is not None
