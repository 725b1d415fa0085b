"""Tests of significance tests, against independent implementations of the same papers."""

import math

import numpy as np
import pytest
from scipy import stats

from training.evaluation.significance import bootstrap_ratio_intervals, clark_west, diebold_mariano


def test_diebold_mariano_one_step_equals_one_sample_t_test() -> None:
    """With one step, the correction (N − 1)/N turns the variance over N into the one over N − 1."""
    rng = np.random.default_rng(1)
    for n in (2, 5, 40, 300):
        baseline_loss = rng.exponential(size=n)
        loss = baseline_loss * rng.uniform(0.5, 1.4, n)
        expected = stats.ttest_1samp(baseline_loss - loss, 0.0, alternative="greater").pvalue
        assert diebold_mariano(loss, baseline_loss, 1) == pytest.approx(float(expected), rel=1e-10)


def test_diebold_mariano_three_steps_by_hand() -> None:
    """Gains 1 … 5: mean 3, autocovariances 2, 0.8 and −0.2, Bartlett weights 2/3 and 1/3."""
    gain = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    variance = 2 + 2 * (2 / 3 * 0.8 + 1 / 3 * -0.2)
    factor = (5 + 1 - 2 * 3 + 3 * 2 / 5) / 5
    t = 3 / math.sqrt(variance / 5) * math.sqrt(factor)
    share = t**2 / (1 + t**2 / 4)  # Student's t distribution with 4 degrees of freedom has a closed form
    p_value = 0.5 - 3 / 8 * t / math.sqrt(1 + t**2 / 4) * (1 - share / 12)
    assert diebold_mariano(np.full(5, 10.0) - gain, np.full(5, 10.0), 3) == pytest.approx(p_value, rel=1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 3, 7])
def test_diebold_mariano_equals_its_formula(horizon: int) -> None:
    rng = np.random.default_rng(2)
    loss, baseline_loss = rng.exponential(size=(2, 60))
    gains = (baseline_loss - loss).tolist()
    n, mean = len(gains), sum(gains) / len(gains)
    variance = 0.0
    for lag in range(-(horizon - 1), horizon):
        pairs = [(gains[t] - mean) * (gains[t - abs(lag)] - mean) for t in range(abs(lag), n)]
        variance += (1 - abs(lag) / horizon) * sum(pairs) / n
    statistic = mean / math.sqrt(variance / n)
    statistic *= math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    expected = float(stats.t(n - 1).sf(statistic))
    assert diebold_mariano(loss, baseline_loss, horizon) == pytest.approx(expected, rel=1e-9)


def test_diebold_mariano_swapped_losses_give_complement() -> None:
    rng = np.random.default_rng(3)
    loss, baseline_loss = rng.exponential(size=(2, 50))
    one = diebold_mariano(loss, baseline_loss, 2)
    other = diebold_mariano(baseline_loss, loss, 2)
    assert one is not None
    assert other is not None
    assert one + other == pytest.approx(1)


def test_diebold_mariano_clear_gain_and_clear_loss() -> None:
    rng = np.random.default_rng(4)
    loss = rng.exponential(size=200)
    gain = diebold_mariano(loss, loss + rng.uniform(0, 1, 200), 1)
    harm = diebold_mariano(loss + rng.uniform(0, 1, 200), loss, 1)
    assert gain is not None
    assert gain < 1e-6
    assert harm is not None
    assert harm > 1 - 1e-6


@pytest.mark.parametrize("horizon", [1, 5])
def test_diebold_mariano_equal_losses_is_none(horizon: int) -> None:
    loss = np.random.default_rng(5).exponential(size=30)
    assert diebold_mariano(loss, loss, horizon) is None
    assert diebold_mariano(loss, loss * (1 + 1e-13), horizon) is None  # equal up to rounding
    assert diebold_mariano(np.zeros(30), np.zeros(30), horizon) is None


def test_diebold_mariano_single_forecast_is_none() -> None:
    assert diebold_mariano(np.array([1.0]), np.array([2.0]), 1) is None


def test_diebold_mariano_as_few_forecasts_as_steps() -> None:
    """The small-sample correction is 0."""
    assert diebold_mariano(np.array([1.0, 3.0]), np.array([2.0, 5.0]), 2) == pytest.approx(0.5)


def test_diebold_mariano_p_values_are_uniform_under_null() -> None:
    rng = np.random.default_rng(6)
    losses = rng.exponential(size=(400, 2, 80))
    found = [diebold_mariano(one, other, 1) for one, other in losses]
    small = np.mean([p is not None and p < 0.1 for p in found])
    assert abs(small - 0.1) < 3 * math.sqrt(0.1 * 0.9 / 400)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_clark_west_equals_its_formula(horizon: int) -> None:
    rng = np.random.default_rng(2)
    outcome, forecast = rng.normal(size=(2, 60))
    gains = [y**2 - ((y - f) ** 2 - f**2) for y, f in zip(outcome.tolist(), forecast.tolist(), strict=True)]
    n, mean = len(gains), sum(gains) / len(gains)
    variance = 0.0
    for lag in range(-(horizon - 1), horizon):
        pairs = [(gains[t] - mean) * (gains[t - abs(lag)] - mean) for t in range(abs(lag), n)]
        variance += (1 - abs(lag) / horizon) * sum(pairs) / n
    expected = 0.5 * math.erfc(mean / math.sqrt(variance / n) / math.sqrt(2))
    assert clark_west(forecast, outcome, horizon) == pytest.approx(expected, rel=1e-9)


def test_clark_west_rejects_at_its_level_under_null() -> None:
    """Slightly less often, because the normal distribution is an approximation (Clark & West, 2007, Table 1)."""
    rng = np.random.default_rng(4)
    found = [clark_west(one, other, 1) for one, other in rng.normal(size=(1000, 2, 80))]
    assert 0.06 < np.mean([p is not None and p < 0.1 for p in found]) < 0.13


def test_clark_west_zero_forecasts_is_none() -> None:
    outcome = np.random.default_rng(5).normal(size=30)
    assert clark_west(np.zeros(30), outcome, 1) is None
    assert clark_west(np.ones(1), np.ones(1), 1) is None


def test_ratio_interval_equals_delta_method() -> None:
    rng = np.random.default_rng(6)
    loss, other = rng.exponential(size=(2, 4000))
    low, high = bootstrap_ratio_intervals(loss, np.stack([other, loss], axis=1), 1)[0]
    ratio = loss.mean() / other.mean()
    half = 1.96 * np.std(loss - ratio * other) / other.mean() / math.sqrt(4000)
    assert low == pytest.approx(ratio - half, abs=0.2 * half)
    assert high == pytest.approx(ratio + half, abs=0.2 * half)


@pytest.mark.slow
def test_ratio_interval_covers_true_ratio_at_its_level() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(100):
        loss, other = rng.exponential(size=(2, 300))
        low, high = bootstrap_ratio_intervals(loss, other[:, None], 1)[0]
        covered += low <= 1 <= high
    assert covered >= 88  # 95 are expected


def test_ratio_interval_wider_for_autocorrelated_losses() -> None:
    """As with overlapping forecasts: each loss occurs twenty times, which adds almost no information."""
    rng = np.random.default_rng(8)
    loss, other = np.repeat(rng.exponential(size=(2, 200)), 20, axis=1)
    low, high = bootstrap_ratio_intervals(loss, other[:, None], 20)[0]
    loss, other = rng.permutation(np.stack([loss, other]), axis=1)
    narrow_low, narrow_high = bootstrap_ratio_intervals(loss, other[:, None], 20)[0]
    assert high - low > 3 * (narrow_high - narrow_low)


def test_ratio_interval_is_deterministic() -> None:
    loss, other = np.random.default_rng(9).exponential(size=(2, 50))
    first = bootstrap_ratio_intervals(loss, np.stack([loss, other], axis=1), 5)
    assert first[0].tolist() == [1, 1]
    assert (first == bootstrap_ratio_intervals(loss, np.stack([loss, other], axis=1), 5)).all()


def test_ratio_interval_single_loss_has_no_width() -> None:
    assert bootstrap_ratio_intervals(np.array([1.0]), np.array([[2.0]]), 5).tolist() == [[0.5, 0.5]]
