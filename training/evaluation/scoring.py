"""Scores a backtest. The scores are part of the published evidence."""

from itertools import pairwise

import numpy as np

from app.artifact.arrays import F64
from app.artifact.evidence import DirectionalAccuracy, Fold, Proportion, Score, VolatilityTercile
from app.evaluation import baselines, scores
from app.evaluation.binomial import binomial_proportion
from training.evaluation.backtest import Backtest, HorizonForecasts, price_moves, scored_horizons
from training.evaluation.baseline_comparison import BaselineComparison
from training.evaluation.significance import clark_west, diebold_mariano

FOLDS = 5
MIN_MOVE = 1e-9  # smallest relative move of the median away from the last price that is not a rounding error


def score_backtest(backtest: Backtest, *, with_baselines: bool = True) -> list[Score]:
    """Score a backtest at each of `scored_horizons`.

    Args:
        backtest: The backtest of one series.
        with_baselines: Whether to add comparisons with all baselines, which takes much longer.
    """
    comparison = BaselineComparison(backtest) if with_baselines else None
    horizon = backtest.samples.futures.shape[1]
    random_walk = None  # (N, H, Q)
    if backtest.levels and (backtest.samples.windows > 0).all():
        random_walk = baselines.ewma_random_walk(backtest.samples.windows, horizon, backtest.quantiles)
    return [
        _score(backtest, h, None if random_walk is None else random_walk[:, h - 1], comparison)
        for h in scored_horizons(horizon)
    ]


def _score(backtest: Backtest, horizon: int, random_walk: F64 | None, comparison: BaselineComparison | None) -> Score:
    """Score one horizon.

    Args:
        backtest: The backtest of one series.
        horizon: Number of steps ahead.
        random_walk: (N, Q) forecasts of the random walk with EWMA volatility at this horizon, if there are any.
        comparison: The comparison with all baselines, or None to omit it.
    """
    forecasts, series, origins = backtest.at(horizon), backtest.samples.series, backtest.samples.origins
    median, outcome, last = forecasts.median, forecasts.outcome, forecasts.last
    loss, baseline_loss = forecasts.squared_errors(median), forecasts.squared_errors(last)
    changes = np.diff(series.prices[: origins[0] + 1])
    pinball_losses = forecasts.pinball_losses() if forecasts.levels else None
    coverage = _coverage(forecasts)
    first_date, last_date = backtest.forecast_dates(0, len(origins))
    return Score(
        instrument=series.name,
        seen=backtest.is_seen,
        horizon=horizon,
        origins=len(origins),
        first_date=first_date,
        last_date=last_date,
        rmse=scores.rmse(median, outcome),
        rmse_last_price=scores.rmse(last, outcome),
        mae=scores.mae(median, outcome),
        mae_last_price=scores.mae(last, outcome),
        mase=scores.mase(scores.mae(median, outcome), changes),
        rmsse=scores.rmsse(scores.rmse(median, outcome), changes),
        skill=scores.skill(loss, baseline_loss),
        skill_p_value=diebold_mariano(loss, baseline_loss, horizon),
        skill_p_value_nested=clark_west(*price_moves(median, outcome, last), horizon),
        direction=_direction(forecasts),
        copy_ratio=scores.copy_ratio(median, last, outcome),
        correlation_last=scores.correlation(median, last),
        correlation_next=scores.correlation(median, outcome),
        coverage={level: proportion.percent for level, proportion in coverage.items()},
        coverage_interval=coverage,
        coverage_by_volatility=_terciles(backtest, forecasts),
        pinball=None if pinball_losses is None else float(pinball_losses.mean()),
        pinball_random_walk=None if random_walk is None else _mean_pinball(forecasts.with_forecasts(random_walk)),
        crps=None if pinball_losses is None else float(scores.crps(pinball_losses, backtest.quantiles).mean()),
        winkler={str(level): float(np.mean(forecasts.winkler_scores(level))) for level in forecasts.levels},
        pit=scores.pit(forecasts.forecasts, outcome).tolist() if forecasts.levels else [],
        folds=_folds(backtest, forecasts, random_walk),
        point_baselines=comparison.point_baselines(horizon) if comparison else [],
        interval_baselines=comparison.interval_baselines(horizon) if comparison else [],
    )


def _direction(forecasts: HorizonForecasts) -> DirectionalAccuracy | None:
    """Count correct directions. Return None if no step has both a predicted and an actual move."""
    predicted, actual = price_moves(forecasts.median, forecasts.outcome, forecasts.last)
    has_direction = np.abs(forecasts.median - forecasts.last) > MIN_MOVE * np.abs(forecasts.last)
    is_counted = has_direction & (actual != 0)
    steps = int(is_counted.sum())
    if not steps:
        return None
    is_up = actual[is_counted] > 0
    hits = int(((predicted[is_counted] > 0) == is_up).sum())
    majority = 100 * max(float(is_up.mean()), 1 - float(is_up.mean()))
    return DirectionalAccuracy(steps=steps, hit_rate=binomial_proportion(hits, steps, "wilson"), majority=majority)


def _coverage(forecasts: HorizonForecasts) -> dict[str, Proportion]:
    """Return the percentage of outcomes inside the interval, by level, with exact binomial confidence intervals."""
    proportions = {}
    for level in forecasts.levels:
        lower, upper = forecasts.interval(level)
        hits = int(((lower <= forecasts.outcome) & (forecasts.outcome <= upper)).sum())
        proportions[str(level)] = binomial_proportion(hits, len(forecasts.outcome))
    return proportions


def _terciles(backtest: Backtest, forecasts: HorizonForecasts) -> list[VolatilityTercile]:
    """Return the coverage in each third of the windows, grouped by volatility.

    The list is empty if there are no levels, or if the volatilities are too similar to form three groups.
    """
    if not backtest.levels or not backtest.has_positive_prices:
        return []
    volatility = baselines.ewma_volatility(backtest.samples.windows)
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
            coverage=_coverage(forecasts.select(third == i)),
        )
        for i, name in enumerate(("low", "middle", "high"))
    ]


def _folds(backtest: Backtest, forecasts: HorizonForecasts, random_walk: F64 | None) -> list[Fold]:
    """Score five consecutive parts. The list is empty if there are fewer than five forecasts."""
    count = len(forecasts.outcome)
    if count < FOLDS:
        return []
    if not backtest.has_positive_prices:
        random_walk = None
    edges = [round(i * count / FOLDS) for i in range(FOLDS + 1)]
    return [_fold(backtest, forecasts, random_walk, start, stop) for start, stop in pairwise(edges)]


def _fold(backtest: Backtest, forecasts: HorizonForecasts, random_walk: F64 | None, start: int, stop: int) -> Fold:
    part = forecasts.select(slice(start, stop))
    first_date, last_date = backtest.forecast_dates(start, stop)
    pinball_ratio = None
    if random_walk is not None:
        baseline = part.with_forecasts(random_walk[start:stop])
        pinball_ratio = float(scores.loss_ratio(_mean_pinball(part), _mean_pinball(baseline)))
    return Fold(
        origins=stop - start,
        first_date=first_date,
        last_date=last_date,
        skill=scores.skill(part.squared_errors(part.median), part.squared_errors(part.last)),
        rmse_ratio=float(
            scores.loss_ratio(scores.rmse(part.median, part.outcome), scores.rmse(part.last, part.outcome))
        ),
        coverage={str(level): scores.coverage(*part.interval(level), part.outcome) for level in part.levels},
        pinball_ratio=pinball_ratio,
    )


def _mean_pinball(forecasts: HorizonForecasts) -> float:
    return float(forecasts.pinball_losses().mean())
