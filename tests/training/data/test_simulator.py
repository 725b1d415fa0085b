"""Simulated paths are reproducible, are valid prices, and have the statistics of market returns.

The bounds are for fixed seeds and leave three standard errors or more. Another random stream rarely breaks one, but a
change of the model does.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest

from training.data.series import Series
from training.data.simulation_parameters import SimulationParameters, draw_parameters
from training.data.simulator import (
    MAX_LOG_RETURN,
    add_microstructure_noise,
    autoregressive,
    random_walk,
    simulate_log_returns,
    simulate_paths,
)

pytestmark = pytest.mark.slow

Floats = npt.NDArray[np.float64]
PATHS, LENGTH = 200, 1500
SIMULATORS: list[Callable[[int, int, int], list[Series]]] = [
    simulate_paths,
    random_walk,
    lambda paths, length, seed: autoregressive(paths, length, seed, 0.3),
]


def log_returns(series: list[Series]) -> Floats:
    return np.diff(np.log([each.prices for each in series]), axis=1)  # (P, N - 1)


def autocorrelation(values: Floats, lag: int) -> Floats:
    centered = values - values.mean(axis=1, keepdims=True)  # (P, N)
    found: Floats = np.sum(centered[:, lag:] * centered[:, :-lag], axis=1) / np.sum(centered**2, axis=1)  # (P,)
    return found


def excess_kurtosis(values: Floats) -> Floats:
    centered = values - values.mean(axis=1, keepdims=True)  # (P, N)
    found: Floats = np.mean(centered**4, axis=1) / np.mean(centered**2, axis=1) ** 2 - 3  # (P,)
    return found


@pytest.fixture(scope="module")
def simulated() -> Floats:
    """(P, N) true returns, without microstructure noise, which has its own statistics."""
    rng = np.random.default_rng(1)
    return simulate_log_returns(draw_parameters(PATHS, rng), LENGTH, rng).T  # (P, N)


def parameters_with(paths: int, **overrides: float) -> SimulationParameters:
    """Equal parameters for all paths. Without overrides, returns are independent, nearly normal, and 1% per step."""
    values = dict.fromkeys((each.name for each in fields(SimulationParameters)), 0.0)
    values |= {"volatility": 0.01, "degrees_of_freedom": 100.0, "skew": 1.0, "regime_ratio": 1.0}
    values |= {"up_probability": 0.01, "down_probability": 0.02, "season_steps": 24.0, "season_sharpness": 1.0}
    return SimulationParameters(**{name: np.full(paths, value) for name, value in (values | overrides).items()})


def returns_with(overrides: dict[str, float], paths: int = 200, length: int = 800, seed: int = 2) -> Floats:
    """(P, N) log returns of paths that all have the components of these parameters, and no others."""
    return simulate_log_returns(parameters_with(paths, **overrides), length, np.random.default_rng(seed)).T


def observed_with(log_prices: Floats, **overrides: float) -> Floats:
    """Observed prices of true log prices (T, P)."""
    return add_microstructure_noise(
        log_prices, parameters_with(log_prices.shape[1], **overrides), np.random.default_rng(3)
    )


@pytest.mark.parametrize("simulate", SIMULATORS)
def test_simulators_return_valid_described_series(simulate: Callable[[int, int, int], list[Series]]) -> None:
    series = simulate(3, 50, 7)
    assert len({each.name for each in series}) == 3
    assert all(each.name.endswith(f"-{number:04d}") for number, each in enumerate(series, start=1))
    for each in series:
        assert each.prices.shape == (50,)
        assert each.prices.dtype == np.float64
        assert np.isfinite(each.prices).all()
        assert (each.prices > 0).all()
        assert each.dates is None
        assert each.sha256 == hashlib.sha256(each.prices.tobytes()).hexdigest()
        assert "seed 7" in each.source


@pytest.mark.parametrize("simulate", SIMULATORS)
def test_simulators_seed_determines_the_paths(simulate: Callable[[int, int, int], list[Series]]) -> None:
    first, again, other = simulate(4, 30, 1), simulate(4, 30, 1), simulate(4, 30, 2)
    assert [each.sha256 for each in first] == [each.sha256 for each in again]
    assert len({each.sha256 for each in first + other}) == 8


def test_simulate_paths_numbers_the_names() -> None:
    assert [each.name for each in simulate_paths(2, 2, seed=1)] == ["synthetic-0001", "synthetic-0002"]


@pytest.mark.parametrize(("paths", "length"), [(0, 10), (1, 1), (-1, 5)])
@pytest.mark.parametrize("simulate", SIMULATORS)
def test_simulators_too_few_paths_or_prices_are_rejected(
    simulate: Callable[[int, int, int], list[Series]], paths: int, length: int
) -> None:
    with pytest.raises(ValueError, match="at least 1 path of 2 prices"):
        simulate(paths, length, 1)


@pytest.mark.parametrize("coefficient", [-1.0, 1.0, 1.5, float("nan")])
def test_autoregressive_explosive_coefficient_is_rejected(coefficient: float) -> None:
    with pytest.raises(ValueError, match="greater than -1 and less than 1"):
        autoregressive(1, 10, 1, coefficient)


# All components together


def test_log_returns_have_little_drift_and_autocorrelation(simulated: Floats) -> None:
    scaled = simulated / simulated.std(axis=1, keepdims=True)  # (P, N)
    assert abs(np.mean(simulated > 0) - 0.5) < 0.03
    assert abs(scaled.mean()) < 0.06
    for lag in (1, 2, 5):
        assert abs(autocorrelation(simulated, lag).mean()) < 0.05


def test_log_returns_have_heavy_tails(simulated: Floats) -> None:
    kurtosis = excess_kurtosis(simulated)  # (P,)
    assert np.mean(kurtosis > 0) > 0.9
    assert np.median(kurtosis) > 1


def test_volatility_is_clustered(simulated: Floats) -> None:
    assert autocorrelation(simulated**2, 1).mean() > 0.06
    assert autocorrelation(np.abs(simulated), 1).mean() > 0.1
    assert autocorrelation(np.abs(simulated), 20).mean() > 0.03


def test_volatility_spans_daily_to_minute_scales(simulated: Floats) -> None:
    low, high = np.quantile(simulated.std(axis=1), [0.1, 0.9])
    assert low < 1.5e-3
    assert high > 1.5e-2


def test_volatility_averages_the_drawn_one() -> None:
    """Without seasons, because they change the variance over a cycle."""
    rng = np.random.default_rng(5)
    parameters = replace(draw_parameters(PATHS, rng), season_amplitude=np.zeros(PATHS))
    returns = simulate_log_returns(parameters, LENGTH, rng)  # (N, P)
    ratio = returns.std(axis=0) / parameters.volatility  # (P,)
    # With heavy tails, most finite samples have less than their expected variance.
    assert 0.85 < np.median(ratio) < 1.05
    assert 0.75 < np.mean(ratio**2) < 1.25


def test_simulate_paths_adds_noise_and_rarely_clips() -> None:
    """Some prices repeat the one before. A clipped return would be a fault of the model."""
    observed = log_returns(simulate_paths(PATHS, 300, seed=2))
    unmoved = np.mean(observed == 0, axis=1)  # (P,)
    assert 0.05 < np.mean(unmoved > 0.005) < 0.9
    assert np.mean(np.abs(observed) >= MAX_LOG_RETURN) < 1e-4


# One component at a time


def test_log_returns_without_components_are_normal() -> None:
    returns = returns_with({}, 50, LENGTH, 1)
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert abs(excess_kurtosis(returns).mean()) < 0.15
    assert abs(autocorrelation(returns**2, 1).mean()) < 0.02


GARCH = {"news": 0.15, "persistence": 0.95}
ASYMMETRIC = GARCH | {"asymmetry": 0.9}
SLOW = {"slow_sd": 0.5, "slow_persistence": 0.95}
LEVERAGED = SLOW | {"leverage": -0.7}


@pytest.mark.parametrize(
    "component",
    [
        GARCH,
        ASYMMETRIC,
        ASYMMETRIC | {"excited_by_rises": 1.0},
        SLOW,
        LEVERAGED,
        {"fast_sd": 0.5, "fast_persistence": 0.6},
        {"slow_sd": 0.3, "slow_persistence": 0.95, "fast_sd": 0.4, "fast_persistence": 0.6},
        {"regime_ratio": 3.0},
        {"jumps_per_step": 0.02, "jump_size": 6.0},
        {"degrees_of_freedom": 4.0},
    ],
    ids=lambda component: " and ".join(component),
)
def test_component_fattens_the_tails_and_keeps_the_variance(component: dict[str, float]) -> None:
    returns = returns_with(component)
    assert returns.std() == pytest.approx(0.01, rel=0.05)
    assert excess_kurtosis(returns).mean() > 0.4


@pytest.mark.parametrize(
    "component",
    [GARCH, ASYMMETRIC, SLOW, {"fast_sd": 0.6, "fast_persistence": 0.7}, {"regime_ratio": 4.0}],
    ids=lambda component: " and ".join(component),
)
def test_component_with_memory_clusters_volatility(component: dict[str, float]) -> None:
    returns = returns_with(component)
    assert autocorrelation(np.abs(returns), 1).mean() > 0.05
    assert abs(autocorrelation(returns, 1).mean()) < 0.02


def test_slow_volatility_has_longer_memory_than_fast() -> None:
    slow = returns_with({"slow_sd": 0.6, "slow_persistence": 0.98})
    fast = returns_with({"fast_sd": 0.6, "fast_persistence": 0.5})
    assert autocorrelation(np.abs(slow), 20).mean() > 0.1
    assert abs(autocorrelation(np.abs(fast), 20).mean()) < 0.02
    assert autocorrelation(np.abs(fast), 1).mean() > 0.05


@pytest.mark.parametrize("component", [ASYMMETRIC, LEVERAGED], ids=["asymmetry", "leverage"])
@pytest.mark.parametrize("by_rises", [False, True], ids=["by falls", "by rises"])
def test_asymmetry_and_leverage_react_to_one_side(component: dict[str, float], by_rises: bool) -> None:
    returns = returns_with(component | {"excited_by_rises": float(by_rises)}, length=500, seed=4).T  # (N, P)
    before, after = returns[:-1], np.abs(returns[1:])  # (N - 1, P)
    of_falls, of_rises = after[before < 0].mean(), after[before > 0].mean()
    assert of_rises > 1.1 * of_falls if by_rises else of_falls > 1.1 * of_rises


def test_season_repeats_after_its_length() -> None:
    returns = returns_with({"season_amplitude": 0.8, "season_steps": 24.0}, length=24 * 40)
    assert autocorrelation(np.abs(returns), 24).mean() > 0.1
    assert autocorrelation(np.abs(returns), 12).mean() < -0.05
    by_step = returns.reshape(200, 40, 24).std(axis=(0, 1))  # (24,)
    assert by_step.max() / by_step.min() == pytest.approx(np.exp(2 * 0.8 * np.tanh(1)), rel=0.1)
    assert np.exp(np.log(by_step).mean()) == pytest.approx(0.01, rel=0.02)  # the middle of the season


def test_season_second_wave_makes_two_peaks() -> None:
    season = {"season_steps": 24.0, "second_wave": 3.0, "second_phase": 1.0}
    # A small sharpness is nearly linear, so that the waves keep their shape.
    season |= {"season_sharpness": 0.02, "season_amplitude": 0.6 / 0.02}
    by_step = returns_with(season, length=24 * 40).reshape(200, 40, 24).std(axis=(0, 1))  # (24,)
    spectrum = np.abs(np.fft.rfft(np.log(by_step)))
    assert spectrum[2] == pytest.approx(3 * spectrum[1], rel=0.15)


def test_season_sharp_edges_open_and_close_a_session() -> None:
    season = {"season_amplitude": 0.5, "season_steps": 24.0, "season_sharpness": 50.0, "season_balance": 0.6}
    by_step = np.log(returns_with(season, length=24 * 40).reshape(200, 40, 24).std(axis=(0, 1)) / 0.01)  # (24,)
    np.testing.assert_allclose(np.abs(by_step), 0.5, atol=0.05)
    assert np.sum(by_step > 0) == 7  # of 24 steps, those whose cosine is above 0.6
    assert np.sum(np.diff(by_step > 0, append=by_step[0] > 0)) == 2


def test_regime_persists() -> None:
    """There are two volatilities, and the higher one lasts a third of the time."""
    returns = returns_with({"up_probability": 0.01, "down_probability": 0.02, "regime_ratio": 8.0})
    smooth = np.lib.stride_tricks.sliding_window_view(returns**2, 15, axis=1).mean(axis=2) ** 0.5  # (P, N - 14)
    low = 0.01 / np.sqrt(2 / 3 + 64 / 3)
    assert np.quantile(smooth, 0.3) == pytest.approx(low, rel=0.25)
    assert np.quantile(smooth, 0.9) == pytest.approx(8 * low, rel=0.25)


def test_jumps_have_the_configured_rate_and_size() -> None:
    returns = returns_with({"jumps_per_step": 0.01, "jump_size": 20.0})
    sigma = 0.01 / np.sqrt(1 + 0.01 * 400)
    far = np.mean(np.abs(returns) > 5 * sigma)  # jumps larger than a quarter of their standard deviation
    assert far == pytest.approx(0.01 * 0.80, rel=0.1)


@pytest.mark.parametrize("coefficient", [-0.3, 0.2])
def test_autocorrelation_is_as_configured_and_keeps_variance(coefficient: float) -> None:
    returns = returns_with({"autocorrelation": coefficient})
    assert autocorrelation(returns, 1).mean() == pytest.approx(coefficient, abs=0.02)
    assert autocorrelation(returns, 2).mean() == pytest.approx(coefficient**2, abs=0.02)
    assert returns.std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("skew", [0.8, 1.3])
def test_skew_stretches_one_side_and_keeps_the_median(skew: float) -> None:
    returns = returns_with({"skew": skew})
    assert abs(np.mean(returns > 0) - 0.5) < 0.004  # 160,000 signs: a standard error of 0.00125
    falls, rises = -returns[returns < 0], returns[returns > 0]
    assert np.median(falls) / np.median(rises) == pytest.approx(skew**2, rel=0.03)


def test_drift_is_the_mean_in_units_of_volatility() -> None:
    assert returns_with({"drift": 0.1}).mean() == pytest.approx(0.1 * 0.01, rel=0.1)
    difference = returns_with({"drift": 0.1}) - returns_with({})
    np.testing.assert_allclose(difference, 0.001, rtol=1e-9)


def test_log_returns_extreme_parameters_stay_within_bounds() -> None:
    """Far outside the drawn ranges: GARCH volatility driven by shocks whose variance is barely finite."""
    extreme = {"volatility": 0.5, "degrees_of_freedom": 2.01, "news": 0.85, "persistence": 0.95, "jumps_per_step": 0.5}
    returns = returns_with(extreme, 20, 500, 1)
    assert np.isfinite(returns).all()
    assert np.abs(returns).max() <= MAX_LOG_RETURN


# Microstructure noise


@pytest.fixture(scope="module")
def true_log_prices() -> Floats:
    return np.random.default_rng(6).normal(0, 0.01, (1000, 50)).cumsum(axis=0)  # (T, P)


def test_noise_without_components_changes_nothing(true_log_prices: Floats) -> None:
    np.testing.assert_array_equal(observed_with(true_log_prices), true_log_prices)


def test_noise_bounce_moves_prices_around_the_true_ones(true_log_prices: Floats) -> None:
    """Bounces make returns look mean-reverting (Roll 1984): −b² at lag 1, relative to a variance of 1 + 2 b²."""
    bounce = 0.5
    observed = observed_with(true_log_prices, bounce=bounce)
    assert (observed - true_log_prices).std() == pytest.approx(bounce * 0.01, rel=0.02)
    expected = -(bounce**2) / (1 + 2 * bounce**2)
    assert autocorrelation(np.diff(observed.T), 1).mean() == pytest.approx(expected, abs=0.02)
    assert abs(autocorrelation(np.diff(observed.T), 2).mean()) < 0.02


def test_noise_tick_rounds_prices(true_log_prices: Floats) -> None:
    tick = 0.7 * 0.01
    observed = observed_with(true_log_prices, tick=0.7)
    np.testing.assert_allclose(observed / tick, np.round(observed / tick), atol=1e-9)
    assert np.abs(observed - true_log_prices).max() <= tick / 2 * (1 + 1e-9)
    assert np.mean(np.diff(observed, axis=0) == 0) > 0.2


def test_noise_stale_prices_repeat_the_step_before(true_log_prices: Floats) -> None:
    observed = observed_with(true_log_prices, stale_probability=0.3)
    is_new = observed == true_log_prices
    assert is_new[0].all()
    assert np.mean(is_new) == pytest.approx(0.7, abs=0.01)
    assert (observed[1:][~is_new[1:]] == observed[:-1][~is_new[1:]]).all()


def test_noise_applies_to_each_path_separately() -> None:
    both = parameters_with(2, tick=0.5)
    both = replace(both, tick=np.array([0.0, 0.5]), stale_probability=np.array([0.5, 0.0]))
    true = np.random.default_rng(6).normal(0, 0.01, (200, 2)).cumsum(axis=0)
    observed = add_microstructure_noise(true, both, np.random.default_rng(3))
    assert set(observed[:, 0]) <= set(true[:, 0])
    np.testing.assert_allclose(observed[:, 1] / 0.005, np.round(observed[:, 1] / 0.005), atol=1e-9)


# Random walks and autoregressive paths


def test_random_walk_has_constant_volatility_and_no_memory() -> None:
    returns = log_returns(random_walk(50, LENGTH, seed=1))  # (P, N - 1)
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert abs(excess_kurtosis(returns).mean()) < 0.1
    assert abs(autocorrelation(returns, 1).mean()) < 0.015
    assert abs(autocorrelation(returns**2, 1).mean()) < 0.015


@pytest.mark.parametrize("coefficient", [-0.5, 0.1, 0.6])
def test_autoregressive_coefficient_is_recovered(coefficient: float) -> None:
    returns = log_returns(autoregressive(20, LENGTH, 1, coefficient))  # (P, N - 1)
    before, after = returns[:, :-1].ravel(), returns[:, 1:].ravel()  # (M,) pairs of all paths
    estimate = before @ after / (before @ before)
    standard_error = np.sqrt((1 - coefficient**2) / before.size)
    assert abs(estimate - coefficient) < 3 * standard_error
    assert returns.std() == pytest.approx(0.01, rel=0.03)
