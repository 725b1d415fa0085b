"""Confidence intervals of binomial proportions."""

import math
from statistics import NormalDist
from typing import Literal

from app.artifact.evidence import Proportion

CONFIDENCE = 0.95
MAX_NEWTON_STEPS = 200
MAX_FRACTION_TERMS = 1000  # the continued fraction needs about the square root of the trials: 140 terms for 20,000


def binomial_proportion(successes: int, trials: int, method: Literal["exact", "wilson"] = "exact") -> Proportion:
    """Return `successes` as a percentage of `trials`, with its 95% confidence interval.

    Args:
        successes: Number of successes, from 0 to `trials`.
        trials: Number of trials, at least 1.
        method: Method of the interval: `exact` (Clopper & Pearson, 1934) or `wilson` (Wilson, 1927).

    Returns:
        The percentage, and the ends of its confidence interval in percent.
    """
    low, high = _wilson(successes, trials) if method == "wilson" else _clopper_pearson(successes, trials)
    return Proportion(percent=100 * successes / trials, low=100 * low, high=100 * high)


def _wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the ends of the Wilson score interval, from 0 to 1."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    fraction = successes / trials
    center = (fraction + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half_width = z / (1 + z**2 / trials) * math.sqrt(fraction * (1 - fraction) / trials + z**2 / (4 * trials**2))
    return (0.0 if successes == 0 else center - half_width), (1.0 if successes == trials else center + half_width)


def _clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Return the ends of the exact interval, from 0 to 1."""
    tail = (1 - CONFIDENCE) / 2
    low = _beta_quantile(tail, successes, trials - successes + 1) if successes else 0.0
    high = _beta_quantile(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return low, high


def _beta_quantile(probability: float, a: int, b: int) -> float:
    """Return a quantile of the Beta(a, b) distribution, found by Newton's method with bisection as its fallback."""
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high = 0.0, 1.0
    x = a / (a + b)
    for _ in range(MAX_NEWTON_STEPS):  # pragma: no branch: the method converges earlier
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

    Lentz's algorithm evaluates the continued fraction (Abramowitz & Stegun, 1964, 26.5.8) on the side of the mean where
    it converges fast. The other side follows from the identity I_x(a, b) = 1 − I_(1−x)(b, a).
    """
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a, log_norm)
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, MAX_FRACTION_TERMS):  # pragma: no branch: the fraction converges earlier
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
