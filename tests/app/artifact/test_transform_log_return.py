"""The log return transform: forecasts scale with the price, and one jump does not dominate the volatility."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from app.artifact.affine import Affine
from app.artifact.manifest import LogReturnParameters
from app.artifact.transform import MAX_VOLATILITY_FEATURE, REFERENCE_VOLATILITY, LogReturn, build_transform
from tests.app.artifact.transforms import (
    HORIZON,
    WITH_AND_WITHOUT_LEVEL,
    factors,
    log_return,
    random_outputs,
    window_with_returns,
)
from tests.strategies import F64, WINDOW, few_examples, seeds, windows

# Scale and inverse


@few_examples
@given(windows(), factors, seeds)
def test_log_return_forecast_scales_with_price(prices: F64, factor: float, seed: int) -> None:
    transform = log_return()
    outputs = random_outputs(seed, len(prices))
    forecast = transform.decode(outputs, transform.encode(prices))
    scaled = transform.decode(outputs, transform.encode(factor * prices))
    np.testing.assert_allclose(scaled, factor * forecast, rtol=1e-9)


@WITH_AND_WITHOUT_LEVEL
@few_examples
@given(prices=windows(), factor=factors)
def test_log_return_inputs_do_not_depend_on_scale(level: bool, prices: F64, factor: float) -> None:
    transform = log_return(level=level)
    inputs, scaled = transform.encode(prices).inputs, transform.encode(factor * prices).inputs
    np.testing.assert_allclose(scaled, inputs, rtol=1e-6, atol=1e-6)


@few_examples
@given(windows(window=WINDOW + HORIZON))
def test_log_return_decode_undoes_encode_targets(prices: F64) -> None:
    past, future = prices[:, :WINDOW], prices[:, WINDOW:]
    transform = log_return()
    encoded = transform.encode(past)
    again = transform.decode(transform.encode_targets(future, encoded)[:, :, None], encoded)
    np.testing.assert_allclose(again[:, :, 0], future, rtol=1e-9)


@few_examples
@given(windows())
def test_log_return_output_of_zero_decodes_to_last_price(prices: F64) -> None:
    transform = log_return()
    decoded = transform.decode(np.zeros((len(prices), HORIZON, 1)), transform.encode(prices))
    np.testing.assert_array_equal(decoded[:, :, 0], np.repeat(prices[:, -1:], HORIZON, axis=1))


def test_log_return_output_grows_with_root_of_horizon() -> None:
    transform = log_return(scale=0.5)
    encoded = transform.encode(window_with_returns(*[0.01, -0.01] * 10))
    decoded = transform.decode(np.full((1, 4, 1), 0.5), encoded)
    np.testing.assert_allclose(np.log(decoded[0, :, 0] / 100), 0.01 * np.sqrt([1, 2, 3, 4]), rtol=1e-9)


def test_log_return_centering_scaler_is_rejected() -> None:
    scaler = StandardScaler().fit([[1.0], [2.0], [4.0]])
    with pytest.raises(ValueError, match="does not center"):
        build_transform(LogReturnParameters(), Affine.from_scaler(scaler))


def test_log_return_rounding_in_offset_is_accepted() -> None:
    assert LogReturn(LogReturnParameters(), Affine(1.0, 1e-13)).affine.offset == 1e-13


# Inputs


@pytest.mark.parametrize("price", [1e-30, 1e-6, 1.0, 1e9, 1e30])
def test_log_return_constant_window_has_floor_volatility(price: float) -> None:
    transform = log_return()
    encoded = transform.encode(np.full((1, WINDOW), price))
    assert encoded.volatility.tolist() == [[[1e-6]]]
    assert not encoded.inputs.any()
    forecast = transform.decode(np.full((1, 1, 3), 2.0), encoded)
    np.testing.assert_allclose(forecast, price, rtol=1e-5)


def test_log_return_inputs_are_scaled_standardized_returns() -> None:
    transform = log_return(scale=0.5)
    inputs = transform.encode(window_with_returns(*[0.02, -0.02] * 20)).inputs
    np.testing.assert_allclose(inputs[0, :, 0], [0.5, -0.5] * 20, rtol=1e-6)


@few_examples
@given(windows(), st.floats(0.5, 20))
def test_log_return_inputs_lie_within_clip(prices: F64, clip: float) -> None:
    inputs = log_return(clip=clip).encode(prices).inputs
    assert np.abs(inputs).max() <= np.float32(clip)


@pytest.mark.parametrize("factor", [1e5, 1e-5])
def test_log_return_jump_in_constant_window_is_clipped(factor: float) -> None:
    prices = np.full((1, WINDOW), 100.0)
    prices[:, -1] *= factor
    inputs = log_return(clip=10.0).encode(prices).inputs[0, :, 0]
    assert inputs[-1] == np.copysign(10.0, np.log(factor))
    assert not inputs[:-1].any()


# Volatility


@few_examples
@given(windows(), st.floats(-9, -2).map(lambda power: float(10**power)))
def test_volatility_is_never_below_floor(prices: F64, floor: float) -> None:
    volatility = log_return(floor=floor).encode(prices).volatility
    assert volatility.min() >= floor


def test_volatility_is_weighted_rms_of_capped_returns() -> None:
    returns = [0.01, -0.5, 0.02, -0.03]
    cap = 1.5 * (0.01 + 0.5 + 0.02 + 0.03) / 4  # 0.21: the second return is capped
    weighted = 0.125 * 0.01**2 + 0.25 * cap**2 + 0.5 * 0.02**2 + 1.0 * 0.03**2
    expected = np.sqrt(weighted / (0.125 + 0.25 + 0.5 + 1.0))
    transform = log_return(winsor=1.5, decay=0.5)
    prices = window_with_returns(*returns)
    np.testing.assert_allclose(transform.encode(prices).volatility[0, 0], expected, rtol=1e-9)
    observed = transform.encode(prices).observed_ranges  # (1, R, 2)
    np.testing.assert_allclose(observed, [[[expected] * 2, [-0.03 / expected] * 2]], rtol=1e-9)


@pytest.mark.parametrize("steps_ago", [0, 1, 5, 20, 40])
def test_volatility_after_split_rises_little(steps_ago: int) -> None:
    """After a 2:1 split among steps of 1%, winsorizing reduces the rise in volatility to a third or less."""
    quiet = np.tile([0.01, -0.01], 30)[1:]
    split = quiet.copy()
    split[-1 - steps_ago] = np.log(0.5)

    def rise(winsor: float) -> float:
        transform = log_return(winsor=winsor)
        both = np.concatenate([window_with_returns(*quiet), window_with_returns(*split)])
        before, after = transform.encode(both).volatility[:, 0, 0]
        np.testing.assert_allclose(before, 0.01, rtol=1e-9)
        return float(after / before) - 1

    assert rise(winsor=8.0) < 3.5
    assert rise(winsor=8.0) < rise(winsor=1e9) / 3
    if steps_ago == 0:
        assert rise(winsor=1e9) > 15


@few_examples
@given(windows(rows=1, zigzag=False), st.integers(1, WINDOW - 1), st.floats(-5, 5))
def test_volatility_is_bounded_by_winsor(prices: F64, start: int, power: float) -> None:
    prices[:, start:] *= np.exp(power)
    returns = np.abs(np.diff(np.log(prices)))
    volatility = log_return().encode(prices).volatility
    assert volatility[0, 0, 0] <= max(1e-6, min(returns.max(), 8 * returns.mean())) * (1 + 1e-9)


# The volatility level as a second feature


def test_level_is_second_feature_equal_at_every_step() -> None:
    prices = np.concatenate([window_with_returns(*[size, -size] * 10) for size in (0.01, 0.0001, 0.2)])
    inputs = log_return(scale=0.5, level=True).encode(prices).inputs  # (3, 20, 2)
    np.testing.assert_array_equal(inputs[:, :, 0], log_return(scale=0.5).encode(prices).inputs[:, :, 0])
    levels = [0.0, 0.5 * np.log(0.01), 0.5 * np.log(20)]  # at, below and above the reference volatility
    np.testing.assert_allclose(inputs[:, :, 1], np.repeat(np.array(levels)[:, None], 20, axis=1), atol=1e-6)


@few_examples
@given(prices=windows())
def test_level_is_bounded_function_of_volatility(prices: F64) -> None:
    encoded = log_return(level=True).encode(prices)
    levels = encoded.inputs[:, :, 1]  # (B, T)
    assert (levels == levels[:, :1]).all()
    assert np.abs(levels).max() <= MAX_VOLATILITY_FEATURE
    unbounded = 0.5 * np.log(encoded.volatility[:, 0] / REFERENCE_VOLATILITY)
    bounded = unbounded.clip(-MAX_VOLATILITY_FEATURE, MAX_VOLATILITY_FEATURE)
    np.testing.assert_allclose(levels[:, :1], bounded, rtol=1e-6, atol=1e-6)


@few_examples
@given(prices=windows(), seed=seeds)
def test_level_changes_neither_forecasts_nor_targets(prices: F64, seed: int) -> None:
    outputs = random_outputs(seed, len(prices))
    without, with_level = log_return(), log_return(level=True)
    one, other = without.encode(prices), with_level.encode(prices)
    np.testing.assert_array_equal(without.decode(outputs, one), with_level.decode(outputs, other))
    futures = prices[:, :HORIZON]
    np.testing.assert_array_equal(without.encode_targets(futures, one), with_level.encode_targets(futures, other))
