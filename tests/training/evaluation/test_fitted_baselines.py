"""Tests of the fitted baselines."""

import numpy as np
import pytest
from scipy import stats

from app.artifact.arrays import F64
from app.evaluation import baselines
from tests.training.conftest import make_samples
from training.data.simulator import CONSTANT_VOLATILITY, autoregressive, random_walk
from training.evaluation.fitted_baselines import Garch, fit_ar1, fit_drift, fit_ridge


@pytest.fixture(scope="module")
def walks() -> tuple[F64, F64]:
    """Return (N, 60) windows and (N, 5) futures of Gaussian random walks."""
    samples = [make_samples(series, 60, 5) for series in random_walk(20, 800, seed=1)]
    return np.concatenate([each.windows for each in samples]), np.concatenate([each.futures for each in samples])


def test_drift_adds_mean_log_return_each_step(walks: tuple[F64, F64]) -> None:
    windows, futures = walks
    forecast = fit_drift(windows, futures)(np.array([[1.0, 2.0]]), 3)
    mean = np.mean(np.log(futures[:, 0]) - np.log(windows[:, -1]))
    assert np.log(forecast / 2) == pytest.approx(mean * np.array([[1, 2, 3]]))


def test_ar1_estimates_planted_coefficient() -> None:
    samples = make_samples(autoregressive(1, 5000, 1, 0.4)[0], 60, 1)
    forecast = fit_ar1(samples.windows, samples.futures)
    unchanged = forecast(np.array([[1.0, 1.0]]), 1)
    jumped = forecast(np.array([[1.0, np.e]]), 1)
    assert float(np.log(unchanged)[0, 0]) == pytest.approx(0, abs=0.002)
    assert float(np.log(jumped / np.e)[0, 0]) == pytest.approx(0.4, abs=0.05)


def test_ar1_equals_least_squares_step_by_step(walks: tuple[F64, F64]) -> None:
    windows, futures = (each[:50] for each in walks)
    before, after = np.log(windows[:, -1] / windows[:, -2]), np.log(futures[:, 0] / windows[:, -1])
    slope, constant = np.polyfit(before, after, 1)
    found = fit_ar1(windows, futures)(windows, 3)
    for n in range(3):
        price, last = windows[n, -1], before[n]
        for h in range(3):
            last = constant + slope * last
            price *= np.exp(last)
            assert found[n, h] == pytest.approx(price)


def test_ridge_finds_planted_signal_at_fitted_horizons() -> None:
    samples = make_samples(autoregressive(1, 5000, 1, 0.4)[0], 60, 3)
    fitted = fit_ridge(samples.windows[:2500], samples.futures[:2500], [1, 3])
    last = baselines.last_price(samples.windows[2500:], 3)
    forecast, outcome = fitted(samples.windows[2500:], 3), samples.futures[2500:]
    assert (forecast[:, 1] == last[:, 1]).all()
    for h, least in ((0, 0.10), (2, 0.03)):  # 0.16 and 0.08 are possible
        loss, other = (np.mean(np.log(each[:, h] / outcome[:, h]) ** 2) for each in (forecast, last))
        assert least < 1 - loss / other < 0.2


def test_ridge_on_random_walk_is_nearly_the_last_price(walks: tuple[F64, F64]) -> None:
    windows, futures = walks
    forecast = fit_ridge(windows[::2], futures[::2], [1])(windows, 1)
    moved = np.abs(np.log(forecast[:, 0] / windows[:, -1]))
    assert moved.mean() < 0.2 * CONSTANT_VOLATILITY


def test_fitted_baselines_forecast_constant_prices() -> None:
    windows, futures = np.full((200, 60), 7.75), np.full((200, 1), 7.75)
    for forecast in (
        fit_drift(windows, futures),
        fit_ar1(windows, futures),
        fit_ridge(windows, futures, [1]),
    ):
        assert forecast(windows[:2], 1) == pytest.approx(np.full((2, 1), 7.75))


OMEGA, ALPHA, BETA, FREEDOM = 0.05, 0.1, 0.85, 6.0  # for returns in percent


def simulate_garch(rows: int, seed: int = 1) -> F64:
    """Return (rows,) prices of a GARCH(1, 1) with Student's t."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(FREEDOM, rows) * np.sqrt(1 - 2 / FREEDOM)
    variance, returns = OMEGA / (1 - ALPHA - BETA), []
    for shock in shocks:
        returns.append(np.sqrt(variance) * shock)
        variance = OMEGA + ALPHA * returns[-1] ** 2 + BETA * variance
    return 100 * np.exp(np.cumsum(returns) / 100)


@pytest.fixture(scope="module")
def prices() -> F64:
    return simulate_garch(8000)


@pytest.fixture(scope="module")
def garch(prices: F64) -> Garch:
    return Garch(prices, 4000)


def test_garch_estimates_simulated_parameters(garch: Garch) -> None:
    found = (garch._omega, garch._alpha, garch._beta, garch._degrees_of_freedom)
    assert found == pytest.approx((OMEGA, ALPHA, BETA, FREEDOM), rel=0.35)


def test_garch_variance_follows_the_recursion(prices: F64, garch: Garch) -> None:
    rows = np.arange(5000, 5100)
    variance = (100 * garch.standard_deviations(rows, 1)[:, 0]) ** 2
    returns = 100 * np.log(prices[5001:5100] / prices[5000:5099])
    expected = garch._omega + garch._alpha * returns**2 + garch._beta * variance[:-1]
    assert variance[1:] == pytest.approx(expected)


def test_garch_multi_step_variance_equals_simulation(garch: Garch) -> None:
    """Compared with a hundred thousand paths of the same process."""
    row, horizon = np.array([6000]), 20
    rng = np.random.default_rng(2)
    shocks = rng.standard_normal((100_000, horizon))
    variance = np.full(len(shocks), (100 * garch.standard_deviations(row, 1)[0, 0]) ** 2)
    total = np.zeros(len(shocks))
    for shock in shocks.T:
        returns = np.sqrt(variance) * shock
        total += returns
        variance = garch._omega + garch._alpha * returns**2 + garch._beta * variance
    assert 100 * garch.standard_deviations(row, horizon)[0, -1] == pytest.approx(float(total.std()), rel=0.02)


def test_garch_quantiles_equal_scaled_student_t(prices: F64, garch: Garch) -> None:
    rows = np.array([4500, 7000])
    found = garch.forecast(prices[rows][:, None], rows, 3, [0.05, 0.5, 0.9])
    t = stats.t(garch._degrees_of_freedom)
    expected = garch.standard_deviations(rows, 3)[:, :, None] * t.ppf([0.05, 0.5, 0.9]) / t.std()
    assert np.log(found / prices[rows][:, None, None]) == pytest.approx(expected)


def test_garch_intervals_cover_their_level_out_of_sample(prices: F64, garch: Garch) -> None:
    rows = np.arange(4000, 7999)
    found = garch.forecast(prices[rows][:, None], rows, 1, [0.025, 0.1, 0.9, 0.975])[:, 0]
    outcome = prices[rows + 1]
    for lower, upper, level in ((1, 2, 80), (0, 3, 95)):
        assert 100 * np.mean((found[:, lower] <= outcome) & (outcome <= found[:, upper])) == pytest.approx(level, abs=2)


def test_garch_ignores_later_prices(prices: F64, garch: Garch) -> None:
    """Later prices change neither the parameters nor the variance before them."""
    other = prices.copy()
    other[6001:] = simulate_garch(8000, seed=9)[6001:]
    changed = Garch(other, 4000)
    rows = np.arange(4000, 6001)
    assert (changed.standard_deviations(rows, 5) == garch.standard_deviations(rows, 5)).all()
    assert (changed.standard_deviations(rows + 1000, 5) != garch.standard_deviations(rows + 1000, 5)).any()


@pytest.mark.parametrize("kind", ["a jump", "a trend", "pegged", "wild", "up and down"])
def test_garch_forecasts_odd_prices(kind: str) -> None:
    rng = np.random.default_rng(3)
    prices = {
        "a jump": np.where(np.arange(600) < 100, 7.75, 8.0),
        "a trend": np.exp(0.01 * np.arange(600)),
        "pegged": np.exp(0.0001 * rng.normal(size=600).cumsum()).round(3),
        "wild": np.exp(rng.normal(size=600).cumsum()),
        "up and down": np.tile([1.0, 1.01], 300),
    }[kind]
    rows = np.arange(300, 580)
    assert np.isfinite(Garch(prices, 300).forecast(prices[rows][:, None], rows, 20, [0.01, 0.5, 0.99])).all()
