"""Binomial intervals against SciPy's."""

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
