"""Calibration: where the median comes from, and how much the intervals must widen to hold what they promise."""

from collections.abc import Sequence

import numpy as np

from app.artifact.manifest import Calibration, Score
from app.artifact.transform import F64

SIGNIFICANCE = 0.05


def none(horizon: int, levels: Sequence[int], center: str) -> Calibration:
    """The network's quantiles as they are, around its own median or around the last price."""
    return Calibration.model_validate({"center": center, "offsets": [[0.0] * len(levels)] * horizon})


def has_skill(scores: Sequence[Score]) -> bool:
    """Whether the one-step median beats the last price: better over all, and on some instrument beyond chance.

    Bonferroni's correction for the number of instruments holds however they depend on each other.
    """
    scores = [score for score in scores if score.horizon == 1]
    better = float(np.mean([score.skill for score in scores])) > 0
    p_values = [score.skill_p_value for score in scores if score.skill_p_value is not None]
    return better and bool(p_values) and min(p_values) * len(scores) < SIGNIFICANCE


def conformal_offsets(quantiles: F64, targets: F64, levels: Sequence[int]) -> list[list[float]]:
    """What to add outside each interval so that it covers its level: (H, L), negative where it is too wide.

    Conformalized quantile regression (Romano, Patterson & Candès, 2019), in the network's output units, which the
    transform has normalised by volatility already.

    Args:
        quantiles: (N, H, Q) of the network, on a block that it was neither fitted nor chosen on.
        targets: (N, H) outcomes in the same units.
        levels: rising; the outermost pair of quantiles belongs to the last.
    """
    n, horizon, q = quantiles.shape
    median = q // 2
    offsets = np.empty((horizon, len(levels)))
    for i, level in enumerate(levels):
        lower, upper = quantiles[:, :, median - 1 - i], quantiles[:, :, median + 1 + i]  # (N, H)
        outside = np.maximum(lower - targets, targets - upper)
        rank = min(1.0, np.ceil((n + 1) * level / 100) / n)
        offsets[:, i] = np.quantile(outside, rank, axis=0, method="higher")
    return [[float(offset) for offset in row] for row in offsets]
