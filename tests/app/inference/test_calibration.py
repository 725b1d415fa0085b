"""Calibration: offsets, centering and ordering, on a network with known outputs."""

import numpy as np
import pytest

from app.artifact.manifest import Calibration
from app.inference.forecaster import Forecaster
from tests.app.inference.forecasters import (
    LOG_RETURN,
    MINMAX_PRICE,
    PRICES,
    QUANTILES,
    UNLIMITED_RANGES,
    FakeEngine,
    fake_forecaster,
)
from tests.strategies import F64, WINDOW

ORDERED = [[-2.0, -1.0, 0.25, 1.0, 2.0], [-3.0, -1.5, 0.5, 1.5, 3.0]]  # (H, Q)
NO_OFFSETS = [[0.0, 0.0], [0.0, 0.0]]  # (H, L)


def calibrated_outputs(forecaster: Forecaster) -> F64:
    """Return the (H, Q) forecast for PRICES, converted back to the network's output units."""
    forecast = forecaster.forecast(PRICES)[0]
    returns: F64 = np.log(forecast / PRICES[0, -1]) / (0.01 * np.sqrt(np.arange(1, len(forecast) + 1)))[:, None]
    return returns


def test_zero_offsets_return_network_quantiles() -> None:
    np.testing.assert_allclose(calibrated_outputs(fake_forecaster(ORDERED, NO_OFFSETS)), ORDERED, rtol=1e-6)


def test_engine_receives_encoded_window() -> None:
    engine = FakeEngine(ORDERED)
    calibration = Calibration(center="network", offsets=NO_OFFSETS)
    Forecaster(LOG_RETURN, engine, calibration, QUANTILES, UNLIMITED_RANGES).forecast(PRICES)
    (inputs,) = engine.calls
    np.testing.assert_array_equal(inputs, LOG_RETURN.encode(PRICES).inputs)


# Offsets and order


def test_positive_offsets_widen_intervals_by_level_and_horizon() -> None:
    offsets = [[0.1, 0.4], [0.2, 0.8]]  # of the inner level, then of the outer one
    moved = calibrated_outputs(fake_forecaster(ORDERED, offsets)) - ORDERED
    np.testing.assert_allclose(moved, [[-0.4, -0.1, 0, 0.1, 0.4], [-0.8, -0.2, 0, 0.2, 0.8]], atol=1e-6)


def test_negative_offsets_narrow_intervals() -> None:
    moved = calibrated_outputs(fake_forecaster(ORDERED, [[-0.1, -0.4], [0.0, -0.1]])) - ORDERED
    np.testing.assert_allclose(moved, [[0.4, 0.1, 0, -0.1, -0.4], [0.1, 0, 0, 0, -0.1]], atol=1e-6)


def test_crossing_quantiles_are_sorted() -> None:
    crossing = [[1.0, 2.0, 0.0, -1.0, -2.0]]
    forecaster = fake_forecaster(crossing, [[0.0, 0.0]])
    np.testing.assert_allclose(calibrated_outputs(forecaster), [[-2, -1, 0, 1, 2]], atol=1e-6)


def test_intervals_never_narrow_with_horizon() -> None:
    narrowing = [[-3.0, -1.0, 0.0, 2.0, 4.0], [-0.5, -0.25, 0.5, 0.75, 1.0], [-3.0, -2.0, -1.0, 0.0, 5.0]]
    forecast = calibrated_outputs(fake_forecaster(narrowing, [[0.0, 0.0]] * 3)) * np.sqrt([[1], [2], [3]])
    second, third = 2**0.5, 3**0.5
    expected: list[list[float]] = [
        [-3, -1, 0, 2, 4],
        [-3, -1, 0.5 * second, 2, 4],
        [-3 * third, -2 * third, -third, 2, 5 * third],
    ]
    np.testing.assert_allclose(forecast, expected, rtol=1e-6)


# Centering on the last price


def test_centering_shifts_forecast_and_keeps_widths() -> None:
    centered = calibrated_outputs(fake_forecaster(ORDERED, NO_OFFSETS, center="last_price"))
    np.testing.assert_allclose(centered, np.subtract(ORDERED, [[0.25], [0.5]]), atol=1e-6)


def test_centering_combines_with_offsets() -> None:
    centered = calibrated_outputs(fake_forecaster([[-1.0, 0.5, 1.0]], [[0.25]], center="last_price"))
    np.testing.assert_allclose(centered, [[-1.75, 0.0, 0.75]], atol=1e-6)


def test_centering_works_on_price_levels() -> None:
    forecaster = fake_forecaster([[0.1, 0.3, 0.9]], [[0.05]], center="last_price", transform=MINMAX_PRICE)
    np.testing.assert_allclose(forecaster.forecast(np.full((2, WINDOW), 150.0)), [[[125, 150, 215]]] * 2, rtol=1e-6)


@pytest.mark.parametrize("offset", [-0.03, -0.2, 0.0, 0.5])
@pytest.mark.parametrize("outputs", [[-0.01, 0.0, 0.05], [-0.05, 0.0, 0.01], [0.3, 0.1, 0.2], [0.0, 0.0, 0.0]])
def test_centered_median_is_last_price_for_any_interval(outputs: list[float], offset: float) -> None:
    forecaster = fake_forecaster([outputs], [[offset]], center="last_price")
    assert forecaster.forecast(PRICES)[0, 0, 1] == PRICES[0, -1]
