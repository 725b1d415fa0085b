"""Tests of binomial confidence intervals against SciPy and against published values."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.evaluation.binomial import CONFIDENCE, binomial_proportion

Method = Literal["exact", "wilson"]
METHODS: tuple[Method, ...] = ("exact", "wilson")


def expected_interval(successes: int, trials: int, method: Method) -> list[float]:
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method)
    return [100 * float(interval.low), 100 * float(interval.high)]


@given(trials=st.integers(1, 200_000), fraction=st.floats(0, 1), method=st.sampled_from(METHODS))
def test_binomial_proportion_equals_scipy(trials: int, fraction: float, method: Method) -> None:
    successes = round(fraction * trials)
    proportion = binomial_proportion(successes, trials, method)
    assert proportion.percent == 100 * successes / trials
    assert [proportion.low, proportion.high] == pytest.approx(
        expected_interval(successes, trials, method), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("trials", [1, 2, 30, 19_326])
def test_binomial_proportion_extreme_counts_equal_scipy(trials: int, method: Method) -> None:
    for successes in {0, 1, trials - 1, trials}:
        proportion = binomial_proportion(successes, trials, method)
        assert [proportion.low, proportion.high] == pytest.approx(
            expected_interval(successes, trials, method), rel=1e-9, abs=1e-9
        )


@pytest.mark.parametrize("method", METHODS)
def test_binomial_proportion_stays_within_0_and_100(method: Method) -> None:
    assert binomial_proportion(0, 7, method).low == 0
    assert binomial_proportion(7, 7, method).high == 100


# Newcombe (1998), Statistics in Medicine 17, Table I


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_binomial_proportion_wilson_equals_newcombe(successes: int, trials: int, low: float, high: float) -> None:
    found = binomial_proportion(successes, trials, "wilson")
    assert found.percent == pytest.approx(100 * successes / trials)
    assert [found.low, found.high] == pytest.approx([100 * low, 100 * high], abs=0.006)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_binomial_proportion_exact_equals_newcombe(successes: int, trials: int, low: float, high: float) -> None:
    found = binomial_proportion(successes, trials)
    assert [found.low, found.high] == pytest.approx([100 * low, 100 * high], abs=0.006)
