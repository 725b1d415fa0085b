"""Evidence: all the figures of backtests, and what they amount to in plain sentences."""

from itertools import pairwise

import numpy as np

from app.artifact.evidence import DirectionalAccuracy, Fold, Score, Proportion, VolatilityTercile
from app.artifact.transform import F64
from app.evaluation import baselines, intervals, scores
from training.evaluation import backtest, significance
from training.evaluation.backtest import Backtest
from training.evaluation.baseline_comparison import BaselineComparison

FOLDS = 5


def score_backtest(test: Backtest) -> list[Score]:
    """All the figures of one series, a row for each horizon that is scored."""
    rivals = BaselineComparison(test)
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
        for score in score_forecasts(test)
    ]


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
    return DirectionalAccuracy(steps=steps, hit_rate=intervals.binomial_share(hits, steps, "wilson"), majority=majority)


def _coverage(test: Backtest, h: int, where: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Proportion]:
    """By level, of the (N,) origins that are asked for."""
    outcome = test.samples.futures[where, h]
    found = {}
    for level in test.levels:
        lower, upper = (side[where, h] for side in test.interval(level))
        found[str(level)] = intervals.binomial_share(int(((lower <= outcome) & (outcome <= upper)).sum()), len(outcome))
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
    loss, baseline_loss = (backtest.squared_errors(each, outcome, last) for each in (median, last))
    first_date, last_date = backtest.dates_of(test.samples, start, stop)
    ratio = None
    if walk is not None:
        losses = (scores.pinball(each, outcome, test.quantiles, last) for each in (test.forecasts[part, h], walk[part]))
        ratio = float(scores.ratio(*losses))
    sides = {level: [side[part, h] for side in test.interval(level)] for level in test.levels}
    return Fold(
        origins=stop - start,
        first_date=first_date,
        last_date=last_date,
        skill=scores.skill(loss, baseline_loss),
        rmse_ratio=float(scores.ratio(scores.rmse(median, outcome), scores.rmse(last, outcome))),
        coverage={str(level): scores.coverage(low, high, outcome) for level, (low, high) in sides.items()},
        pinball_ratio=ratio,
    )


def score_forecasts(test: Backtest) -> list[Score]:
    """The figures of one series that need its forecasts only, a row for each horizon that is scored."""
    futures, last = test.samples.futures, test.last
    # Losses of quantiles are relative to the price, so that a dear year counts no more than a cheap one.
    scale = last if (last > 0).all() else 1.0
    walk = None
    if test.levels and (test.samples.windows > 0).all():
        walk = baselines.ewma_random_walk(test.samples.windows, futures.shape[1], test.quantiles)
    first_date, last_date = backtest.dates_of(test.samples, 0, len(test.samples))
    changes = np.diff(test.samples.series.prices[: test.samples.origins[0] + 1])
    rows = []
    for horizon in backtest.scored_horizons(futures.shape[1]):
        h = horizon - 1
        forecast, outcome = test.median[:, h], futures[:, h]
        loss, baseline_loss = (
            backtest.squared_errors(forecast, outcome, last),
            backtest.squared_errors(last, outcome, last),
        )
        losses = scores.pinball_losses(test.forecasts[:, h], outcome, test.quantiles, scale) if test.levels else None
        sides = {level: [side[:, h] for side in test.interval(level)] for level in test.levels}
        rows.append(
            Score(
                instrument=test.samples.series.name,
                seen=test.seen,
                horizon=horizon,
                origins=len(test.samples),
                first_date=first_date,
                last_date=last_date,
                rmse=scores.rmse(forecast, outcome),
                rmse_last_price=scores.rmse(last, outcome),
                mae=scores.mae(forecast, outcome),
                mae_last_price=scores.mae(last, outcome),
                mase=scores.scaled(scores.mae(forecast, outcome), changes),
                rmsse=scores.root_scaled(scores.rmse(forecast, outcome), changes),
                skill=scores.skill(loss, baseline_loss),
                skill_p_value=significance.diebold_mariano(loss, baseline_loss, horizon),
                skill_p_value_nested=significance.clark_west(*backtest.moves(forecast, outcome, last), horizon),
                copy_ratio=scores.copy_ratio(forecast, last, outcome),
                correlation_last=scores.correlation(forecast, last),
                correlation_next=scores.correlation(forecast, outcome),
                coverage={str(level): scores.coverage(low, high, outcome) for level, (low, high) in sides.items()},
                pinball=None if losses is None else float(losses.mean()),
                pinball_random_walk=(
                    None if walk is None else scores.pinball(walk[:, h], outcome, test.quantiles, scale)
                ),
                crps=None if losses is None else float(scores.crps(losses, test.quantiles).mean()),
                winkler={
                    str(level): float(np.mean(scores.winkler(low, high, outcome, level) / scale))
                    for level, (low, high) in sides.items()
                },
                pit=scores.pit(test.forecasts[:, h], outcome).tolist() if test.levels else [],
            )
        )
    return rows
