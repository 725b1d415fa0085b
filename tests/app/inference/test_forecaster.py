"""Forecasts are ordered, finite and independent of the batch; invalid prices and warnings are reported per window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact.manifest import TrainingRange
from app.artifact.store import Artifact
from app.artifact.transform import Transform
from app.errors import EngineFailed
from app.inference.forecaster import Forecaster, pack_window
from app.inference.input_checks import ForecastWarning
from tests.app.artifact.artifact_files import SHIPPED_MODELS
from tests.app.inference.forecasters import LOG_RETURN, MINMAX_PRICE, PRICES, UNLIMITED_RANGES, fake_forecaster
from tests.strategies import F64, WINDOW, few_examples, windows

factors = st.floats(-6, 6).map(lambda power: float(10**power))


@pytest.fixture(scope="module")
def centered(artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster]) -> dict[str, Forecaster]:
    """Return the shipped models, calibrated so that the last price is the median."""
    found = {}
    for name, artifact in artifacts.items():
        manifest = artifact.manifest
        calibration = manifest.calibration.model_copy(update={"center": "last_price"})
        found[name] = Forecaster(
            artifact.transform, forecasters[name].engine, calibration, manifest.quantiles, manifest.training_ranges
        )
    return found


# Quantiles


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@few_examples
@given(prices=windows())
def test_forecast_quantiles_never_cross(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster], name: str, prices: F64
) -> None:
    manifest = artifacts[name].manifest
    forecast = forecasters[name].forecast(prices)
    assert forecast.shape == (len(prices), manifest.horizon, len(manifest.quantiles))
    assert forecast.dtype == np.float64
    assert np.isfinite(forecast).all()
    assert (np.diff(forecast, axis=2) >= 0).all()


@few_examples
@given(prices=windows())
def test_forecast_intervals_never_narrow_with_horizon(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster], prices: F64
) -> None:
    median = artifacts["default"].manifest.quantiles.index(0.5)
    forecast = forecasters["default"].forecast(prices)
    assert (np.diff(forecast[:, :, :median], axis=1) <= 0).all()
    assert (np.diff(forecast[:, :, median + 1 :], axis=1) >= 0).all()


@few_examples
@given(prices=windows(zigzag=False), factor=factors)
def test_forecast_of_default_model_scales_with_price(
    forecasters: dict[str, Forecaster], prices: F64, factor: float
) -> None:
    default = forecasters["default"]
    np.testing.assert_allclose(default.forecast(factor * prices), factor * default.forecast(prices), rtol=1e-5)


@pytest.mark.parametrize("name", SHIPPED_MODELS)
@few_examples
@given(prices=windows(zigzag=False))
def test_forecast_does_not_depend_on_batch(forecasters: dict[str, Forecaster], name: str, prices: F64) -> None:
    batch = forecasters[name].forecast(prices)
    one_by_one = [forecasters[name].forecast(prices[row : row + 1]) for row in range(len(prices))]
    np.testing.assert_allclose(np.concatenate(one_by_one), batch, rtol=1e-5)


@few_examples
@given(prices=windows())
def test_forecast_centered_default_median_is_last_price(
    artifacts: dict[str, Artifact], centered: dict[str, Forecaster], prices: F64
) -> None:
    median = artifacts["default"].manifest.quantiles.index(0.5)
    forecast = centered["default"].forecast(prices)[:, :, median]
    np.testing.assert_array_equal(forecast, np.repeat(prices[:, -1:], forecast.shape[1], axis=1))


@few_examples
@given(prices=windows())
def test_forecast_centered_tutorial_median_is_last_price(
    artifacts: dict[str, Artifact], centered: dict[str, Forecaster], prices: F64
) -> None:
    median = artifacts["tutorial"].manifest.quantiles.index(0.5)
    forecast = centered["tutorial"].forecast(prices)[:, 0, median]
    np.testing.assert_allclose(forecast, prices[:, -1], rtol=1e-12, atol=1e-12)


def test_forecast_packed_equals_forecast(forecasters: dict[str, Forecaster]) -> None:
    for forecaster in forecasters.values():
        prices = np.random.default_rng(3).uniform(300, 310, (5, WINDOW))
        packed = forecaster.forecast_packed([pack_window(row) for row in prices.tolist()])
        np.testing.assert_array_equal([each.quantiles for each in packed], forecaster.forecast(prices))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("transform", [LOG_RETURN, MINMAX_PRICE], ids=lambda transform: transform.kind)
def test_forecast_non_finite_output_fails(bad: float, transform: Transform) -> None:
    forecaster = fake_forecaster([[0.0, 0.0, bad]], [[0.0]], transform=transform)
    with pytest.raises(EngineFailed, match="NaN or infinity"):
        forecaster.forecast(PRICES)


def test_forecast_minus_infinity_fails_on_price_levels() -> None:
    with pytest.raises(EngineFailed, match="NaN or infinity"):
        fake_forecaster([[-np.inf, 0.0, 0.0]], [[0.0]], transform=MINMAX_PRICE).forecast(PRICES)


# Invalid prices


@pytest.mark.parametrize(
    ("index", "price", "default", "tutorial"),
    [
        (5, -1.0, 5, None),
        (7, 1e31, 7, 7),
        (7, -1e31, 7, 7),
        (0, 0.0, 0, None),
        (30, 1e9, 30, None),
        (9, 1e7, None, None),
    ],
)
def test_first_invalid_price_depends_on_model(
    forecasters: dict[str, Forecaster], index: int, price: float, default: int | None, tutorial: int | None
) -> None:
    prices = [100.0] * WINDOW
    prices[index] = price
    for name, expected in (("default", default), ("tutorial", tutorial)):
        found = forecasters[name].first_invalid_price(prices)
        assert (found and found[0]) == expected


@few_examples
@given(windows())
def test_accepted_range_has_no_invalid_prices(prices: F64) -> None:
    for transform in (MINMAX_PRICE, LOG_RETURN):
        if transform.accepts_range(float(prices.min()), float(prices.max())):
            assert transform.invalid_prices(prices[None] if prices.ndim == 1 else prices) == []


# Warnings


def forecaster_trained_on(low: float, high: float, transform: Transform = MINMAX_PRICE) -> Forecaster:
    """Return a forecaster whose first quantity has this training range."""
    first = TrainingRange(quantity=transform.quantities[0], low=low, high=high)
    ranges = [first, *UNLIMITED_RANGES[len(UNLIMITED_RANGES) - len(transform.quantities) + 1 :]]
    return fake_forecaster([[0.0]], [[]], transform=transform, training_ranges=ranges)


def rising_window(low: float, high: float) -> F64:
    return np.linspace(low, high, WINDOW)


def warnings_for(forecaster: Forecaster, *rows: F64) -> list[list[ForecastWarning]]:
    return [list(each.warnings) for each in forecaster.forecast_packed([pack_window(row.tolist()) for row in rows])]


def test_window_inside_training_range_has_no_warning() -> None:
    forecaster = forecaster_trained_on(100, 200)
    assert warnings_for(forecaster, rising_window(100, 200), rising_window(150, 151)) == [[], []]


@pytest.mark.parametrize(
    ("low", "high", "detail"),
    [
        (99.5, 150, "99.5 is below the minimum of 100"),
        (150, 201.25, "201.25 is above the maximum of 200"),
        (50, 300, "50 is below the minimum of 100 and 300 is above the maximum of 200"),
        (1e-9, 150, "1e-09 is below the minimum of 100"),
        (150, 1234567.8, "1.23457e+06 is above the maximum of 200"),
    ],
)
def test_window_outside_training_range_has_one_warning(low: float, high: float, detail: str) -> None:
    (warnings,) = warnings_for(forecaster_trained_on(100, 200), rising_window(low, high))
    outside = [warning for warning in warnings if warning.code == "outside_training_range"]
    expected = f"the window's price is outside the training range: {detail}"
    assert outside == [ForecastWarning("outside_training_range", expected)]


def test_warnings_belong_to_their_window() -> None:
    rows = (rising_window(100, 300), rising_window(100, 200), rising_window(50, 100))
    assert [len(each) for each in warnings_for(forecaster_trained_on(100, 200), *rows)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("low", "high", "detail"),
    [
        (0.02, 0.05, ["the window's volatility is outside the training range: 0.01 is below the minimum of 0.02"]),
        (0.001, 0.005, ["the window's volatility is outside the training range: 0.01 is above the maximum of 0.005"]),
        (0.009, 0.011, []),
    ],
)
def test_log_return_model_warns_of_volatility(low: float, high: float, detail: list[str]) -> None:
    warnings = warnings_for(forecaster_trained_on(low, high, transform=LOG_RETURN), *PRICES)[0]
    assert [warning.detail for warning in warnings] == detail


def test_shipped_tutorial_warns_outside_training_prices(
    artifacts: dict[str, Artifact], forecasters: dict[str, Forecaster]
) -> None:
    (trained,) = artifacts["tutorial"].manifest.training_ranges
    low, high = trained.low, trained.high
    rows = (rising_window(low, high), rising_window(low / 2, high), rising_window(low, high * 2))
    assert [[warning.code for warning in each] for each in warnings_for(forecasters["tutorial"], *rows)] == [
        [],
        ["outside_training_range"],
        ["outside_training_range"],
    ]
