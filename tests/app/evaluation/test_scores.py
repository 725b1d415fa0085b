"""Tests of scores, against values computed by hand or from another formula."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from app.artifact.arrays import F64
from app.evaluation import scores

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)


def test_rmse_and_mae_by_hand() -> None:
    forecast, outcome = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 4.0, 3.0, -2.0])
    assert scores.rmse(forecast, outcome) == pytest.approx(math.sqrt((0 + 4 + 0 + 36) / 4))
    assert scores.mae(forecast, outcome) == pytest.approx((0 + 2 + 0 + 6) / 4)


@pytest.mark.parametrize(
    ("loss", "expected"), [([2.0, 4.0], 0.0), ([0.0, 0.0], 1.0), ([1.0, 2.0], 0.5), ([6.0, 6.0], -1.0)]
)
def test_skill_by_hand(loss: list[float], expected: float) -> None:
    assert scores.skill(np.array(loss), np.array([2.0, 4.0])) == pytest.approx(expected)


def test_skill_baseline_without_loss_is_at_most_zero() -> None:
    perfect = np.zeros(3)
    assert scores.skill(perfect, perfect) == 0
    assert scores.skill(np.array([0.0, 1e-9, 0.0]), perfect) == -1


# Copies and correlation


def test_copy_ratio_by_hand() -> None:
    last, outcome = np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 3.0])
    assert scores.copy_ratio(last, last, outcome) == 0
    assert scores.copy_ratio(outcome, last, outcome) == 1
    assert scores.copy_ratio(last + 2, last, outcome) == pytest.approx(2 / (4 / 3))


def test_copy_ratio_constant_prices_is_zero() -> None:
    constant = np.full(3, 7.75)
    assert scores.copy_ratio(constant, constant, constant) == 0


@settings(deadline=None)
@given(values=arrays(np.float64, (2, 12), elements=st.floats(-100, 100).map(lambda x: round(x, 3))))
def test_correlation_equals_numpy(values: F64) -> None:
    a, b = values
    found = scores.correlation(a, b)
    if np.ptp(a) and np.ptp(b):
        assert found == pytest.approx(float(np.corrcoef(a, b)[0, 1]), abs=1e-9)
        assert scores.correlation(a, a) == pytest.approx(1)
        assert scores.correlation(a, -2 * a + 1) == pytest.approx(-1)


def test_correlation_with_constant_is_zero() -> None:
    assert scores.correlation(np.ones(5), np.arange(5.0)) == 0
    assert scores.correlation(np.arange(5.0), np.ones(5)) == 0


# Intervals


def test_coverage_includes_both_ends() -> None:
    outcome = np.array([1.0, 2.0, 3.0, 4.0])
    assert scores.coverage(np.full(4, 2.0), np.full(4, 3.0), outcome) == 50
    assert scores.coverage(np.full(4, 1.0), np.full(4, 4.0), outcome) == 100
    assert scores.coverage(np.full(4, 5.0), np.full(4, 6.0), outcome) == 0


def test_pinball_by_hand() -> None:
    forecast = np.array([[1.0, 3.0], [5.0, 6.0]])  # (N, Q)
    outcome = np.array([2.0, 4.0])
    by_hand = (0.1 * (2 - 1) + 0.1 * (3 - 2) + 0.9 * (5 - 4) + 0.1 * (6 - 4)) / 4
    assert scores.pinball(forecast, outcome, [0.1, 0.9]) == pytest.approx(by_hand)


@settings(deadline=None)
@given(values=arrays(np.float64, (2, 7), elements=numbers))
def test_pinball_of_the_median_is_half_the_mae(values: F64) -> None:
    forecast, outcome = values
    assert scores.pinball(forecast[:, None], outcome, [0.5]) == pytest.approx(scores.mae(forecast, outcome) / 2)


@settings(deadline=None)
@given(values=arrays(np.float64, (3, 7), elements=st.floats(1.0, 1e3)))
def test_pinball_with_scale_equals_pinball_of_scaled_prices(values: F64) -> None:
    forecast, outcome, scale = values
    found = scores.pinball(forecast[:, None], outcome, [0.3], scale)
    assert found == pytest.approx(scores.pinball((forecast / scale)[:, None], outcome / scale, [0.3]), abs=1e-9)


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.9])
def test_pinball_is_smallest_at_the_quantile(tau: float) -> None:
    outcome = np.random.default_rng(7).standard_normal(2001)
    right = float(np.quantile(outcome, tau))
    losses = [scores.pinball(np.full((2001, 1), right + off), outcome, [tau]) for off in (-0.2, 0.0, 0.2)]
    assert losses[1] == min(losses)


def test_pinball_losses_average_to_pinball() -> None:
    forecast, outcome = np.random.default_rng(8).normal(size=(9, 2)), np.arange(9.0)
    losses = scores.pinball_losses(forecast, outcome, [0.1, 0.9], outcome + 1)
    assert losses.shape == (9, 2)
    assert losses.mean() == pytest.approx(scores.pinball(forecast, outcome, [0.1, 0.9], outcome + 1))


@pytest.mark.parametrize("outcome", [-1.7, 0.0, 0.4, 2.5])
def test_crps_of_many_quantiles_equals_closed_form(outcome: float) -> None:
    """The CRPS of a normal distribution has a closed form (Gneiting & Raftery, 2007, section 4.2)."""
    quantiles = (np.arange(1, 2000) / 2000).tolist()
    losses = scores.pinball_losses(stats.norm.ppf(quantiles)[None], np.array([outcome]), quantiles)
    expected = outcome * (2 * stats.norm.cdf(outcome) - 1) + 2 * stats.norm.pdf(outcome) - 1 / math.sqrt(math.pi)
    assert scores.crps(losses, quantiles)[0] == pytest.approx(float(expected), abs=2e-3)


def test_crps_of_the_median_by_hand() -> None:
    """Twice the area of a triangle over (0, 1) whose height is the loss."""
    assert scores.crps(np.array([[3.0], [1.0]]), [0.5]).tolist() == [3.0, 1.0]


def test_winkler_by_hand() -> None:
    lower, upper, outcome = np.full(3, 10.0), np.full(3, 14.0), np.array([12.0, 9.0, 15.5])
    assert scores.winkler(lower, upper, outcome, 80) == pytest.approx([4, 4 + 10 * 1, 4 + 10 * 1.5])
    assert scores.winkler(lower, upper, outcome, 95) == pytest.approx([4, 4 + 40 * 1, 4 + 40 * 1.5])


@settings(deadline=None)
@given(values=arrays(np.float64, (3, 7), elements=numbers))
def test_winkler_equals_scaled_pinball_loss_of_both_ends(values: F64) -> None:
    """The identity is from Bracher et al. (2021)."""
    lower, upper, outcome = np.minimum(values[0], values[1]), np.maximum(values[0], values[1]), values[2]
    ends = scores.pinball_losses(np.stack([lower, upper], axis=1), outcome, [0.1, 0.9])
    assert scores.winkler(lower, upper, outcome, 80) == pytest.approx(2 / 0.2 * ends.sum(axis=1), abs=1e-6)


def test_pit_by_hand() -> None:
    forecast = np.tile([1.0, 2.0, 3.0], (5, 1))
    assert scores.pit(forecast, np.array([0.0, 1.0, 1.5, 2.5, 9.0])).tolist() == [20, 40, 20, 20]


def test_mase_and_rmsse_by_hand() -> None:
    changes = np.array([1.0, -3.0])
    assert scores.mase(4.0, changes) == 2.0
    assert scores.rmsse(4.0, changes) == pytest.approx(4 / math.sqrt(5))


@pytest.mark.parametrize("changes", [[], [0.0, 0.0]], ids=["none", "all zero"])
def test_mase_and_rmsse_without_changes_is_none(changes: list[float]) -> None:
    assert scores.mase(4.0, np.array(changes)) is None
    assert scores.rmsse(4.0, np.array(changes)) is None


def test_loss_ratio_with_zero_baseline() -> None:
    found = scores.loss_ratio(np.array([1.0, 0.0, 3.0, 0.0]), np.array([2.0, 2.0, 0.0, 0.0]))
    assert found.tolist() == [0.5, 0.0, 2.0, 1.0]
    assert float(scores.loss_ratio(3.0, 4.0)) == 0.75
