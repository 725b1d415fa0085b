"""Baselines: what they are, step by step, and that they are fair ones."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from app.artifact.transform import F64
from tests.training.conftest import samples_of
from training import baselines
from training.synthetic import CONSTANT_VOLATILITY, random_walk

QUANTILES = [0.025, 0.1, 0.5, 0.9, 0.975]


@pytest.fixture(scope="module")
def walks() -> tuple[F64, F64]:
    """(N, 60) windows and (N, 5) futures of Gaussian random walks."""
    samples = [samples_of(series, 60, 5) for series in random_walk(20, 800, seed=1)]
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
