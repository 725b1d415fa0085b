"""A backtest beside its baselines, each on the same origins as the model."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from app.artifact.evidence import IntervalBaseline, PointBaseline
from app.artifact.transform import F64
from app.evaluation import baselines, scores
from app.evaluation.scores import ratio
from training.evaluation import fitted_baselines
from training.evaluation.backtest import Backtest, samples_from, scored_horizons, squared_errors
from training.evaluation.garch import Garch
from training.evaluation.significance import diebold_mariano, ratio_intervals

LEAST = 100  # samples to fit a baseline on


class BaselineForecast(NamedTuple):
    """A baseline's forecasts, from the origin `start` of a backtest on."""

    name: str
    start: int
    forecasts: F64  # (N - start, H) prices, or (N - start, H, Q)


class FittingHalf(NamedTuple):
    """The first half of a series, which baselines are fitted on, and where the other begins."""

    windows: F64  # (M, W)
    futures: F64  # (M, H)
    rows: int
    start: int  # the first origin of the backtest whose future lies in the second half


def fitting_half(test: Backtest) -> FittingHalf | None:
    """The half to fit on; None where it is too short, or prices have no logarithm, or are pooled from many paths."""
    samples = test.samples
    window, horizon = samples.windows.shape[1], samples.futures.shape[1]
    rows = len(samples.series.prices) // 2
    count = rows - window - horizon + 1
    start = int(np.searchsorted(samples.origins, rows - 1))
    pooled = samples.origins[0] < window - 1
    if pooled or start == len(samples) or count < LEAST or not (samples.series.prices > 0).all():
        return None
    every = samples_from(samples.series, 0, window, horizon)
    return FittingHalf(every.windows[:count], every.futures[:count], rows, start)


class BaselineComparison:
    """All baselines of one backtest, fitted once."""

    def __init__(self, test: Backtest) -> None:
        self._test = test
        fitted_on = fitting_half(test)
        self._points = list(_points(test, fitted_on))
        self._intervals = list(_intervals(test, fitted_on)) if test.levels and test.positive else []

    def points(self, horizon: int) -> list[PointBaseline]:
        """The median beside last price, mean of 20, drift, AR(1) and ridge."""
        h, rows = horizon - 1, []
        for start, group in _by_start(self._points):
            outcome, last = self._test.samples.futures[start:, h], self._test.last[start:]
            loss = squared_errors(self._test.median[start:, h], outcome, last)
            theirs = np.stack(
                [squared_errors(rival.forecasts[:, h], outcome, last) for rival in group], axis=1
            )  # (N, K)
            ends = np.sqrt(ratio_intervals(loss, theirs, horizon))
            for rival, other, (low, high) in zip(group, theirs.T, ends.tolist(), strict=True):
                rows.append(
                    PointBaseline(
                        baseline=rival.name,
                        origins=len(loss),
                        rmse_ratio=float(np.sqrt(ratio(loss.mean(), other.mean()))),
                        low=low,
                        high=high,
                        p_value=diebold_mariano(loss, other, horizon),
                    )
                )
        return rows

    def intervals(self, horizon: int) -> list[IntervalBaseline]:
        """The quantiles beside random walks with historical and with EWMA volatility, and GARCH-t."""
        rows = []
        for start, group in _by_start(self._intervals):
            loss, score, winkler = self._interval_losses(start, self._test.forecasts[start:], horizon)
            theirs = [self._interval_losses(start, rival.forecasts, horizon) for rival in group]
            ends = ratio_intervals(loss, np.stack([other for other, _, _ in theirs], axis=1), horizon)
            for rival, (other, its_score, its_winkler), (low, high) in zip(group, theirs, ends.tolist(), strict=True):
                rows.append(
                    IntervalBaseline(
                        baseline=rival.name,
                        origins=len(loss),
                        pinball_ratio=float(ratio(loss.mean(), other.mean())),
                        low=low,
                        high=high,
                        p_value=diebold_mariano(loss, other, horizon),
                        crps_ratio=float(ratio(score, its_score)),
                        winkler_ratio={
                            str(level): float(ratio(ours, its))
                            for level, ours, its in zip(self._test.levels, winkler, its_winkler, strict=True)
                        },
                    )
                )
        return rows

    def _interval_losses(self, start: int, forecasts: F64, horizon: int) -> tuple[F64, float, list[float]]:
        """Of (N, H, Q) forecasts, over the last price: (N,) pinball losses, mean CRPS, mean Winkler by level."""
        test, h = self._test, horizon - 1
        outcome, last, quantiles = test.samples.futures[start:, h], test.last[start:], forecasts[:, h]
        losses = scores.pinball_losses(quantiles, outcome, test.quantiles, last)  # (N, Q)
        middle = len(test.levels)
        winkler = [
            scores.winkler(quantiles[:, middle - i], quantiles[:, middle + i], outcome, level) / last
            for i, level in enumerate(test.levels, 1)
        ]
        score = scores.crps(losses, test.quantiles)
        return losses.mean(axis=1), float(score.mean()), [float(each.mean()) for each in winkler]


def _points(test: Backtest, fitted_on: FittingHalf | None) -> Iterator[BaselineForecast]:
    windows, horizon = test.samples.windows, test.samples.futures.shape[1]
    yield BaselineForecast(baselines.LAST_PRICE, 0, baselines.last_price(windows, horizon))
    yield BaselineForecast("mean of 20", 0, baselines.mean_price(windows, horizon))
    if fitted_on is None:
        return
    before, after, _, start = fitted_on
    for name, forecast in (
        ("drift", fitted_baselines.drift(before, after)),
        ("AR(1)", fitted_baselines.ar1(before, after)),
        ("ridge", fitted_baselines.ridge(before, after, scored_horizons(horizon))),
    ):
        yield BaselineForecast(name, start, forecast(windows[start:], horizon))


def _intervals(test: Backtest, fitted_on: FittingHalf | None) -> Iterator[BaselineForecast]:
    windows, horizon = test.samples.windows, test.samples.futures.shape[1]
    past = baselines.historical_volatility(windows)
    yield BaselineForecast("historical volatility", 0, baselines.random_walk(windows, past, horizon, test.quantiles))
    yield BaselineForecast(baselines.EWMA, 0, baselines.ewma_random_walk(windows, horizon, test.quantiles))
    prices = test.samples.series.prices
    if fitted_on is not None and np.ptp(prices[: fitted_on.rows]):
        start = fitted_on.start
        garch = Garch(prices, fitted_on.rows)
        origins = test.samples.origins[start:]
        yield BaselineForecast(
            fitted_baselines.GARCH, start, garch.forecast(windows[start:], origins, horizon, test.quantiles)
        )


def _by_start(rivals: Sequence[BaselineForecast]) -> Iterator[tuple[int, list[BaselineForecast]]]:
    """Those that are scored on the same origins together, whose bootstrap is then one."""
    for start, group in groupby(rivals, key=lambda rival: rival.start):
        yield start, list(group)
