"""Baselines: what they are, step by step, and that they are fair ones."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from app.artifact.transform import F64
from app.evaluation import baselines
from tests.training.conftest import make_samples
from training.data.simulator import CONSTANT_VOLATILITY, autoregressive, random_walk
from training.evaluation import fitted_baselines

QUANTILES = [0.025, 0.1, 0.5, 0.9, 0.975]


@pytest.fixture(scope="module")
def walks() -> tuple[F64, F64]:
    """(N, 60) windows and (N, 5) futures of Gaussian random walks."""
    samples = [make_samples(series, 60, 5) for series in random_walk(20, 800, seed=1)]
    return np.concatenate([each.windows for each in samples]), np.concatenate([each.futures for each in samples])


def test_the_last_price_is_repeated_at_every_horizon() -> None:
    windows = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]])
    assert baselines.last_price(windows, 2).tolist() == [[3.0, 3.0], [4.0, 4.0]]


def test_the_random_walk_equals_one_computed_step_by_step() -> None:
    windows = np.exp(np.random.default_rng(1).normal(3, 0.1, (4, 12)))
    found = baselines.ewma_random_walk(windows, 3, QUANTILES)
    assert found.shape == (4, 3, 5)
    for n, window in enumerate(windows.tolist()):
        weighted = weights = 0.0
        for before, after in pairwise(window):  # the newest return counts most
            weighted = 0.94 * weighted + math.log(after / before) ** 2
            weights = 0.94 * weights + 1
        volatility = math.sqrt(weighted / weights)
        for h in range(3):
            for q, tau in enumerate(QUANTILES):
                wanted = window[-1] * math.exp(volatility * math.sqrt(h + 1) * stats.norm.ppf(tau))
                assert found[n, h, q] == pytest.approx(wanted, rel=1e-12)


def test_its_median_is_the_last_price(walks: tuple[F64, F64]) -> None:
    windows, _ = walks
    median = baselines.ewma_random_walk(windows, 5, QUANTILES)[:, :, 2]
    assert median == pytest.approx(baselines.last_price(windows, 5))


def test_its_width_grows_with_the_root_of_the_horizon(walks: tuple[F64, F64]) -> None:
    windows, _ = walks
    logs = np.log(baselines.ewma_random_walk(windows, 9, QUANTILES))
    width = logs[:, :, 4] - logs[:, :, 0]  # (N, H)
    assert width[:, 3] == pytest.approx(2 * width[:, 0])
    assert width[:, 8] == pytest.approx(3 * width[:, 0])


def test_its_volatility_is_that_of_the_walk(walks: tuple[F64, F64]) -> None:
    windows, _ = walks
    one_sigma = baselines.ewma_random_walk(windows, 1, [float(stats.norm.cdf(1))])[:, 0, 0]
    volatility = np.log(one_sigma / windows[:, -1])
    assert np.sqrt(np.mean(volatility**2)) == pytest.approx(CONSTANT_VOLATILITY, rel=0.02)


@pytest.mark.parametrize(("level", "lower", "upper"), [(80, 1, 3), (95, 0, 4)])
def test_its_intervals_hold_about_what_they_promise_on_a_random_walk(
    walks: tuple[F64, F64], level: int, lower: int, upper: int
) -> None:
    """A little less: the volatility is estimated, from some thirty returns."""
    windows, futures = walks
    found = baselines.ewma_random_walk(windows, 5, QUANTILES)
    for h in range(5):
        inside = (found[:, h, lower] <= futures[:, h]) & (futures[:, h] <= found[:, h, upper])
        assert level - 3 < 100 * inside.mean() < level + 1


def test_a_constant_window_has_no_width() -> None:
    found = baselines.ewma_random_walk(np.full((1, 60), 7.0), 3, QUANTILES)
    assert (found == 7.0).all()


# Those of the point


def test_the_mean_price_is_that_of_the_last_twenty() -> None:
    windows = np.arange(60.0)[None]
    assert baselines.mean_price(windows, 2).tolist() == [[49.5, 49.5]]
    assert baselines.mean_price(windows[:, :5], 1).tolist() == [[2.0]]


def test_drift_is_the_mean_log_return_for_every_step(walks: tuple[F64, F64]) -> None:
    windows, futures = walks
    forecast = fitted_baselines.drift(windows, futures)(np.array([[1.0, 2.0]]), 3)
    mean = np.mean(np.log(futures[:, 0]) - np.log(windows[:, -1]))
    assert np.log(forecast / 2) == pytest.approx(mean * np.array([[1, 2, 3]]))


def test_an_autoregression_finds_what_was_planted() -> None:
    samples = make_samples(autoregressive(1, 5000, 1, 0.4)[0], 60, 1)
    forecast = fitted_baselines.ar1(samples.windows, samples.futures)
    still = forecast(np.array([[1.0, 1.0]]), 1)
    jumped = forecast(np.array([[1.0, np.e]]), 1)
    assert float(np.log(still)[0, 0]) == pytest.approx(0, abs=0.002)
    assert float(np.log(jumped / np.e)[0, 0]) == pytest.approx(0.4, abs=0.05)


def test_an_autoregression_is_least_squares_step_by_step(walks: tuple[F64, F64]) -> None:
    windows, futures = (each[:50] for each in walks)
    before, after = np.log(windows[:, -1] / windows[:, -2]), np.log(futures[:, 0] / windows[:, -1])
    slope, constant = np.polyfit(before, after, 1)
    found = fitted_baselines.ar1(windows, futures)(windows, 3)
    for n in range(3):
        price, last = windows[n, -1], before[n]
        for h in range(3):
            last = constant + slope * last
            price *= np.exp(last)
            assert found[n, h] == pytest.approx(price)


def test_ridge_finds_what_was_planted_at_the_horizons_asked_for() -> None:
    samples = make_samples(autoregressive(1, 5000, 1, 0.4)[0], 60, 3)
    fitted = fitted_baselines.ridge(samples.windows[:2500], samples.futures[:2500], [1, 3])
    last = baselines.last_price(samples.windows[2500:], 3)
    forecast, outcome = fitted(samples.windows[2500:], 3), samples.futures[2500:]
    assert (forecast[:, 1] == last[:, 1]).all()
    for h, least in ((0, 0.10), (2, 0.03)):  # of 0.16 and of 0.08 that are there
        loss, other = (np.mean(np.log(each[:, h] / outcome[:, h]) ** 2) for each in (forecast, last))
        assert least < 1 - loss / other < 0.2


def test_ridge_on_a_random_walk_is_nearly_the_last_price(walks: tuple[F64, F64]) -> None:
    windows, futures = walks
    forecast = fitted_baselines.ridge(windows[::2], futures[::2], [1])(windows, 1)
    moved = np.abs(np.log(forecast[:, 0] / windows[:, -1]))
    assert moved.mean() < 0.2 * CONSTANT_VOLATILITY


def test_prices_that_stand_still_are_forecast_to() -> None:
    windows, futures = np.full((200, 60), 7.75), np.full((200, 1), 7.75)
    for forecast in (
        fitted_baselines.drift(windows, futures),
        fitted_baselines.ar1(windows, futures),
        fitted_baselines.ridge(windows, futures, [1]),
    ):
        assert forecast(windows[:2], 1) == pytest.approx(np.full((2, 1), 7.75))


# Volatility


def test_historical_volatility_is_the_standard_deviation_of_the_windows_returns() -> None:
    window = np.exp(np.random.default_rng(1).normal(3, 0.1, 12))
    returns = [math.log(after / before) for before, after in pairwise(window.tolist())]
    assert baselines.historical_volatility(window[None])[0] == pytest.approx(statistics.stdev(returns))


def test_a_random_walk_of_given_volatility() -> None:
    found = baselines.random_walk(np.array([[1.0, 5.0]]), np.array([0.1]), 4, [float(stats.norm.cdf(1))])
    assert np.log(found[0, :, 0] / 5) == pytest.approx(0.1 * np.sqrt([1, 2, 3, 4]))
