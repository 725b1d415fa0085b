"""Backtest: forecasts of exactly what would be served, beside what came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from app.artifact.manifest import interval_columns
from app.artifact.transform import F64
from app.inference.forecaster import Forecaster
from training.data.blocks import Samples, cut_samples
from training.data.series import DataError, Series

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


def run_backtest(
    forecaster: Forecaster, samples: Samples, quantiles: Sequence[float], levels: Sequence[int], seen: bool = True
) -> Backtest:
    """Forecasts every window of a block."""
    chunks = [samples.windows[i : i + CHUNK] for i in range(0, len(samples), CHUNK)]
    forecasts = np.concatenate([forecaster.forecast(chunk) for chunk in chunks])
    return Backtest(samples, forecasts, quantiles, levels, seen)


def backtest_unseen(
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
    return run_backtest(forecaster, samples_from(series, 0, window, horizon), quantiles, levels, seen=False)


def samples_from(series: Series, first: int, window: int, horizon: int) -> Samples:
    """Every sample of a series whose future begins in row `first` or later.

    Raises:
        DataError: there is none.
    """
    samples = cut_samples(series, first, len(series.prices), window, horizon)
    if samples is None:
        reason = f"{len(series.prices)} prices are too few: a window of {window} and {horizon} steps ahead"
        raise DataError(series.name, reason + (f" from price {first + 1} on" if first else ""))
    return samples


def scored_horizons(horizon: int) -> list[int]:
    """1, 5, 10, 20 and the last, of those there are."""
    return sorted({h for h in HORIZONS if h < horizon} | {horizon})


def squared_errors(forecast: F64, outcome: F64, last: F64) -> F64:
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
