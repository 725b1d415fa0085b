"""Tests of binomial intervals against SciPy and against published values."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.evaluation.intervals import CONFIDENCE, binomial_share

Method = Literal["exact", "wilson"]
METHODS: tuple[Method, ...] = ("exact", "wilson")


def expected_interval(hits: int, count: int, method: Method) -> list[float]:
    interval = stats.binomtest(hits, count).proportion_ci(CONFIDENCE, method)
    return [100 * float(interval.low), 100 * float(interval.high)]


@given(count=st.integers(1, 200_000), fraction=st.floats(0, 1), method=st.sampled_from(METHODS))
def test_binomial_share_equals_scipy(count: int, fraction: float, method: Method) -> None:
    hits = round(fraction * count)
    share = binomial_share(hits, count, method)
    assert share.percent == 100 * hits / count
    assert [share.low, share.high] == pytest.approx(expected_interval(hits, count, method), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 30, 19_326])
def test_binomial_share_at_the_ends_equals_scipy(count: int, method: Method) -> None:
    for hits in {0, 1, count - 1, count}:
        share = binomial_share(hits, count, method)
        assert [share.low, share.high] == pytest.approx(expected_interval(hits, count, method), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_binomial_share_never_leaves_0_to_100(method: Method) -> None:
    assert binomial_share(0, 7, method).low == 0
    assert binomial_share(7, 7, method).high == 100


# Newcombe (1998), Statistics in Medicine 17, Table I


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_binomial_share_wilson_equals_newcombe(hits: int, count: int, low: float, high: float) -> None:
    found = binomial_share(hits, count, "wilson")
    assert found.percent == pytest.approx(100 * hits / count)
    assert [found.low, found.high] == pytest.approx([100 * low, 100 * high], abs=0.006)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_binomial_share_exact_equals_newcombe(hits: int, count: int, low: float, high: float) -> None:
    found = binomial_share(hits, count)
    assert [found.low, found.high] == pytest.approx([100 * low, 100 * high], abs=0.006)
