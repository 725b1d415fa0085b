"""Summarizes scores as evidence: a decision on point skill, and the main figures in plain sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.artifact.evidence import Evidence, Score
from app.evaluation.baselines import EWMA
from app.evaluation.scores import loss_ratio
from training.evaluation.fitted_baselines import GARCH

SIGNIFICANCE = 0.05
SIGNIFICANT_DIGITS = 6  # precision of published figures
SUMMARY_LEVELS = (80, 95)  # interval levels that the summary mentions
SUMMARY_BASELINES = {  # interval baselines that the summary mentions
    EWMA: "a random walk with EWMA volatility",
    GARCH: "a GARCH-t model fitted to each instrument",
}


def summarize(scores: Sequence[Score], *, is_centered_on_last_price: bool) -> Evidence:
    """Summarize scores, and decide whether the median has point skill.

    Args:
        scores: The scores of every instrument at every scored horizon.
        is_centered_on_last_price: Whether the calibration sets the median to the last price.
    """
    one_step = [score for score in scores if score.horizon == 1]
    is_skilled = not is_centered_on_last_price and has_skill(one_step)
    sentences = [_point_sentence(one_step, is_centered_on_last_price, is_skilled)]
    seen, unseen = ([score for score in one_step if score.seen is is_seen] for is_seen in (True, False))
    if seen:
        sentences += [
            f"The {level}% intervals contained the next price {_mean_coverage(seen, level):.1f}% of the time."
            for level in _summary_levels(seen)
        ]
        sentences.append(f"Measured on {_total_origins(seen)} test steps of {_instruments(seen)}.")
    if unseen:
        sentences.append(_unseen_sentence(unseen))
    sentences += _pinball_sentence(one_step)
    rounded = [Score.model_validate(_round(score.model_dump())) for score in scores]
    return Evidence(point_skill="some" if is_skilled else "none", summary=" ".join(sentences), scores=rounded)


def has_skill(scores: Sequence[Score]) -> bool:
    """Return whether the one-step median beats the last price.

    The mean skill must be positive, and the skill on at least one instrument must be significant. Bonferroni's
    correction for the number of instruments is valid even if instruments depend on each other.
    """
    scores = [score for score in scores if score.horizon == 1]
    is_better = sum(score.skill for score in scores) > 0
    p_values = [score.skill_p_value for score in scores if score.skill_p_value is not None]
    return is_better and bool(p_values) and min(p_values) * len(scores) < SIGNIFICANCE


def is_lagged_copy(score: Score) -> bool:
    """Return whether the forecasts have no skill, and correlate more with the last price than with the actual price."""
    return score.skill <= 0 and score.correlation_last > score.correlation_next


def rmse_ratio(score: Score) -> float:
    """Return RMSE(median) / RMSE(repeating the last price)."""
    return float(loss_ratio(score.rmse, score.rmse_last_price))


def _point_sentence(one_step: Sequence[Score], is_centered_on_last_price: bool, is_skilled: bool) -> str:
    """Describe the skill of the median."""
    ratio = float(np.mean([rmse_ratio(score) for score in one_step]))
    skill = float(np.mean([score.skill for score in one_step]))
    if is_centered_on_last_price:
        return "No point skill was found, so the median repeats the last price."
    if is_skilled:
        return f"The median beats repeating the last price: skill {skill:.1%}, RMSE ratio {ratio:.3f}."
    copy = "; the forecasts are a lagged copy of the price" if all(map(is_lagged_copy, one_step)) else ""
    if ratio >= 1.005:
        return f"No point skill: the RMSE of the median is {ratio:.2f} times that of repeating the last price{copy}."
    if skill <= 0:
        return f"No point skill: the median is no better than repeating the last price{copy}."
    return f"No point skill: the gain over repeating the last price ({skill:.2%}) is not statistically significant."


def _unseen_sentence(unseen: Sequence[Score]) -> str:
    """Summarize the scores of instruments that the model was not trained on."""
    covered = [
        f"the {level}% intervals contained {_mean_coverage(unseen, level):.1f}% of the next prices"
        for level in _summary_levels(unseen)
    ]
    ratio = float(np.mean([rmse_ratio(score) for score in unseen]))
    finding = " and ".join(covered) or f"the RMSE of the median was {ratio:.2f} times that of repeating the last price"
    untrained = f"{_total_origins(unseen)} steps of instruments that the model was not trained on"
    return f"On {untrained} ({_instruments(unseen)}), {finding}."


def _pinball_sentence(one_step: Sequence[Score]) -> list[str]:
    """Compare the quantiles with those of volatility models. The list is empty if no score has such baselines."""
    comparisons = []
    for name, description in SUMMARY_BASELINES.items():
        ratios = [row.pinball_ratio for score in one_step for row in score.interval_baselines if row.baseline == name]
        if ratios:
            comparisons.append(f"{np.median(ratios):.3f} times that of {description}")
    return (
        [f"The pinball loss is {' and '.join(comparisons)} (medians over instruments; below 1 is better)."]
        if comparisons
        else []
    )


def _round(value: Any) -> Any:
    """Round every float in a JSON document to `SIGNIFICANT_DIGITS`."""
    if isinstance(value, dict):
        return {key: _round(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_round(each) for each in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _summary_levels(scores: Sequence[Score]) -> list[int]:
    """Return the levels in `SUMMARY_LEVELS` that every score has."""
    return [level for level in SUMMARY_LEVELS if all(str(level) in score.coverage for score in scores)]


def _mean_coverage(scores: Sequence[Score], level: int) -> float:
    return float(np.mean([score.coverage[str(level)] for score in scores]))


def _total_origins(scores: Sequence[Score]) -> int:
    return sum(score.origins for score in scores)


def _instruments(scores: Sequence[Score]) -> str:
    return ", ".join(score.instrument for score in scores)
