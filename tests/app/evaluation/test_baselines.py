"""Tests of the baselines that need no fitting."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from app.artifact.arrays import F64
from app.evaluation import baselines
from tests.training.conftest import (
    make_samples,
)
from training.data.simulator import CONSTANT_VOLATILITY, random_walk

QUANTILES = [0.025, 0.1, 0.5, 0.9, 0.975]


@pytest.fixture(scope="module")
def walks() -> tuple[F64, F64]:
    """Return (N, 60) windows and (N, 5) futures of Gaussian random walks."""
    samples = [make_samples(series, 60, 5) for series in random_walk(20, 800, seed=1)]
    return np.concatenate([each.windows for each in samples]), np.concatenate([each.futures for each in samples])


def test_last_price_repeats_it_at_every_step() -> None:
    windows = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]])
    assert baselines.last_price(windows, 2).tolist() == [[3.0, 3.0], [4.0, 4.0]]


def test_mean_price_averages_the_last_twenty() -> None:
    windows = np.arange(60.0)[None]
    assert baselines.mean_price(windows, 2).tolist() == [[49.5, 49.5]]
    assert baselines.mean_price(windows[:, :5], 1).tolist() == [[2.0]]


def test_ewma_random_walk_equals_step_by_step_computation() -> None:
    windows = np.exp(np.random.default_rng(1).normal(3, 0.1, (4, 12)))
    found = baselines.ewma_random_walk(windows, 3, QUANTILES)
    assert found.shape == (4, 3, 5)
    for n, window in enumerate(windows.tolist()):
        weighted = weights = 0.0
        for before, after in pairwise(window):  # recent returns weigh most
            weighted = 0.94 * weighted + math.log(after / before) ** 2
            weights = 0.94 * weights + 1
        volatility = math.sqrt(weighted / weights)
        for h in range(3):
            for q, tau in enumerate(QUANTILES):
                expected = window[-1] * math.exp(volatility * math.sqrt(h + 1) * stats.norm.ppf(tau))
                assert found[n, h, q] == pytest.approx(expected, rel=1e-12)


def test_ewma_random_walk_median_is_the_last_price(walks: tuple[F64, F64]) -> None:
    windows, _ = walks
    median = baselines.ewma_random_walk(windows, 5, QUANTILES)[:, :, 2]
    assert median == pytest.approx(baselines.last_price(windows, 5))


def test_ewma_random_walk_width_grows_with_root_of_horizon(walks: tuple[F64, F64]) -> None:
    windows, _ = walks
    logs = np.log(baselines.ewma_random_walk(windows, 9, QUANTILES))
    width = logs[:, :, 4] - logs[:, :, 0]  # (N, H)
    assert width[:, 3] == pytest.approx(2 * width[:, 0])
    assert width[:, 8] == pytest.approx(3 * width[:, 0])


def test_ewma_random_walk_estimates_true_volatility(walks: tuple[F64, F64]) -> None:
    windows, _ = walks
    one_sigma = baselines.ewma_random_walk(windows, 1, [float(stats.norm.cdf(1))])[:, 0, 0]
    volatility = np.log(one_sigma / windows[:, -1])
    assert np.sqrt(np.mean(volatility**2)) == pytest.approx(CONSTANT_VOLATILITY, rel=0.02)


@pytest.mark.parametrize(("level", "lower", "upper"), [(80, 1, 3), (95, 0, 4)])
def test_ewma_random_walk_intervals_cover_their_level(
    walks: tuple[F64, F64], level: int, lower: int, upper: int
) -> None:
    """Coverage is slightly below the level, because volatility is estimated from about thirty effective returns."""
    windows, futures = walks
    found = baselines.ewma_random_walk(windows, 5, QUANTILES)
    for h in range(5):
        inside = (found[:, h, lower] <= futures[:, h]) & (futures[:, h] <= found[:, h, upper])
        assert level - 3 < 100 * inside.mean() < level + 1


def test_ewma_random_walk_constant_window_has_no_width() -> None:
    found = baselines.ewma_random_walk(np.full((1, 60), 7.0), 3, QUANTILES)
    assert (found == 7.0).all()


def test_historical_volatility_is_standard_deviation() -> None:
    window = np.exp(np.random.default_rng(1).normal(3, 0.1, 12))
    returns = [math.log(after / before) for before, after in pairwise(window.tolist())]
    assert baselines.historical_volatility(window[None])[0] == pytest.approx(statistics.stdev(returns))


def test_random_walk_scales_volatility_with_root_of_horizon() -> None:
    found = baselines.random_walk(np.array([[1.0, 5.0]]), np.array([0.1]), 4, [float(stats.norm.cdf(1))])
    assert np.log(found[0, :, 0] / 5) == pytest.approx(0.1 * np.sqrt([1, 2, 3, 4]))
