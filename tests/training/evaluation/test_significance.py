"""What may be chance: tests and intervals against other readings of the same papers, and against what is published."""

import math

import numpy as np
import pytest
from scipy import stats

from app.evaluation import intervals
from training.evaluation import significance

# Diebold-Mariano


def test_one_step_ahead_it_is_the_one_sample_t_test() -> None:
    """With one step the factor (N−1)/N turns the variance over N into that over N − 1, which is Student's."""
    rng = np.random.default_rng(1)
    for n in (2, 5, 40, 300):
        baseline_loss = rng.exponential(size=n)
        loss = baseline_loss * rng.uniform(0.5, 1.4, n)
        wanted = stats.ttest_1samp(baseline_loss - loss, 0.0, alternative="greater").pvalue
        assert significance.diebold_mariano(loss, baseline_loss, 1) == pytest.approx(float(wanted), rel=1e-10)


def test_three_steps_ahead_by_hand() -> None:
    """Gains 1 … 5: mean 3, autocovariances 2, 0.8 and −0.2, Bartlett weights 2/3 and 1/3."""
    gain = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    variance = 2 + 2 * (2 / 3 * 0.8 + 1 / 3 * -0.2)
    factor = (5 + 1 - 2 * 3 + 3 * 2 / 5) / 5
    t = 3 / math.sqrt(variance / 5) * math.sqrt(factor)
    share = t**2 / (1 + t**2 / 4)  # Student's distribution with 4 degrees of freedom has a closed form
    p_value = 0.5 - 3 / 8 * t / math.sqrt(1 + t**2 / 4) * (1 - share / 12)
    assert significance.diebold_mariano(np.full(5, 10.0) - gain, np.full(5, 10.0), 3) == pytest.approx(
        p_value, rel=1e-9
    )


@pytest.mark.parametrize("horizon", [1, 2, 3, 7])
def test_it_equals_a_plain_reading_of_the_papers(horizon: int) -> None:
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
    wanted = float(stats.t(n - 1).sf(statistic))
    assert significance.diebold_mariano(loss, baseline_loss, horizon) == pytest.approx(wanted, rel=1e-9)


def test_swapping_the_two_turns_the_tail_around() -> None:
    rng = np.random.default_rng(3)
    loss, baseline_loss = rng.exponential(size=(2, 50))
    one = significance.diebold_mariano(loss, baseline_loss, 2)
    other = significance.diebold_mariano(baseline_loss, loss, 2)
    assert one is not None
    assert other is not None
    assert one + other == pytest.approx(1)


def test_a_clear_gain_is_significant_and_a_clear_loss_is_not() -> None:
    rng = np.random.default_rng(4)
    loss = rng.exponential(size=200)
    gain = significance.diebold_mariano(loss, loss + rng.uniform(0, 1, 200), 1)
    harm = significance.diebold_mariano(loss + rng.uniform(0, 1, 200), loss, 1)
    assert gain is not None
    assert gain < 1e-6
    assert harm is not None
    assert harm > 1 - 1e-6


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_same_losses_have_no_p_value(horizon: int) -> None:
    loss = np.random.default_rng(5).exponential(size=30)
    assert significance.diebold_mariano(loss, loss, horizon) is None
    assert significance.diebold_mariano(loss, loss * (1 + 1e-13), horizon) is None  # the same to rounding
    assert significance.diebold_mariano(np.zeros(30), np.zeros(30), horizon) is None


def test_a_single_forecast_has_no_p_value() -> None:
    assert significance.diebold_mariano(np.array([1.0]), np.array([2.0]), 1) is None


def test_as_few_forecasts_as_steps_ahead_say_nothing() -> None:
    """The small-sample factor is 0 there."""
    assert significance.diebold_mariano(np.array([1.0, 3.0]), np.array([2.0, 5.0]), 2) == pytest.approx(0.5)


def test_under_no_difference_p_values_are_uniform() -> None:
    rng = np.random.default_rng(6)
    losses = rng.exponential(size=(400, 2, 80))
    found = [significance.diebold_mariano(one, other, 1) for one, other in losses]
    small = np.mean([p is not None and p < 0.1 for p in found])
    assert abs(small - 0.1) < 3 * math.sqrt(0.1 * 0.9 / 400)


# Clark-West


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_clark_west_equals_a_plain_reading_of_the_paper(horizon: int) -> None:
    rng = np.random.default_rng(2)
    outcome, forecast = rng.normal(size=(2, 60))
    gains = [y**2 - ((y - f) ** 2 - f**2) for y, f in zip(outcome.tolist(), forecast.tolist(), strict=True)]
    n, mean = len(gains), sum(gains) / len(gains)
    variance = 0.0
    for lag in range(-(horizon - 1), horizon):
        pairs = [(gains[t] - mean) * (gains[t - abs(lag)] - mean) for t in range(abs(lag), n)]
        variance += (1 - abs(lag) / horizon) * sum(pairs) / n
    wanted = 0.5 * math.erfc(mean / math.sqrt(variance / n) / math.sqrt(2))
    assert significance.clark_west(forecast, outcome, horizon) == pytest.approx(wanted, rel=1e-9)


def test_under_no_predictability_clark_west_rejects_about_as_often_as_it_says() -> None:
    """A little less often: its normal distribution is an approximation (Clark & West, 2007, Table 1)."""
    rng = np.random.default_rng(4)
    found = [significance.clark_west(one, other, 1) for one, other in rng.normal(size=(1000, 2, 80))]
    assert 0.06 < np.mean([p is not None and p < 0.1 for p in found]) < 0.13


def test_a_forecast_of_nothing_has_no_clark_west() -> None:
    outcome = np.random.default_rng(5).normal(size=30)
    assert significance.clark_west(np.zeros(30), outcome, 1) is None
    assert significance.clark_west(np.ones(1), np.ones(1), 1) is None


# Shares: the values are those of Newcombe (1998), Statistics in Medicine 17, Table I


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(hits: int, count: int, low: float, high: float) -> None:
    found = intervals.binomial_share(hits, count, "wilson")
    assert found.percent == pytest.approx(100 * hits / count)
    assert [found.low, found.high] == pytest.approx([100 * low, 100 * high], abs=0.006)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_the_exact_interval_is_the_published_one(hits: int, count: int, low: float, high: float) -> None:
    found = intervals.binomial_share(hits, count)
    assert [found.low, found.high] == pytest.approx([100 * low, 100 * high], abs=0.006)


# Ratios


def test_the_interval_of_a_ratio_of_independent_losses_is_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(6)
    loss, other = rng.exponential(size=(2, 4000))
    low, high = significance.ratio_intervals(loss, np.stack([other, loss], axis=1), 1)[0]
    ratio = loss.mean() / other.mean()
    half = 1.96 * np.std(loss - ratio * other) / other.mean() / math.sqrt(4000)
    assert low == pytest.approx(ratio - half, abs=0.2 * half)
    assert high == pytest.approx(ratio + half, abs=0.2 * half)


@pytest.mark.slow
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(100):
        loss, other = rng.exponential(size=(2, 300))
        low, high = significance.ratio_intervals(loss, other[:, None], 1)[0]
        held += low <= 1 <= high
    assert held >= 88  # 95 are expected


def test_losses_that_come_in_clusters_have_wider_intervals() -> None:
    """As of forecasts that overlap: the same loss twenty times over says hardly more than once."""
    rng = np.random.default_rng(8)
    loss, other = np.repeat(rng.exponential(size=(2, 200)), 20, axis=1)
    low, high = significance.ratio_intervals(loss, other[:, None], 20)[0]
    loss, other = rng.permutation(np.stack([loss, other]), axis=1)
    narrow_low, narrow_high = significance.ratio_intervals(loss, other[:, None], 20)[0]
    assert high - low > 3 * (narrow_high - narrow_low)


def test_a_ratio_to_itself_has_no_width_and_the_same_draws_come_again() -> None:
    loss, other = np.random.default_rng(9).exponential(size=(2, 50))
    first = significance.ratio_intervals(loss, np.stack([loss, other], axis=1), 5)
    assert first[0].tolist() == [1, 1]
    assert (first == significance.ratio_intervals(loss, np.stack([loss, other], axis=1), 5)).all()


def test_a_single_loss_has_an_interval_of_no_width() -> None:
    assert significance.ratio_intervals(np.array([1.0]), np.array([[2.0]]), 5).tolist() == [[0.5, 0.5]]
