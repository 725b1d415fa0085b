"""Simulated paths: repeatable, usable as prices, and with the statistics of returns that they are there to teach.

The bounds are for fixed seeds and leave three standard errors or more: a change of the random stream alone seldom
breaks one, a change of the model does.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest

from training.data import Series
from training.synthetic import (
    MAX_LOG_RETURN,
    Parameters,
    autoregressive,
    draw_parameters,
    random_walk,
    simulate,
    simulate_log_returns,
)

Floats = npt.NDArray[np.float64]
PATHS, LENGTH = 200, 1500
MAKERS: list[Callable[[int, int, int], list[Series]]] = [
    simulate,
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
    return log_returns(simulate(PATHS, LENGTH, seed=1))  # (P, N - 1)


def parameters_with(paths: int, **parts: float) -> Parameters:
    """The same parameters for every path; without `parts`, of independent, nearly normal returns of 1% per step."""
    values = dict.fromkeys((each.name for each in fields(Parameters)), 0.0)
    values |= {"volatility": 0.01, "degrees_of_freedom": 100.0, "regime_ratio": 1.0}
    values |= {"chance_up": 0.01, "chance_down": 0.02, "season_steps": 24.0}
    return Parameters(**{name: np.full(paths, value) for name, value in (values | parts).items()})


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
    assert [each.name for each in simulate(2, 2, seed=1)] == ["synthetic-0001", "synthetic-0002"]


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


def test_drawn_parameters_stay_in_their_documented_ranges() -> None:
    p = draw_parameters(2000, np.random.default_rng(3))
    news = p.alpha + p.gamma / 2  # (P,)
    garch = p.beta > 0  # (P,)
    persistence = news + p.beta  # (P,)
    assert 0.5 < garch.mean() < 0.7
    assert np.array_equal(garch, p.log_volatility_sd == 0)
    assert (news[garch] >= 0.02).all()
    assert (news[garch] <= 0.2).all()
    assert (p.alpha[garch] > 0).all()
    assert (persistence[garch] >= 0.8).all()
    assert (persistence[garch] <= 0.995).all()
    assert (persistence[~garch] == 0).all()
    normal = p.degrees_of_freedom == 100  # (P,)
    assert 0.15 < normal.mean() < 0.25
    assert (p.degrees_of_freedom[~normal] >= 3).all()
    assert (p.degrees_of_freedom[~normal] <= 12).all()
    assert (np.abs(p.leverage) < 1).all()
    for field in fields(Parameters):
        assert np.isfinite(getattr(p, field.name)).all()


def test_returns_have_no_drift_and_no_linear_memory(simulated: Floats) -> None:
    scaled = simulated / simulated.std(axis=1, keepdims=True)  # (P, N - 1)
    assert abs(np.mean(simulated > 0) - 0.5) < 0.004  # 300,000 signs: a standard error of 0.001
    assert abs(scaled.mean()) < 0.006  # a standard error of 0.002
    for lag in (1, 2, 5):
        assert abs(autocorrelation(simulated, lag).mean()) < 0.01  # a standard error of 0.003


def test_returns_have_heavy_tails(simulated: Floats) -> None:
    kurtosis = excess_kurtosis(simulated)  # (P,)
    assert np.mean(kurtosis > 0) > 0.95
    assert np.median(kurtosis) > 2


def test_volatility_comes_in_clusters(simulated: Floats) -> None:
    assert autocorrelation(simulated**2, 1).mean() > 0.08
    assert autocorrelation(np.abs(simulated), 1).mean() > 0.12
    assert autocorrelation(np.abs(simulated), 20).mean() > 0.04


def test_volatility_spans_daily_to_minute_scales(simulated: Floats) -> None:
    low, high = np.quantile(simulated.std(axis=1), [0.1, 0.9])
    assert low < 6e-4
    assert high > 2e-2


def test_volatility_is_on_average_the_one_drawn() -> None:
    rng = np.random.default_rng(5)
    parameters = draw_parameters(PATHS, rng)
    returns = simulate_log_returns(parameters, LENGTH, rng)  # (N, P)
    ratio = returns.std(axis=0) / parameters.volatility  # (P,)
    assert 0.85 < np.median(ratio) < 1.05  # heavy tails: a finite sample has mostly less than its expected variance
    assert 0.8 < np.mean(ratio**2) < 1.2


def test_with_every_part_off_the_returns_are_independent_normals() -> None:
    returns = simulate_log_returns(parameters_with(50), LENGTH, np.random.default_rng(1)).T  # (P, N)
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert abs(excess_kurtosis(returns).mean()) < 0.15
    assert abs(autocorrelation(returns**2, 1).mean()) < 0.02


@pytest.mark.parametrize(
    "part",
    [
        {"alpha": 0.15, "beta": 0.8},
        {"gamma": 0.3, "beta": 0.8},
        {"log_volatility_sd": 0.5, "log_volatility_persistence": 0.95, "leverage": -0.5},
        {"regime_ratio": 3.0},
        {"season_amplitude": 0.6},
        {"jumps_per_step": 0.02, "jump_size": 6.0},
        {"degrees_of_freedom": 4.0},
    ],
    ids=lambda part: next(iter(part)),
)
def test_every_part_alone_fattens_the_tails_and_keeps_the_variance(part: dict[str, float]) -> None:
    returns = simulate_log_returns(parameters_with(200, **part), 800, np.random.default_rng(2)).T  # (P, N)
    assert returns.std() == pytest.approx(0.01, rel=0.05)
    assert excess_kurtosis(returns).mean() > 0.4


def test_falls_raise_volatility_more_than_rises() -> None:
    asymmetric = {"gamma": 0.3, "beta": 0.8}
    leveraged = {"log_volatility_sd": 0.5, "log_volatility_persistence": 0.9, "leverage": -0.7}
    for part in (asymmetric, leveraged):
        returns = simulate_log_returns(parameters_with(200, **part), 500, np.random.default_rng(4))  # (N, P)
        before, after = returns[:-1], np.abs(returns[1:])  # (N - 1, P)
        assert after[before < 0].mean() > 1.1 * after[before > 0].mean()


def test_the_wildest_parameters_leave_usable_prices() -> None:
    """Far outside the drawn ranges: volatility that feeds on shocks which barely have a variance."""
    wild = {"volatility": 0.5, "degrees_of_freedom": 2.01, "alpha": 0.85, "beta": 0.1, "jumps_per_step": 0.5}
    returns = simulate_log_returns(parameters_with(20, **wild), 500, np.random.default_rng(1))  # (N, P)
    assert np.isfinite(returns).all()
    assert np.abs(returns).max() <= MAX_LOG_RETURN


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
