"""Simulated paths: repeatable, usable as prices, and with the statistics of returns that they are there to teach.

The bounds are for fixed seeds and leave three standard errors or more: a change of the random stream alone seldom
breaks one, a change of the model does.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest

from training.data.series import Series
from training.data.simulator import (
    BURN_IN_STEPS,
    MAX_LOG_RETURN,
    Parameters,
    autoregressive,
    draw_parameters,
    observe,
    random_walk,
    simulate_log_returns,
    simulate_paths,
)

pytestmark = pytest.mark.slow

Floats = npt.NDArray[np.float64]
PATHS, LENGTH = 200, 1500
MAKERS: list[Callable[[int, int, int], list[Series]]] = [
    simulate_paths,
    random_walk,
    lambda paths, length, seed: autoregressive(paths, length, seed, 0.3),
]


def log_returns(series: list[Series]) -> Floats:
    return np.diff(np.log([each.prices for each in series]), axis=1)  # (P, N - 1)


def autocorrelation(values: Floats, lag: int) -> Floats:
    centred = values - values.mean(axis=1, keepdims=True)  # (P, N)
    found: Floats = np.sum(centred[:, lag:] * centred[:, :-lag], axis=1) / np.sum(centred**2, axis=1)  # (P,)
    return found


def excess_kurtosis(values: Floats) -> Floats:
    centred = values - values.mean(axis=1, keepdims=True)  # (P, N)
    found: Floats = np.mean(centred**4, axis=1) / np.mean(centred**2, axis=1) ** 2 - 3  # (P,)
    return found


@pytest.fixture(scope="module")
def simulated() -> Floats:
    """True returns, before they are observed: ticks and stale prices have statistics of their own."""
    rng = np.random.default_rng(1)
    return simulate_log_returns(draw_parameters(PATHS, rng), LENGTH, rng).T  # (P, N)


def parameters_with(paths: int, **parts: float) -> Parameters:
    """The same parameters for every path; without `parts`, of independent, nearly normal returns of 1% per step."""
    values = dict.fromkeys((each.name for each in fields(Parameters)), 0.0)
    values |= {"volatility": 0.01, "degrees_of_freedom": 100.0, "skew": 1.0, "regime_ratio": 1.0}
    values |= {"chance_up": 0.01, "chance_down": 0.02, "season_steps": 24.0, "season_sharpness": 1.0}
    return Parameters(**{name: np.full(paths, value) for name, value in (values | parts).items()})


def returns_with(parts: dict[str, float], paths: int = 200, length: int = 800, seed: int = 2) -> Floats:
    """(P, N) log returns of paths that all have these parts, and no others."""
    return simulate_log_returns(parameters_with(paths, **parts), length, np.random.default_rng(seed)).T


def observed_with(log_prices: Floats, **parts: float) -> Floats:
    """What is seen of (T, P) log prices."""
    return observe(log_prices, parameters_with(log_prices.shape[1], **parts), np.random.default_rng(3))


@pytest.mark.parametrize("make", MAKERS)
def test_paths_are_positive_finite_and_described(make: Callable[[int, int, int], list[Series]]) -> None:
    series = make(3, 50, 7)
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


@pytest.mark.parametrize("make", MAKERS)
def test_the_seed_decides_the_paths(make: Callable[[int, int, int], list[Series]]) -> None:
    first, again, other = make(4, 30, 1), make(4, 30, 1), make(4, 30, 2)
    assert [each.sha256 for each in first] == [each.sha256 for each in again]
    assert len({each.sha256 for each in first + other}) == 8


def test_names_of_simulated_paths() -> None:
    assert [each.name for each in simulate_paths(2, 2, seed=1)] == ["synthetic-0001", "synthetic-0002"]


@pytest.mark.parametrize(("paths", "length"), [(0, 10), (1, 1), (-1, 5)])
@pytest.mark.parametrize("make", MAKERS)
def test_too_few_paths_or_prices_are_refused(
    make: Callable[[int, int, int], list[Series]], paths: int, length: int
) -> None:
    with pytest.raises(ValueError, match="at least 1 path of 2 prices"):
        make(paths, length, 1)


@pytest.mark.parametrize("coefficient", [-1.0, 1.0, 1.5, float("nan")])
def test_an_explosive_coefficient_is_refused(coefficient: float) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        autoregressive(1, 10, 1, coefficient)


# What is drawn


@pytest.fixture(scope="module")
def drawn() -> Parameters:
    return draw_parameters(3000, np.random.default_rng(3))


def test_drawn_parameters_are_admissible(drawn: Parameters) -> None:
    p = drawn
    for field in fields(Parameters):
        values = getattr(p, field.name)
        assert values.shape == (3000,), field.name
        assert np.isfinite(values).all(), field.name
    for positive in (p.volatility, p.skew, p.season_steps, p.season_sharpness):
        assert (positive > 0).all()
    for share in (p.news, p.asymmetry, p.chance_up, p.chance_down, p.jumps_per_step, p.stale_share):
        assert ((share >= 0) & (share <= 1)).all()
    for memory in (p.persistence, p.slow_persistence, p.fast_persistence):
        assert ((memory >= 0) & (memory < 1)).all()
    for correlation in (p.leverage, p.autocorrelation):
        assert (np.abs(correlation) < 1).all()
    for size in (p.slow_sd, p.fast_sd, p.season_amplitude, p.jump_size, p.bounce, p.tick):
        assert (size >= 0).all()
    assert (p.news <= p.persistence).all()  # what is left of it is the weight of the last variance
    assert (p.degrees_of_freedom > 2).all()  # or there is no variance
    assert (p.regime_ratio >= 1).all()
    assert np.isin(p.excited_by_rises, (0, 1)).all()


@pytest.mark.parametrize(
    ("part", "off"),
    [
        *(("persistence", 0), ("asymmetry", 0), ("slow_sd", 0), ("fast_sd", 0), ("regime_ratio", 1), ("skew", 1)),
        *(("season_amplitude", 0), ("jumps_per_step", 0), ("bounce", 0), ("tick", 0), ("stale_share", 0)),
        *(("degrees_of_freedom", 100), ("leverage", 0), ("excited_by_rises", 0)),
    ],
)
def test_some_paths_have_a_part_and_some_have_not(drawn: Parameters, part: str, off: float) -> None:
    without = float(np.mean(getattr(drawn, part) == off))
    assert 0.01 < without < 0.99


def test_the_memory_of_a_path_fits_into_the_burn_in(drawn: Parameters) -> None:
    """Within which what garch_t started from is forgotten."""
    has_garch = drawn.persistence > 0
    assert np.median(drawn.persistence[has_garch] ** BURN_IN_STEPS) < 0.01


# What all of it together looks like


def test_returns_have_hardly_a_drift_and_hardly_a_linear_memory(simulated: Floats) -> None:
    scaled = simulated / simulated.std(axis=1, keepdims=True)  # (P, N)
    assert abs(np.mean(simulated > 0) - 0.5) < 0.03
    assert abs(scaled.mean()) < 0.06
    for lag in (1, 2, 5):
        assert abs(autocorrelation(simulated, lag).mean()) < 0.05


def test_returns_have_heavy_tails(simulated: Floats) -> None:
    kurtosis = excess_kurtosis(simulated)  # (P,)
    assert np.mean(kurtosis > 0) > 0.9
    assert np.median(kurtosis) > 1


def test_volatility_comes_in_clusters(simulated: Floats) -> None:
    assert autocorrelation(simulated**2, 1).mean() > 0.06
    assert autocorrelation(np.abs(simulated), 1).mean() > 0.1
    assert autocorrelation(np.abs(simulated), 20).mean() > 0.03


def test_volatility_spans_daily_to_minute_scales(simulated: Floats) -> None:
    low, high = np.quantile(simulated.std(axis=1), [0.1, 0.9])
    assert low < 1.5e-3
    assert high > 1.5e-2


def test_volatility_is_on_average_the_one_drawn() -> None:
    """Without the season, which changes the variance over a cycle."""
    rng = np.random.default_rng(5)
    parameters = replace(draw_parameters(PATHS, rng), season_amplitude=np.zeros(PATHS))
    returns = simulate_log_returns(parameters, LENGTH, rng)  # (N, P)
    ratio = returns.std(axis=0) / parameters.volatility  # (P,)
    assert 0.85 < np.median(ratio) < 1.05  # heavy tails: a finite sample has mostly less than its expected variance
    assert 0.75 < np.mean(ratio**2) < 1.25


def test_simulated_paths_are_what_is_observed_of_what_is_simulated() -> None:
    """Some prices repeat the one before; no return is as large as a cut one, which would be a fault of the model."""
    seen = log_returns(simulate_paths(PATHS, 300, seed=2))
    unmoved = np.mean(seen == 0, axis=1)  # (P,)
    assert 0.05 < np.mean(unmoved > 0.005) < 0.9
    assert np.mean(np.abs(seen) >= MAX_LOG_RETURN) < 1e-4


# Each part by itself


def test_with_every_part_off_the_returns_are_independent_normals() -> None:
    returns = returns_with({}, 50, LENGTH, 1)
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert abs(excess_kurtosis(returns).mean()) < 0.15
    assert abs(autocorrelation(returns**2, 1).mean()) < 0.02


GARCH = {"news": 0.15, "persistence": 0.95}
ASYMMETRIC = GARCH | {"asymmetry": 0.9}
SLOW = {"slow_sd": 0.5, "slow_persistence": 0.95}
LEVERAGED = SLOW | {"leverage": -0.7}


@pytest.mark.parametrize(
    "part",
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
    ids=lambda part: " and ".join(part),
)
def test_every_part_alone_fattens_the_tails_and_keeps_the_variance(part: dict[str, float]) -> None:
    returns = returns_with(part)
    assert returns.std() == pytest.approx(0.01, rel=0.05)
    assert excess_kurtosis(returns).mean() > 0.4


@pytest.mark.parametrize(
    "part",
    [GARCH, ASYMMETRIC, SLOW, {"fast_sd": 0.6, "fast_persistence": 0.7}, {"regime_ratio": 4.0}],
    ids=lambda part: " and ".join(part),
)
def test_volatility_of_a_part_with_memory_comes_in_clusters(part: dict[str, float]) -> None:
    returns = returns_with(part)
    assert autocorrelation(np.abs(returns), 1).mean() > 0.05
    assert abs(autocorrelation(returns, 1).mean()) < 0.02


def test_slow_volatility_is_remembered_for_long_and_fast_volatility_is_not() -> None:
    slow = returns_with({"slow_sd": 0.6, "slow_persistence": 0.98})
    fast = returns_with({"fast_sd": 0.6, "fast_persistence": 0.5})
    assert autocorrelation(np.abs(slow), 20).mean() > 0.1
    assert abs(autocorrelation(np.abs(fast), 20).mean()) < 0.02
    assert autocorrelation(np.abs(fast), 1).mean() > 0.05


@pytest.mark.parametrize("part", [ASYMMETRIC, LEVERAGED], ids=["asymmetry", "leverage"])
@pytest.mark.parametrize("by_rises", [False, True], ids=["by falls", "by rises"])
def test_one_side_raises_volatility_more_than_the_other(part: dict[str, float], by_rises: bool) -> None:
    returns = returns_with(part | {"excited_by_rises": float(by_rises)}, length=500, seed=4).T  # (N, P)
    before, after = returns[:-1], np.abs(returns[1:])  # (N - 1, P)
    of_falls, of_rises = after[before < 0].mean(), after[before > 0].mean()
    assert of_rises > 1.1 * of_falls if by_rises else of_falls > 1.1 * of_rises


def test_a_season_repeats_after_its_length() -> None:
    returns = returns_with({"season_amplitude": 0.8, "season_steps": 24.0}, length=24 * 40)
    assert autocorrelation(np.abs(returns), 24).mean() > 0.1
    assert autocorrelation(np.abs(returns), 12).mean() < -0.05
    by_step = returns.reshape(200, 40, 24).std(axis=(0, 1))  # (24,)
    assert by_step.max() / by_step.min() == pytest.approx(np.exp(2 * 0.8 * np.tanh(1)), rel=0.1)
    assert np.exp(np.log(by_step).mean()) == pytest.approx(0.01, rel=0.02)  # the middle of the season


def test_a_second_wave_makes_two_peaks_in_a_season() -> None:
    parts = {"season_steps": 24.0, "second_wave": 3.0, "second_phase": 1.0}
    parts |= {"season_sharpness": 0.02, "season_amplitude": 0.6 / 0.02}  # too dull to change the waves
    by_step = returns_with(parts, length=24 * 40).reshape(200, 40, 24).std(axis=(0, 1))  # (24,)
    spectrum = np.abs(np.fft.rfft(np.log(by_step)))
    assert spectrum[2] == pytest.approx(3 * spectrum[1], rel=0.15)


def test_a_sharp_season_opens_and_closes_and_may_be_open_for_the_lesser_part() -> None:
    parts = {"season_amplitude": 0.5, "season_steps": 24.0, "season_sharpness": 50.0, "season_balance": 0.6}
    by_step = np.log(returns_with(parts, length=24 * 40).reshape(200, 40, 24).std(axis=(0, 1)) / 0.01)  # (24,)
    np.testing.assert_allclose(np.abs(by_step), 0.5, atol=0.05)
    assert np.sum(by_step > 0) == 7  # of 24, those whose cosine is above 0.6
    assert np.sum(np.diff(by_step > 0, append=by_step[0] > 0)) == 2


def test_a_regime_stays_for_a_while() -> None:
    """Two volatilities, of which the higher one is there a third of the time."""
    returns = returns_with({"chance_up": 0.01, "chance_down": 0.02, "regime_ratio": 8.0})
    smooth = np.lib.stride_tricks.sliding_window_view(returns**2, 15, axis=1).mean(axis=2) ** 0.5  # (P, N - 14)
    low = 0.01 / np.sqrt(2 / 3 + 64 / 3)
    assert np.quantile(smooth, 0.3) == pytest.approx(low, rel=0.25)
    assert np.quantile(smooth, 0.9) == pytest.approx(8 * low, rel=0.25)


def test_jumps_come_as_often_and_as_far_as_they_are_said_to() -> None:
    returns = returns_with({"jumps_per_step": 0.01, "jump_size": 20.0})
    sigma = 0.01 / np.sqrt(1 + 0.01 * 400)
    far = np.mean(np.abs(returns) > 5 * sigma)  # of jumps, those further than a quarter of their standard deviation
    assert far == pytest.approx(0.01 * 0.80, rel=0.1)


@pytest.mark.parametrize("coefficient", [-0.3, 0.2])
def test_autocorrelation_is_that_of_the_returns_and_keeps_their_variance(coefficient: float) -> None:
    returns = returns_with({"autocorrelation": coefficient})
    assert autocorrelation(returns, 1).mean() == pytest.approx(coefficient, abs=0.02)
    assert autocorrelation(returns, 2).mean() == pytest.approx(coefficient**2, abs=0.02)
    assert returns.std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("skew", [0.8, 1.3])
def test_skew_stretches_one_side_and_keeps_the_median_at_0(skew: float) -> None:
    returns = returns_with({"skew": skew})
    assert abs(np.mean(returns > 0) - 0.5) < 0.004  # 160,000 signs: a standard error of 0.00125
    falls, rises = -returns[returns < 0], returns[returns > 0]
    assert np.median(falls) / np.median(rises) == pytest.approx(skew**2, rel=0.03)


def test_drift_is_a_mean_in_units_of_volatility() -> None:
    assert returns_with({"drift": 0.1}).mean() == pytest.approx(0.1 * 0.01, rel=0.1)
    difference = returns_with({"drift": 0.1}) - returns_with({})
    np.testing.assert_allclose(difference, 0.001, rtol=1e-9)


def test_the_wildest_parameters_leave_usable_prices() -> None:
    """Far outside the drawn ranges: volatility that feeds on shocks which barely have a variance."""
    wild = {"volatility": 0.5, "degrees_of_freedom": 2.01, "news": 0.85, "persistence": 0.95, "jumps_per_step": 0.5}
    returns = returns_with(wild, 20, 500, 1)
    assert np.isfinite(returns).all()
    assert np.abs(returns).max() <= MAX_LOG_RETURN


# What is seen of it


@pytest.fixture(scope="module")
def true_log_prices() -> Floats:
    return np.random.default_rng(6).normal(0, 0.01, (1000, 50)).cumsum(axis=0)  # (T, P)


def test_without_parts_what_is_seen_is_what_is(true_log_prices: Floats) -> None:
    np.testing.assert_array_equal(observed_with(true_log_prices), true_log_prices)


def test_prices_bounce_around_their_true_ones(true_log_prices: Floats) -> None:
    """Which makes returns look as if they reverted (Roll 1984): −b² at lag 1, of a variance of 1 + 2 b²."""
    bounce = 0.5
    seen = observed_with(true_log_prices, bounce=bounce)
    assert (seen - true_log_prices).std() == pytest.approx(bounce * 0.01, rel=0.02)
    expected = -(bounce**2) / (1 + 2 * bounce**2)
    assert autocorrelation(np.diff(seen.T), 1).mean() == pytest.approx(expected, abs=0.02)
    assert abs(autocorrelation(np.diff(seen.T), 2).mean()) < 0.02


def test_prices_are_rounded_to_ticks(true_log_prices: Floats) -> None:
    tick = 0.7 * 0.01
    seen = observed_with(true_log_prices, tick=0.7)
    np.testing.assert_allclose(seen / tick, np.round(seen / tick), atol=1e-9)
    assert np.abs(seen - true_log_prices).max() <= tick / 2 * (1 + 1e-9)
    assert np.mean(np.diff(seen, axis=0) == 0) > 0.2


def test_some_prices_are_those_of_the_step_before(true_log_prices: Floats) -> None:
    seen = observed_with(true_log_prices, stale_share=0.3)
    is_new = seen == true_log_prices
    assert is_new[0].all()
    assert np.mean(is_new) == pytest.approx(0.7, abs=0.01)
    assert (seen[1:][~is_new[1:]] == seen[:-1][~is_new[1:]]).all()


def test_each_path_is_seen_in_its_own_way() -> None:
    both = parameters_with(2, tick=0.5)
    both = replace(both, tick=np.array([0.0, 0.5]), stale_share=np.array([0.5, 0.0]))
    true = np.random.default_rng(6).normal(0, 0.01, (200, 2)).cumsum(axis=0)
    seen = observe(true, both, np.random.default_rng(3))
    assert set(seen[:, 0]) <= set(true[:, 0])
    np.testing.assert_allclose(seen[:, 1] / 0.005, np.round(seen[:, 1] / 0.005), atol=1e-9)


# Stress tests


def test_a_random_walk_has_constant_volatility_and_no_memory() -> None:
    returns = log_returns(random_walk(50, LENGTH, seed=1))  # (P, N - 1)
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert abs(excess_kurtosis(returns).mean()) < 0.1
    assert abs(autocorrelation(returns, 1).mean()) < 0.015
    assert abs(autocorrelation(returns**2, 1).mean()) < 0.015


@pytest.mark.parametrize("coefficient", [-0.5, 0.1, 0.6])
def test_a_planted_coefficient_is_recovered(coefficient: float) -> None:
    returns = log_returns(autoregressive(20, LENGTH, 1, coefficient))  # (P, N - 1)
    before, after = returns[:, :-1].ravel(), returns[:, 1:].ravel()  # (M,) pairs of all paths
    estimate = before @ after / (before @ before)
    standard_error = np.sqrt((1 - coefficient**2) / before.size)
    assert abs(estimate - coefficient) < 3 * standard_error
    assert returns.std() == pytest.approx(0.01, rel=0.03)
