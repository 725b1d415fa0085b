"""The evidence in plain sentences, point skill first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.artifact.evidence import Evidence, Score
from app.evaluation import baselines, scores
from training.evaluation import fitted_baselines

SIGNIFICANCE = 0.05
DIGITS = 6  # significant, of what is kept
SUMMARY_LEVELS = (80, 95)  # levels that the summary names
RIVALS = (  # interval baselines that the summary names
    (baselines.EWMA, "a random walk with EWMA volatility"),
    (fitted_baselines.GARCH, "GARCH-t fitted to each instrument itself"),
)


def summarize(scores: Sequence[Score], held: bool) -> Evidence:
    """The figures and what they amount to.

    Args:
        held: whether the median is held at the last price, for want of skill on the validation block.
    """
    first = [score for score in scores if score.horizon == 1]
    skilled = not held and has_skill(first)
    sentences = [_point_sentence(first, held, skilled)]
    seen, unseen = ([score for score in first if score.seen is flag] for flag in (True, False))
    if seen:
        sentences += [
            f"The {level}% intervals held the next price {_mean_coverage(seen, level):.1f}% of the time."
            for level in SUMMARY_LEVELS
            if _has(seen, level)
        ]
        sentences.append(f"Measured on {_steps(seen)} unseen steps of {_names(seen)}.")
    if unseen:
        sentences.append(_unseen_sentence(unseen))
    sentences += _quantiles_sentence(first)
    kept = [Score.model_validate(_rounded(score.model_dump())) for score in scores]
    return Evidence(point_skill="some" if skilled else "none", summary=" ".join(sentences), scores=kept)


def has_skill(scores: Sequence[Score]) -> bool:
    """Whether the one-step median beats the last price: better over all, and on some instrument beyond chance.

    Bonferroni's correction for the number of instruments holds however they depend on each other.
    """
    scores = [score for score in scores if score.horizon == 1]
    better = sum(score.skill for score in scores) > 0
    p_values = [score.skill_p_value for score in scores if score.skill_p_value is not None]
    return better and bool(p_values) and min(p_values) * len(scores) < SIGNIFICANCE


def is_lagged_copy(score: Score) -> bool:
    """Whether forecasts follow the last price more closely than the price they forecast, and are no better than it."""
    return score.skill <= 0 and score.correlation_last > score.correlation_next


def rmse_ratio(score: Score) -> float:
    """Of the median to the last price; 1 where no price moves and none was forecast to."""
    return float(scores.ratio(score.rmse, score.rmse_last_price))


def _point_sentence(first: Sequence[Score], held: bool, skilled: bool) -> str:
    ratio = float(np.mean([rmse_ratio(score) for score in first]))
    skill = float(np.mean([score.skill for score in first]))
    if held:
        return "No point skill was found, so the median repeats the last price."
    if skilled:
        return f"The median beats repeating the last price: skill {skill:.1%}, RMSE ratio {ratio:.3f}."
    copy = ", and follows it like a lagged copy" if all(is_lagged_copy(score) for score in first) else ""
    if ratio >= 1.005:
        return f"No point skill: the median misses by {ratio:.2f} times as much as repeating the last price{copy}."
    if skill <= 0:
        return f"No point skill: the median is no better than repeating the last price{copy}."
    return f"No point skill: what the median gains on repeating the last price ({skill:.2%}) is within chance."


def _unseen_sentence(unseen: Sequence[Score]) -> str:
    held = [
        f"the {level}% intervals held {_mean_coverage(unseen, level):.1f}%"
        for level in SUMMARY_LEVELS
        if _has(unseen, level)
    ]
    ratio = float(np.mean([rmse_ratio(score) for score in unseen]))
    said = " and ".join(held) or f"the median missed by {ratio:.2f} times as much as repeating the last price"
    return f"On {_steps(unseen)} steps of instruments that were not trained on ({_names(unseen)}), {said}."


def _quantiles_sentence(first: Sequence[Score]) -> list[str]:
    """The quantiles beside those of volatility models, where there are any; none otherwise."""
    said = []
    for name, what in RIVALS:
        ratios = [row.pinball_ratio for score in first for row in score.interval_baselines if row.baseline == name]
        if ratios:
            said.append(f"{np.median(ratios):.3f} times that of {what}")
    return [f"The quantiles' loss is {' and '.join(said)} (medians; below 1 is better)."] if said else []


def _rounded(value: Any) -> Any:
    """A document with its fractions to so many digits as mean something."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _has(scores: Sequence[Score], level: int) -> bool:
    return all(str(level) in score.coverage for score in scores)


def _mean_coverage(scores: Sequence[Score], level: int) -> float:
    return float(np.mean([score.coverage[str(level)] for score in scores]))


def _steps(scores: Sequence[Score]) -> int:
    return sum(score.origins for score in scores)


def _names(scores: Sequence[Score]) -> str:
    return ", ".join(score.instrument for score in scores)
