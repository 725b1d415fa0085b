"""GARCH: that it finds what was simulated, forecasts as the recursion says, and looks at nothing that comes later."""

import numpy as np
import pytest
from scipy import stats

from app.artifact.transform import F64
from training.evaluation.garch import Garch

OMEGA, ALPHA, BETA, FREEDOM = 0.05, 0.1, 0.85, 6.0  # of returns in percent


def simulated(rows: int, seed: int = 1) -> F64:
    """(rows,) prices of a GARCH(1, 1) with Student's t."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(FREEDOM, rows) * np.sqrt(1 - 2 / FREEDOM)
    variance, returns = OMEGA / (1 - ALPHA - BETA), []
    for shock in shocks:
        returns.append(np.sqrt(variance) * shock)
        variance = OMEGA + ALPHA * returns[-1] ** 2 + BETA * variance
    return 100 * np.exp(np.cumsum(returns) / 100)


@pytest.fixture(scope="module")
def prices() -> F64:
    return simulated(8000)


@pytest.fixture(scope="module")
def garch(prices: F64) -> Garch:
    return Garch(prices, 4000)


def test_it_finds_the_parameters_that_were_simulated(garch: Garch) -> None:
    found = (garch._omega, garch._alpha, garch._beta, garch._freedom)
    assert found == pytest.approx((OMEGA, ALPHA, BETA, FREEDOM), rel=0.35)


def test_its_variance_follows_the_recursion(prices: F64, garch: Garch) -> None:
    rows = np.arange(5000, 5100)
    variance = (100 * garch.deviations(rows, 1)[:, 0]) ** 2
    returns = 100 * np.log(prices[5001:5100] / prices[5000:5099])
    wanted = garch._omega + garch._alpha * returns**2 + garch._beta * variance[:-1]
    assert variance[1:] == pytest.approx(wanted)


def test_the_variance_of_several_steps_is_what_simulation_gives(garch: Garch) -> None:
    """Of a hundred thousand paths of the same process."""
    row, horizon = np.array([6000]), 20
    rng = np.random.default_rng(2)
    shocks = rng.standard_normal((100_000, horizon))
    variance = np.full(len(shocks), (100 * garch.deviations(row, 1)[0, 0]) ** 2)
    total = np.zeros(len(shocks))
    for shock in shocks.T:
        returns = np.sqrt(variance) * shock
        total += returns
        variance = garch._omega + garch._alpha * returns**2 + garch._beta * variance
    assert 100 * garch.deviations(row, horizon)[0, -1] == pytest.approx(float(total.std()), rel=0.02)


def test_its_quantiles_are_those_of_a_t_of_that_deviation(prices: F64, garch: Garch) -> None:
    rows = np.array([4500, 7000])
    found = garch.forecast(prices[rows][:, None], rows, 3, [0.05, 0.5, 0.9])
    t = stats.t(garch._freedom)
    wanted = garch.deviations(rows, 3)[:, :, None] * t.ppf([0.05, 0.5, 0.9]) / t.std()
    assert np.log(found / prices[rows][:, None, None]) == pytest.approx(wanted)


def test_its_intervals_hold_what_they_promise_on_what_was_not_fitted(prices: F64, garch: Garch) -> None:
    rows = np.arange(4000, 7999)
    found = garch.forecast(prices[rows][:, None], rows, 1, [0.025, 0.1, 0.9, 0.975])[:, 0]
    outcome = prices[rows + 1]
    for lower, upper, level in ((1, 2, 80), (0, 3, 95)):
        assert 100 * np.mean((found[:, lower] <= outcome) & (outcome <= found[:, upper])) == pytest.approx(level, abs=2)


def test_what_comes_later_changes_nothing(prices: F64, garch: Garch) -> None:
    """Neither its parameters, nor the variance up to there."""
    other = prices.copy()
    other[6001:] = simulated(8000, seed=9)[6001:]
    changed = Garch(other, 4000)
    rows = np.arange(4000, 6001)
    assert (changed.deviations(rows, 5) == garch.deviations(rows, 5)).all()
    assert (changed.deviations(rows + 1000, 5) != garch.deviations(rows + 1000, 5)).any()


@pytest.mark.parametrize("kind", ["a jump", "a trend", "pegged", "wild", "up and down"])
def test_odd_prices_are_forecast_without_complaint(kind: str) -> None:
    rng = np.random.default_rng(3)
    odd = {
        "a jump": np.where(np.arange(600) < 100, 7.75, 8.0),
        "a trend": np.exp(0.01 * np.arange(600)),
        "pegged": np.exp(0.0001 * rng.normal(size=600).cumsum()).round(3),
        "wild": np.exp(rng.normal(size=600).cumsum()),
        "up and down": np.tile([1.0, 1.01], 300),
    }[kind]
    rows = np.arange(300, 580)
    assert np.isfinite(Garch(odd, 300).forecast(odd[rows][:, None], rows, 20, [0.01, 0.5, 0.99])).all()
