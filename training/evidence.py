"""Evidence: all the figures of backtests, and what they amount to in plain sentences."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from app.artifact.evidence import DirectionalAccuracy, Evidence, Fold, Proportion, Score, VolatilityTercile
from app.artifact.transform import F64
from training import backtest, baselines, metrics, significance
from training.backtest import Backtest, has_skill
from training.rivals import Rivals

FOLDS = 5
DIGITS = 6  # significant, of what is kept
SUMMED_UP = (80, 95)  # levels that the summary names
RIVALS = (  # interval baselines that the summary names
    (baselines.EWMA, "a random walk with EWMA volatility"),
    (baselines.GARCH, "GARCH-t fitted to each instrument itself"),
)


def scores(test: Backtest) -> list[Score]:
    """All the figures of one series, a row for each horizon that is scored."""
    rivals = Rivals(test)
    return [
        score.model_copy(
            update={
                "direction": _direction(test, score.horizon - 1),
                "coverage_interval": _coverage(test, score.horizon - 1, np.full(len(test.samples), True)),
                "coverage_by_volatility": _terciles(test, score.horizon - 1),
                "folds": _folds(test, score.horizon - 1),
                "point_baselines": rivals.points(score.horizon),
                "interval_baselines": rivals.intervals(score.horizon),
            }
        )
        for score in backtest.score(test)
    ]


def of(scores: Sequence[Score], held: bool) -> Evidence:
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
            for level in SUMMED_UP
            if _has(seen, level)
        ]
        sentences.append(f"Measured on {_steps(seen)} unseen steps of {_names(seen)}.")
    if unseen:
        sentences.append(_unseen_sentence(unseen))
    sentences += _quantiles_sentence(first)
    kept = [Score.model_validate(_rounded(score.model_dump())) for score in scores]
    return Evidence(point_skill="some" if skilled else "none", summary=" ".join(sentences), scores=kept)


def is_lagged_copy(score: Score) -> bool:
    """Whether forecasts follow the last price more closely than the price they forecast, and are no better than it."""
    return score.skill <= 0 and score.correlation_last > score.correlation_next


def rmse_ratio(score: Score) -> float:
    """Of the median to the last price; 1 where no price moves and none was forecast to."""
    return float(metrics.ratio(score.rmse, score.rmse_last_price))


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
        for level in SUMMED_UP
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


def _direction(test: Backtest, h: int) -> DirectionalAccuracy | None:
    """None where the median says no direction, or no price moved."""
    forecast, came = backtest.moves(test.median[:, h], test.samples.futures[:, h], test.last)
    said = np.abs(test.median[:, h] - test.last) > 1e-9 * np.abs(test.last)  # more than rounding
    counted = said & (came != 0)
    steps = int(counted.sum())
    if not steps:
        return None
    up = came[counted] > 0
    hits = int(((forecast[counted] > 0) == up).sum())
    majority = 100 * max(float(up.mean()), 1 - float(up.mean()))
    return DirectionalAccuracy(steps=steps, hit_rate=significance.share(hits, steps, "wilson"), majority=majority)


def _coverage(test: Backtest, h: int, where: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Proportion]:
    """By level, of the (N,) origins that are asked for."""
    outcome = test.samples.futures[where, h]
    found = {}
    for level in test.levels:
        lower, upper = (side[where, h] for side in test.interval(level))
        found[str(level)] = significance.share(int(((lower <= outcome) & (outcome <= upper)).sum()), len(outcome))
    return found


def _terciles(test: Backtest, h: int) -> list[VolatilityTercile]:
    """None without levels, or where volatility does not tell three thirds apart."""
    if not test.levels or not test.positive:
        return []
    volatility = baselines.ewma_volatility(test.samples.windows)
    cuts = np.quantile(volatility, [1 / 3, 2 / 3])
    third = np.searchsorted(cuts, volatility)  # (N,) 0, 1 or 2
    counts = np.bincount(third, minlength=3)
    if not counts.all():
        return []
    return [
        VolatilityTercile(
            volatility=name,
            greatest=float(volatility[third == i].max()),
            origins=int(counts[i]),
            coverage=_coverage(test, h, third == i),
        )
        for i, name in enumerate(("low", "middle", "high"))
    ]


def _folds(test: Backtest, h: int) -> list[Fold]:
    """Five, or none of fewer forecasts than that."""
    count = len(test.samples)
    if count < FOLDS:
        return []
    walk = None
    if test.levels and test.positive:
        walk = baselines.ewma_random_walk(test.samples.windows, h + 1, test.quantiles)[:, h]
    edges = [round(i * count / FOLDS) for i in range(FOLDS + 1)]
    return [_fold(test, h, walk, start, stop) for start, stop in pairwise(edges)]


def _fold(test: Backtest, h: int, walk: F64 | None, start: int, stop: int) -> Fold:
    part = slice(start, stop)
    outcome, last, median = test.samples.futures[part, h], test.last[part], test.median[part, h]
    loss, baseline_loss = (backtest.squared(each, outcome, last) for each in (median, last))
    first_date, last_date = backtest.dates_of(test.samples, start, stop)
    ratio = None
    if walk is not None:
        losses = (
            metrics.pinball(each, outcome, test.quantiles, last) for each in (test.forecasts[part, h], walk[part])
        )
        ratio = float(metrics.ratio(*losses))
    sides = {level: [side[part, h] for side in test.interval(level)] for level in test.levels}
    return Fold(
        origins=stop - start,
        first_date=first_date,
        last_date=last_date,
        skill=metrics.skill(loss, baseline_loss),
        rmse_ratio=float(metrics.ratio(metrics.rmse(median, outcome), metrics.rmse(last, outcome))),
        coverage={str(level): metrics.coverage(low, high, outcome) for level, (low, high) in sides.items()},
        pinball_ratio=ratio,
    )
