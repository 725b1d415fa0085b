"""Figures of merit, against values worked out by hand or in another way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from app.artifact.transform import F64
from training import metrics

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


def test_rmse_and_mae_by_hand() -> None:
    forecast, outcome = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 4.0, 3.0, -2.0])
    assert metrics.rmse(forecast, outcome) == pytest.approx(math.sqrt((0 + 4 + 0 + 36) / 4))
    assert metrics.mae(forecast, outcome) == pytest.approx((0 + 2 + 0 + 6) / 4)


@pytest.mark.parametrize(
    ("loss", "wanted"), [([2.0, 4.0], 0.0), ([0.0, 0.0], 1.0), ([1.0, 2.0], 0.5), ([6.0, 6.0], -1.0)]
)
def test_skill_is_the_share_of_the_baselines_loss_that_is_gone(loss: list[float], wanted: float) -> None:
    assert metrics.skill(np.array(loss), np.array([2.0, 4.0])) == pytest.approx(wanted)


def test_a_baseline_without_loss_cannot_be_beaten() -> None:
    perfect = np.zeros(3)
    assert metrics.skill(perfect, perfect) == 0
    assert metrics.skill(np.array([0.0, 1e-9, 0.0]), perfect) == -1


# Diebold-Mariano


def test_one_step_ahead_it_is_the_one_sample_t_test() -> None:
    """With one step the factor (N−1)/N turns the variance over N into that over N − 1, which is Student's."""
    rng = np.random.default_rng(1)
    for n in (2, 5, 40, 300):
        baseline_loss = rng.exponential(size=n)
        loss = baseline_loss * rng.uniform(0.5, 1.4, n)
        wanted = stats.ttest_1samp(baseline_loss - loss, 0.0, alternative="greater").pvalue
        assert metrics.diebold_mariano(loss, baseline_loss, 1) == pytest.approx(float(wanted), rel=1e-10)


def test_three_steps_ahead_by_hand() -> None:
    """Gains 1 … 5: mean 3, autocovariances 2, 0.8 and −0.2, Bartlett weights 2/3 and 1/3."""
    gain = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    variance = 2 + 2 * (2 / 3 * 0.8 + 1 / 3 * -0.2)
    factor = (5 + 1 - 2 * 3 + 3 * 2 / 5) / 5
    t = 3 / math.sqrt(variance / 5) * math.sqrt(factor)
    share = t**2 / (1 + t**2 / 4)  # Student's distribution with 4 degrees of freedom has a closed form
    p_value = 0.5 - 3 / 8 * t / math.sqrt(1 + t**2 / 4) * (1 - share / 12)
    assert metrics.diebold_mariano(np.full(5, 10.0) - gain, np.full(5, 10.0), 3) == pytest.approx(p_value, rel=1e-9)


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
    assert metrics.diebold_mariano(loss, baseline_loss, horizon) == pytest.approx(wanted, rel=1e-9)


def test_swapping_the_two_turns_the_tail_around() -> None:
    rng = np.random.default_rng(3)
    loss, baseline_loss = rng.exponential(size=(2, 50))
    one = metrics.diebold_mariano(loss, baseline_loss, 2)
    other = metrics.diebold_mariano(baseline_loss, loss, 2)
    assert one is not None
    assert other is not None
    assert one + other == pytest.approx(1)


def test_a_clear_gain_is_significant_and_a_clear_loss_is_not() -> None:
    rng = np.random.default_rng(4)
    loss = rng.exponential(size=200)
    gain = metrics.diebold_mariano(loss, loss + rng.uniform(0, 1, 200), 1)
    harm = metrics.diebold_mariano(loss + rng.uniform(0, 1, 200), loss, 1)
    assert gain is not None
    assert gain < 1e-6
    assert harm is not None
    assert harm > 1 - 1e-6


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_same_losses_have_no_p_value(horizon: int) -> None:
    loss = np.random.default_rng(5).exponential(size=30)
    assert metrics.diebold_mariano(loss, loss, horizon) is None
    assert metrics.diebold_mariano(loss, loss * (1 + 1e-13), horizon) is None  # the same to rounding
    assert metrics.diebold_mariano(np.zeros(30), np.zeros(30), horizon) is None


def test_a_single_forecast_has_no_p_value() -> None:
    assert metrics.diebold_mariano(np.array([1.0]), np.array([2.0]), 1) is None


def test_as_few_forecasts_as_steps_ahead_say_nothing() -> None:
    """The small-sample factor is 0 there."""
    assert metrics.diebold_mariano(np.array([1.0, 3.0]), np.array([2.0, 5.0]), 2) == pytest.approx(0.5)


def test_under_no_difference_p_values_are_uniform() -> None:
    rng = np.random.default_rng(6)
    losses = rng.exponential(size=(400, 2, 80))
    found = [metrics.diebold_mariano(one, other, 1) for one, other in losses]
    small = np.mean([p is not None and p < 0.1 for p in found])
    assert abs(small - 0.1) < 3 * math.sqrt(0.1 * 0.9 / 400)


# Copies and correlation


def test_repeating_the_last_price_copies_it_wholly() -> None:
    last, outcome = np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 3.0])
    assert metrics.copy_ratio(last, last, outcome) == 0
    assert metrics.copy_ratio(outcome, last, outcome) == 1
    assert metrics.copy_ratio(last + 2, last, outcome) == pytest.approx(2 / (4 / 3))


def test_where_no_price_moves_there_is_nothing_to_copy() -> None:
    still = np.full(3, 7.75)
    assert metrics.copy_ratio(still, still, still) == 0


@settings(deadline=None)
@given(values=arrays(np.float64, (2, 12), elements=st.floats(-100, 100).map(lambda x: round(x, 3))))
def test_correlation_is_pearsons(values: F64) -> None:
    a, b = values
    found = metrics.correlation(a, b)
    if np.ptp(a) and np.ptp(b):
        assert found == pytest.approx(float(np.corrcoef(a, b)[0, 1]), abs=1e-9)
        assert metrics.correlation(a, a) == pytest.approx(1)
        assert metrics.correlation(a, -2 * a + 1) == pytest.approx(-1)


def test_what_does_not_vary_correlates_with_nothing() -> None:
    assert metrics.correlation(np.ones(5), np.arange(5.0)) == 0
    assert metrics.correlation(np.arange(5.0), np.ones(5)) == 0


# Intervals


def test_coverage_counts_both_ends_as_inside() -> None:
    outcome = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.coverage(np.full(4, 2.0), np.full(4, 3.0), outcome) == 50
    assert metrics.coverage(np.full(4, 1.0), np.full(4, 4.0), outcome) == 100
    assert metrics.coverage(np.full(4, 5.0), np.full(4, 6.0), outcome) == 0


def test_pinball_by_hand() -> None:
    forecast = np.array([[1.0, 3.0], [5.0, 6.0]])  # (N, Q)
    outcome = np.array([2.0, 4.0])
    by_hand = (0.1 * (2 - 1) + 0.1 * (3 - 2) + 0.9 * (5 - 4) + 0.1 * (6 - 4)) / 4
    assert metrics.pinball(forecast, outcome, [0.1, 0.9]) == pytest.approx(by_hand)


@settings(deadline=None)
@given(values=arrays(np.float64, (2, 7), elements=numbers))
def test_pinball_of_the_median_is_half_the_mae(values: F64) -> None:
    forecast, outcome = values
    assert metrics.pinball(forecast[:, None], outcome, [0.5]) == pytest.approx(metrics.mae(forecast, outcome) / 2)


@settings(deadline=None)
@given(values=arrays(np.float64, (3, 7), elements=st.floats(1.0, 1e3)))
def test_pinball_over_a_scale_is_that_of_scaled_prices(values: F64) -> None:
    forecast, outcome, scale = values
    found = metrics.pinball(forecast[:, None], outcome, [0.3], scale)
    assert found == pytest.approx(metrics.pinball((forecast / scale)[:, None], outcome / scale, [0.3]), abs=1e-9)


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.9])
def test_pinball_is_least_at_the_quantile_itself(tau: float) -> None:
    outcome = np.random.default_rng(7).standard_normal(2001)
    right = float(np.quantile(outcome, tau))
    losses = [metrics.pinball(np.full((2001, 1), right + off), outcome, [tau]) for off in (-0.2, 0.0, 0.2)]
    assert losses[1] == min(losses)
