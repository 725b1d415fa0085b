"""Backtest: forecasts of exactly what would be served, beside what came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from app.artifact.evidence import Score
from app.artifact.manifest import interval_columns
from app.artifact.transform import F64
from app.inference.forecaster import Forecaster
from training import baselines, metrics, significance
from training.data import DataError, Series
from training.split import Samples, cut

SIGNIFICANCE = 0.05
CHUNK = 1024  # windows in one engine call
HORIZONS = (1, 5, 10, 20)  # that are scored, and the last


@dataclass(frozen=True, eq=False)
class Backtest:
    """Every forecast of one block of one series, and what came."""

    samples: Samples
    forecasts: F64  # (N, H, Q)
    quantiles: Sequence[float]
    levels: Sequence[int]
    seen: bool = True  # whether earlier prices of the series were trained on

    @property
    def median(self) -> F64:
        """(N, H)"""
        return self.forecasts[:, :, len(self.levels)]

    @property
    def last(self) -> F64:
        """(N,) the last prices."""
        return self.samples.windows[:, -1]

    @property
    def positive(self) -> bool:
        """Whether all prices have a logarithm."""
        return bool((self.samples.windows > 0).all() and (self.samples.futures > 0).all())

    def interval(self, level: int) -> tuple[F64, F64]:
        """(N, H) lower and upper prices."""
        lower, upper = interval_columns(level, self.levels)
        return self.forecasts[:, :, lower], self.forecasts[:, :, upper]


def run(
    forecaster: Forecaster, samples: Samples, quantiles: Sequence[float], levels: Sequence[int], seen: bool = True
) -> Backtest:
    """Forecasts every window of a block."""
    chunks = [samples.windows[i : i + CHUNK] for i in range(0, len(samples), CHUNK)]
    forecasts = np.concatenate([forecaster.forecast(chunk) for chunk in chunks])
    return Backtest(samples, forecasts, quantiles, levels, seen)


def whole(
    forecaster: Forecaster,
    series: Series,
    window: int,
    horizon: int,
    quantiles: Sequence[float],
    levels: Sequence[int],
) -> Backtest:
    """Forecasts every window of a series that was not trained on.

    Raises:
        DataError: the series is too short for a single one.
    """
    return run(forecaster, tail(series, 0, window, horizon), quantiles, levels, seen=False)


def tail(series: Series, first: int, window: int, horizon: int) -> Samples:
    """Every sample of a series whose future begins in row `first` or later.

    Raises:
        DataError: there is none.
    """
    samples = cut(series, first, len(series.prices), window, horizon)
    if samples is None:
        reason = f"{len(series.prices)} prices are too few: a window of {window} and {horizon} steps ahead"
        raise DataError(series.name, reason + (f" from price {first + 1} on" if first else ""))
    return samples


def scored_horizons(horizon: int) -> list[int]:
    """1, 5, 10, 20 and the last, of those there are."""
    return sorted({h for h in HORIZONS if h < horizon} | {horizon})


def score(test: Backtest) -> list[Score]:
    """The figures of one series that need its forecasts only, a row for each horizon that is scored."""
    futures, last = test.samples.futures, test.last
    # Losses of quantiles are relative to the price, so that a dear year counts no more than a cheap one.
    scale = last if (last > 0).all() else 1.0
    walk = None
    if test.levels and (test.samples.windows > 0).all():
        walk = baselines.ewma_random_walk(test.samples.windows, futures.shape[1], test.quantiles)
    first_date, last_date = dates_of(test.samples, 0, len(test.samples))
    changes = np.diff(test.samples.series.prices[: test.samples.origins[0] + 1])
    rows = []
    for horizon in scored_horizons(futures.shape[1]):
        h = horizon - 1
        forecast, outcome = test.median[:, h], futures[:, h]
        loss, baseline_loss = squared(forecast, outcome, last), squared(last, outcome, last)
        losses = metrics.pinball_losses(test.forecasts[:, h], outcome, test.quantiles, scale) if test.levels else None
        sides = {level: [side[:, h] for side in test.interval(level)] for level in test.levels}
        rows.append(
            Score(
                instrument=test.samples.series.name,
                seen=test.seen,
                horizon=horizon,
                origins=len(test.samples),
                first_date=first_date,
                last_date=last_date,
                rmse=metrics.rmse(forecast, outcome),
                rmse_last_price=metrics.rmse(last, outcome),
                mae=metrics.mae(forecast, outcome),
                mae_last_price=metrics.mae(last, outcome),
                mase=metrics.scaled(metrics.mae(forecast, outcome), changes),
                rmsse=metrics.root_scaled(metrics.rmse(forecast, outcome), changes),
                skill=metrics.skill(loss, baseline_loss),
                skill_p_value=significance.diebold_mariano(loss, baseline_loss, horizon),
                skill_p_value_nested=significance.clark_west(*moves(forecast, outcome, last), horizon),
                copy_ratio=metrics.copy_ratio(forecast, last, outcome),
                correlation_last=metrics.correlation(forecast, last),
                correlation_next=metrics.correlation(forecast, outcome),
                coverage={str(level): metrics.coverage(low, high, outcome) for level, (low, high) in sides.items()},
                pinball=None if losses is None else float(losses.mean()),
                pinball_random_walk=(
                    None if walk is None else metrics.pinball(walk[:, h], outcome, test.quantiles, scale)
                ),
                crps=None if losses is None else float(metrics.crps(losses, test.quantiles).mean()),
                winkler={
                    str(level): float(np.mean(metrics.winkler(low, high, outcome, level) / scale))
                    for level, (low, high) in sides.items()
                },
                pit=metrics.pit(test.forecasts[:, h], outcome).tolist() if test.levels else [],
            )
        )
    return rows


def has_skill(scores: Sequence[Score]) -> bool:
    """Whether the one-step median beats the last price: better over all, and on some instrument beyond chance.

    Bonferroni's correction for the number of instruments holds however they depend on each other.
    """
    scores = [score for score in scores if score.horizon == 1]
    better = sum(score.skill for score in scores) > 0
    p_values = [score.skill_p_value for score in scores if score.skill_p_value is not None]
    return better and bool(p_values) and min(p_values) * len(scores) < SIGNIFICANCE


def squared(forecast: F64, outcome: F64, last: F64) -> F64:
    """Squared error in log returns, of positive prices; in price, where some are not and have no logarithm.

    A forecast of nothing or less counts as a millionth of the last price.
    """
    said, came = moves(forecast, outcome, last)
    error: F64 = (said - came) ** 2
    return error


def moves(forecast: F64, outcome: F64, last: F64) -> tuple[F64, F64]:
    """(N,) moves from the last price, forecast and come: log returns, or changes where some have no logarithm."""
    if not ((outcome > 0).all() and (last > 0).all()):
        return forecast - last, outcome - last
    return np.log(np.maximum(forecast / last, 1e-6)), np.log(outcome / last)


def dates_of(samples: Samples, start: int, stop: int) -> tuple[date | None, date | None]:
    """Of the first and the last price that was forecast from origins start ≤ i < stop."""
    dates: Any = samples.series.dates
    if dates is None:
        return None, None
    moments = dates[[samples.origins[start] + 1, samples.origins[stop - 1] + samples.futures.shape[1]]]
    first, last = moments.astype("datetime64[D]").tolist()
    return first, last
