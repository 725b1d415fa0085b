import numpy as np
import pytest

from benchmarks.windows import LARGEST_ERROR, POOL, WINDOW, Windows


def test_the_pool_is_of_different_realistic_windows(windows: Windows) -> None:
    assert windows.prices.shape == (POOL, WINDOW)
    assert len(np.unique(windows.prices, axis=0)) == POOL
    assert (windows.prices > 1).all()
    np.testing.assert_array_equal(windows.prices, np.round(windows.prices, 2))


def test_right_forecasts_have_no_fault(windows: Windows) -> None:
    rows = slice(5, 9)
    assert windows.fault(rows, windows.forecasts[rows].tolist()) is None


def test_a_wrong_forecast_is_found_among_right_ones(windows: Windows) -> None:
    answered = windows.forecasts[:8].tolist()
    answered[3] *= 1 + 2 * LARGEST_ERROR
    assert "a wrong forecast" in str(windows.fault(slice(0, 8), answered))


def test_forecasts_of_other_windows_are_wrong(windows: Windows) -> None:
    assert windows.fault(slice(0, 2), windows.forecasts[1::-1].tolist()) is not None


@pytest.mark.parametrize("answered", [[], [1.0, 2.0], [float("nan")]])
def test_too_few_too_many_and_none_are_faults(windows: Windows, answered: list[float]) -> None:
    assert windows.fault(slice(0, 1), answered) is not None
