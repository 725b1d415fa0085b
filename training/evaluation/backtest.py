"""Backtests: forecasts of past prices by the forecaster that would be served, and their outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from app.artifact.arrays import F64
from app.artifact.manifest import interval_columns
from app.evaluation import scores
from app.inference.forecaster import Forecaster
from training.data.series import DataError, Series
from training.data.split import Samples, cut_samples

CHUNK_WINDOWS = 1024  # maximum number of windows in one engine call
HORIZONS = (1, 5, 10, 20)  # scored in addition to the longest horizon
MIN_RATIO = 1e-6  # lower limit of forecast / last price, because a forecast of 0 or less has no logarithm

Rows = slice | np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class HorizonForecasts:
    """Forecasts of N origins at one horizon, and their outcomes."""

    forecasts: F64  # (N, Q) prices
    outcome: F64  # (N,) prices
    last: F64  # (N,) last price of each window
    quantiles: Sequence[float]  # Q probabilities
    levels: Sequence[int]  # in percent, ascending

    @property
    def median(self) -> F64:
        """The (N,) median forecasts."""
        return self.forecasts[:, len(self.levels)]

    def interval(self, level: int) -> tuple[F64, F64]:
        """Return the (N,) lower and the (N,) upper ends of the interval with this level."""
        lower, upper = interval_columns(level, self.levels)
        return self.forecasts[:, lower], self.forecasts[:, upper]

    def select(self, rows: Rows) -> "HorizonForecasts":
        """Return the forecasts of some of the origins."""
        return replace(self, forecasts=self.forecasts[rows], outcome=self.outcome[rows], last=self.last[rows])

    def with_forecasts(self, forecasts: F64) -> "HorizonForecasts":
        """Replace the forecasts by other (N, Q) forecasts of the same outcomes."""
        return replace(self, forecasts=forecasts)

    def squared_errors(self, forecast: F64) -> F64:
        """Return the (N,) squared errors of (N,) point forecasts, in the units of `price_moves`."""
        predicted, actual = price_moves(forecast, self.outcome, self.last)
        error: F64 = (predicted - actual) ** 2
        return error

    def pinball_losses(self) -> F64:
        """Return the (N, Q) pinball losses divided by the last price, so that high and low prices weigh the same.

        They are in price units if a last price is not positive.
        """
        return scores.pinball_losses(self.forecasts, self.outcome, self.quantiles, self._scale)

    def winkler_scores(self, level: int) -> F64:
        """Return the (N,) Winkler scores of the interval with this level, divided by the last price.

        They are in price units if a last price is not positive.
        """
        score: F64 = scores.winkler(*self.interval(level), self.outcome, level) / self._scale
        return score

    @property
    def _scale(self) -> F64 | float:
        """The last prices, or 1 if any of them is not positive."""
        return self.last if (self.last > 0).all() else 1.0


@dataclass(frozen=True, eq=False)
class Backtest:
    """Forecasts for N samples of one series, and their outcomes."""

    samples: Samples
    forecasts: F64  # (N, H, Q) prices
    quantiles: Sequence[float]  # Q probabilities
    levels: Sequence[int]  # in percent, ascending
    is_seen: bool = True  # whether the model was trained on earlier prices of this series

    @property
    def last(self) -> F64:
        """The (N,) last prices of the windows."""
        return self.samples.windows[:, -1]

    @property
    def has_positive_prices(self) -> bool:
        """Whether every price has a logarithm."""
        return bool((self.samples.windows > 0).all() and (self.samples.futures > 0).all())

    def at(self, horizon: int) -> HorizonForecasts:
        """Return the forecasts `horizon` steps ahead."""
        h = horizon - 1
        return HorizonForecasts(
            self.forecasts[:, h], self.samples.futures[:, h], self.last, self.quantiles, self.levels
        )

    def forecast_dates(self, start: int, stop: int) -> tuple[date | None, date | None]:
        """Return the first and the last date that the origins `start` (inclusive) to `stop` (exclusive) forecast.

        Both are None if the series has no dates.
        """
        dates: Any = self.samples.series.dates
        if dates is None:
            return None, None
        origins, horizon = self.samples.origins, self.samples.futures.shape[1]
        first, last = dates[[origins[start] + 1, origins[stop - 1] + horizon]].astype("datetime64[D]").tolist()
        return first, last


def run_backtest(
    forecaster: Forecaster, samples: Samples, quantiles: Sequence[float], levels: Sequence[int], is_seen: bool = True
) -> Backtest:
    """Forecast every sample.

    Args:
        forecaster: The forecaster under test.
        samples: The windows to forecast from, and their outcomes.
        quantiles: The Q probabilities of its forecasts.
        levels: The levels of its intervals, in percent.
        is_seen: Whether the model was trained on earlier prices of this series.
    """
    chunks = [samples.windows[i : i + CHUNK_WINDOWS] for i in range(0, len(samples), CHUNK_WINDOWS)]
    forecasts = np.concatenate([forecaster.forecast(chunk) for chunk in chunks])
    return Backtest(samples, forecasts, quantiles, levels, is_seen)


def samples_from(series: Series, first_row: int, window: int, horizon: int) -> Samples:
    """Return every sample of a series whose future starts at `first_row` or later.

    Raises:
        DataError: There are too few prices for one sample.
    """
    samples = cut_samples(series, first_row, len(series.prices), window, horizon)
    if samples is None:
        reason = f"{len(series.prices)} prices are too few for a window of {window} and a horizon of {horizon}"
        raise DataError(series.name, reason + (f", starting at price {first_row + 1}" if first_row else ""))
    return samples


def scored_horizons(horizon: int) -> list[int]:
    """Return the horizons to score: 1, 5, 10 and 20 if they are shorter than `horizon`, and `horizon` itself."""
    return sorted({h for h in HORIZONS if h < horizon} | {horizon})


def price_moves(forecast: F64, outcome: F64, last: F64) -> tuple[F64, F64]:
    """Return the (N,) predicted and the (N,) actual moves away from the last price.

    Moves are log returns, or price changes if any last price or outcome is not positive. Forecasts are limited to at
    least a millionth of the last price.
    """
    if not ((outcome > 0).all() and (last > 0).all()):
        return forecast - last, outcome - last
    return np.log(np.maximum(forecast / last, MIN_RATIO)), np.log(outcome / last)
