"""Properties of all transforms, and the min-max price transform."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from sklearn.preprocessing import MinMaxScaler

from app.artifact import store
from app.artifact.affine import Affine
from app.artifact.manifest import LogReturnParameters, MinMaxPriceParameters
from app.artifact.transform import LogReturn, MinMaxPrice, Transform, build_transform
from tests.app.artifact.transforms import (
    ALL_TRANSFORMS,
    HORIZON,
    WITH_AND_WITHOUT_LEVEL,
    log_return,
    minmax_price,
    random_outputs,
)
from tests.conftest import version_of
from tests.strategies import F64, WINDOW, few_examples, seeds, windows

# Every transform


@ALL_TRANSFORMS
@few_examples
@given(prices=windows())
def test_decode_last_price_output_returns_last_price(transform: Transform, prices: F64) -> None:
    encoded = transform.encode(prices)
    decoded = transform.decode(np.broadcast_to(encoded.last_price_output, (len(prices), HORIZON, 1)), encoded)
    np.testing.assert_array_equal(encoded.last_price[:, 0, 0], prices[:, -1])
    np.testing.assert_allclose(decoded[:, :, 0], np.repeat(prices[:, -1:], HORIZON, axis=1), rtol=1e-12, atol=1e-12)


@ALL_TRANSFORMS
@few_examples
@given(prices=windows(), seed=seeds)
def test_transform_rows_do_not_depend_on_batch(transform: Transform, prices: F64, seed: int) -> None:
    outputs = random_outputs(seed, len(prices))
    batch = transform.encode(prices)
    decoded = transform.decode(outputs, batch)
    targets = transform.encode_targets(prices[:, :HORIZON], batch)
    for row in range(len(prices)):
        here = slice(row, row + 1)
        alone = transform.encode(prices[here])
        np.testing.assert_array_max_ulp(batch.inputs[here], alone.inputs, maxulp=1)
        np.testing.assert_array_equal(batch.last_price_output[here], alone.last_price_output)
        np.testing.assert_array_equal(batch.last_price[here], alone.last_price)
        np.testing.assert_allclose(batch.volatility[here], alone.volatility, rtol=1e-12)
        np.testing.assert_allclose(decoded[here], transform.decode(outputs[here], alone), rtol=1e-12)
        np.testing.assert_allclose(targets[here], transform.encode_targets(prices[here, :HORIZON], alone), rtol=1e-12)
        np.testing.assert_allclose(
            transform.encode(prices).observed_ranges[here],
            transform.encode(prices[here]).observed_ranges,
            rtol=1e-12,
        )


@ALL_TRANSFORMS
@few_examples
@given(prices=windows())
def test_encode_valid_prices_gives_finite_numbers(transform: Transform, prices: F64) -> None:
    encoded = transform.encode(prices)
    assert transform.invalid_prices(prices) == []
    assert encoded.inputs.shape == (len(prices), *transform.input_shape(WINDOW))
    assert encoded.inputs.dtype == np.float32
    for part in (encoded.last_price_output, encoded.last_price, encoded.volatility):
        assert part.shape == (len(prices), 1, 1)
        assert np.isfinite(part).all()
    assert np.isfinite(encoded.inputs).all()
    assert encoded.observed_ranges.shape == (len(prices), len(transform.quantities), 2)
    assert np.isfinite(encoded.observed_ranges).all()
    assert (encoded.observed_ranges[:, :, 0] <= encoded.observed_ranges[:, :, 1]).all()


def test_input_shape_of_each_transform() -> None:
    assert log_return().input_shape(60) == (59, 1)
    assert log_return(level=True).input_shape(60) == (59, 2)
    assert minmax_price().input_shape(60) == (60, 1)


def test_build_transform_follows_parameters() -> None:
    affine = Affine(2.0, 0.0)
    of_returns = build_transform(LogReturnParameters(clip=3.0), affine)
    of_prices = build_transform(MinMaxPriceParameters(), affine)
    assert of_returns == LogReturn(LogReturnParameters(clip=3.0), affine)
    assert of_prices == MinMaxPrice(MinMaxPriceParameters(), affine)
    assert (of_returns.kind, of_returns.quantities) == ("log_return", ("volatility", "last step"))
    assert (of_prices.kind, of_prices.quantities) == ("minmax_price", ("price",))


# Min-max scaled prices


@few_examples
@given(windows(window=WINDOW + HORIZON))
def test_minmax_price_decode_undoes_encode_targets(prices: F64) -> None:
    past, future = prices[:, :WINDOW], prices[:, WINDOW:]
    transform = MinMaxPrice(MinMaxPriceParameters(), Affine.from_scaler(MinMaxScaler().fit(prices.reshape(-1, 1))))
    encoded = transform.encode(past)
    again = transform.decode(transform.encode_targets(future, encoded)[:, :, None], encoded)
    np.testing.assert_allclose(again[:, :, 0], future, rtol=1e-9, atol=1e-9 * np.ptp(prices))


def test_minmax_price_encode_scales_prices() -> None:
    transform = minmax_price(low=50, high=250)
    prices = np.array([[50.0, 100.0, 250.0], [0.0, -50.0, 300.0]])
    encoded = transform.encode(prices)
    np.testing.assert_allclose(encoded.inputs[:, :, 0], [[0, 0.25, 1], [-0.25, -0.5, 1.25]], atol=1e-7)
    np.testing.assert_allclose(encoded.last_price_output[:, 0, 0], [1, 1.25])
    assert encoded.volatility.tolist() == [[[1.0]], [[1.0]]]
    assert transform.encode(prices).observed_ranges.tolist() == [[[50, 250]], [[-50, 300]]]


def test_shipped_tutorial_scales_training_range_to_zero_one(shipped: Path) -> None:
    artifact = store.read_version(shipped, "tutorial", version_of("tutorial"))
    (trained,) = artifact.manifest.training_ranges
    transform = artifact.transform
    assert transform.kind == "minmax_price"
    assert (trained.quantity,) == transform.quantities == ("price",)
    inputs = transform.encode(np.array([np.linspace(trained.low, trained.high, WINDOW)])).inputs
    np.testing.assert_allclose(inputs[0, [0, -1], 0], [0, 1], atol=1e-6)


# Values to fit the scaler on


def samples(rows: int, window: int, horizon: int = 1) -> tuple[F64, F64]:
    """Return (N, W) windows and (N, H) futures of one random walk."""
    prices = 100 * np.exp(np.random.default_rng(rows).normal(0, 0.02, rows + window + horizon - 1).cumsum())
    both = np.lib.stride_tricks.sliding_window_view(prices, window + horizon)
    return both[:, :window], both[:, window:]


def test_minmax_price_scaler_training_values_are_all_prices() -> None:
    windows, futures = np.array([[3.0, 1.0, 4.0], [1.0, 4.0, 1.0]]), np.array([[1.0], [5.0]])
    values = minmax_price().scaler_training_values(windows, futures)
    assert values.shape == (8, 1)
    assert set(values[:, 0].tolist()) == {1.0, 3.0, 4.0, 5.0}


@WITH_AND_WITHOUT_LEVEL
@pytest.mark.parametrize(("rows", "window"), [(1, WINDOW), (41, WINDOW), (7, 4)])
def test_log_return_scaler_training_values_equal_unscaled_inputs(rows: int, window: int, level: bool) -> None:
    windows, futures = samples(rows, window)
    unscaled = log_return(scale=1.0, clip=1e9, level=level)
    values = unscaled.scaler_training_values(windows, futures)
    assert values.shape == (rows * (window - 1), 1)
    inputs = unscaled.encode(windows).inputs[:, :, 0]
    np.testing.assert_allclose(values.reshape(rows, window - 1), inputs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [0.1, 1.0, 25.0])
def test_scaler_training_values_do_not_depend_on_scaler(scale: float) -> None:
    both = samples(20, WINDOW, HORIZON)
    np.testing.assert_array_equal(
        log_return(scale).scaler_training_values(*both), log_return(1.0).scaler_training_values(*both)
    )
    np.testing.assert_array_equal(
        minmax_price(0, scale).scaler_training_values(*both), minmax_price().scaler_training_values(*both)
    )
