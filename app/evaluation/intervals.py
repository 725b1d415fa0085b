"""Binomial confidence intervals."""

import math
from statistics import NormalDist
from typing import Literal

from app.artifact.evidence import Proportion

CONFIDENCE = 0.95
MAX_STEPS = 200  # of Newton's method
MAX_TERMS = 1000  # of the continued fraction; it needs about the square root of the count: 140 for 20,000


def binomial_share(hits: int, count: int, method: Literal["exact", "wilson"] = "exact") -> Proportion:
    """Return `hits` as a percentage of `count`, with its 95% confidence interval.

    Args:
        hits: Number of successes, from 0 to `count`.
        count: Number of trials, at least 1.
        method: `exact` (Clopper & Pearson, 1934) or `wilson` (Wilson, 1927).
    """
    low, high = _wilson(hits, count) if method == "wilson" else _clopper_pearson(hits, count)
    return Proportion(percent=100 * hits / count, low=100 * low, high=100 * high)


def _wilson(hits: int, count: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = hits / count
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half_width = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (0.0 if hits == 0 else center - half_width), (1.0 if hits == count else center + half_width)


def _clopper_pearson(hits: int, count: int) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low = _beta_quantile(tail, hits, count - hits + 1) if hits else 0.0
    high = _beta_quantile(1 - tail, hits + 1, count - hits) if hits < count else 1.0
    return low, high


def _beta_quantile(probability: float, a: int, b: int) -> float:
    """Return a quantile of the Beta(a, b) distribution, by Newton's method kept inside a bracket."""
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high = 0.0, 1.0
    x = a / (a + b)
    for _ in range(MAX_STEPS):  # pragma: no branch: it converges before
        excess = _beta_cdf(x, a, b, log_norm) - probability
        low, high = (low, x) if excess > 0 else (x, high)
        density = math.exp(log_norm + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = excess / density if density else math.inf
        next_x = x - step
        if not low < next_x < high:
            next_x = (low + high) / 2
        if abs(next_x - x) <= 1e-15 * x:
            break
        x = next_x
    return x


def _beta_cdf(x: float, a: int, b: int, log_norm: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b).

    The continued fraction (Abramowitz & Stegun, 1964, 26.5.8) is evaluated by Lentz's algorithm on the side of the mean
    where it converges fast; the other side follows from I_x(a, b) = 1 − I_(1−x)(b, a).
    """
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a, log_norm)
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, MAX_TERMS):  # pragma: no branch: it converges before
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + numerator * d or tiny)
            c = 1 + numerator / c or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_norm + a * math.log(x) + b * math.log1p(-x)) * fraction / a
