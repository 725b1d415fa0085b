"""Compares a backtest with baselines that forecast from the same origins."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from app.artifact.arrays import F64
from app.artifact.evidence import IntervalBaseline, PointBaseline
from app.evaluation import baselines, scores
from app.evaluation.scores import loss_ratio
from training.evaluation.backtest import Backtest, HorizonForecasts, samples_from, scored_horizons
from training.evaluation.fitted_baselines import GARCH, Garch, fit_ar1, fit_drift, fit_ridge
from training.evaluation.significance import bootstrap_ratio_intervals, diebold_mariano

MIN_SAMPLES = 100  # minimum number of samples to fit baselines to


class BaselineForecast(NamedTuple):
    """The forecasts of a baseline."""

    name: str
    start: int  # index of the first origin of the backtest that it forecasts from
    forecasts: F64  # (N - start, H) prices, or (N - start, H, Q) prices of quantiles


class FittingHalf(NamedTuple):
    """The first half of a series, which baselines are fitted to. They are scored on the second half."""

    windows: F64  # (M, W) prices
    futures: F64  # (M, H) prices
    rows: int  # number of prices in the first half
    first_scored: int  # index of the first origin of the backtest whose future is in the second half


def fitting_half(backtest: Backtest) -> FittingHalf | None:
    """Return the half of the backtest's series that baselines are fitted to.

    Returns:
        None if the half has too few samples, if a price of the series has no logarithm, or if the samples are pooled
        from several simulated paths.
    """
    samples = backtest.samples
    window, horizon = samples.windows.shape[1], samples.futures.shape[1]
    rows = len(samples.series.prices) // 2
    count = rows - window - horizon + 1
    start = int(np.searchsorted(samples.origins, rows - 1))
    is_pooled = samples.origins[0] < window - 1  # pooled samples are numbered from 0
    if is_pooled or start == len(samples) or count < MIN_SAMPLES or not (samples.series.prices > 0).all():
        return None
    whole = samples_from(samples.series, 0, window, horizon)
    return FittingHalf(whole.windows[:count], whole.futures[:count], rows, start)


class BaselineComparison:
    """Compares a backtest with every baseline. Each baseline is fitted only once, for all horizons."""

    def __init__(self, backtest: Backtest) -> None:
        self._backtest = backtest
        half = fitting_half(backtest)
        self._points = list(_point_forecasts(backtest, half))
        has_intervals = backtest.levels and backtest.has_positive_prices
        self._quantiles = list(_quantile_forecasts(backtest, half)) if has_intervals else []

    def point_baselines(self, horizon: int) -> list[PointBaseline]:
        """Compare the median with the last price, the mean of 20 prices, drift, AR(1) and ridge regression."""
        rows = []
        for model, group in self._by_start(self._points, horizon):
            loss = model.squared_errors(model.median)
            baseline_losses = [model.squared_errors(baseline.forecasts[:, horizon - 1]) for baseline in group]
            ends = np.sqrt(bootstrap_ratio_intervals(loss, np.stack(baseline_losses, axis=1), horizon))
            for baseline, baseline_loss, (low, high) in zip(group, baseline_losses, ends.tolist(), strict=True):
                rows.append(
                    PointBaseline(
                        baseline=baseline.name,
                        origins=len(loss),
                        rmse_ratio=float(np.sqrt(loss_ratio(loss.mean(), baseline_loss.mean()))),
                        low=low,
                        high=high,
                        p_value=diebold_mariano(loss, baseline_loss, horizon),
                    )
                )
        return rows

    def interval_baselines(self, horizon: int) -> list[IntervalBaseline]:
        """Compare the quantiles with those of random walks (historical and EWMA volatility) and of GARCH."""
        rows = []
        for model, group in self._by_start(self._quantiles, horizon):
            quantile_baselines = [model.with_forecasts(baseline.forecasts[:, horizon - 1]) for baseline in group]
            loss = model.pinball_losses().mean(axis=1)
            baseline_losses = [forecasts.pinball_losses().mean(axis=1) for forecasts in quantile_baselines]
            ends = bootstrap_ratio_intervals(loss, np.stack(baseline_losses, axis=1), horizon)
            for baseline, forecasts, baseline_loss, (low, high) in zip(
                group, quantile_baselines, baseline_losses, ends.tolist(), strict=True
            ):
                rows.append(
                    IntervalBaseline(
                        baseline=baseline.name,
                        origins=len(loss),
                        pinball_ratio=float(loss_ratio(loss.mean(), baseline_loss.mean())),
                        low=low,
                        high=high,
                        p_value=diebold_mariano(loss, baseline_loss, horizon),
                        crps_ratio=float(loss_ratio(_mean_crps(model), _mean_crps(forecasts))),
                        winkler_ratio={
                            str(level): float(
                                loss_ratio(
                                    float(model.winkler_scores(level).mean()),
                                    float(forecasts.winkler_scores(level).mean()),
                                )
                            )
                            for level in model.levels
                        },
                    )
                )
        return rows

    def _by_start(
        self, forecasts: Sequence[BaselineForecast], horizon: int
    ) -> Iterator[tuple[HorizonForecasts, list[BaselineForecast]]]:
        """Group baselines by their first origin, so that each group shares the model's forecasts and one bootstrap."""
        for start, group in groupby(forecasts, key=lambda baseline: baseline.start):
            yield self._backtest.at(horizon).select(slice(start, None)), list(group)


def _mean_crps(forecasts: HorizonForecasts) -> float:
    return float(scores.crps(forecasts.pinball_losses(), forecasts.quantiles).mean())


def _point_forecasts(backtest: Backtest, half: FittingHalf | None) -> Iterator[BaselineForecast]:
    windows, horizon = backtest.samples.windows, backtest.samples.futures.shape[1]
    yield BaselineForecast(baselines.LAST_PRICE, 0, baselines.last_price(windows, horizon))
    yield BaselineForecast("mean of 20", 0, baselines.mean_price(windows, horizon))
    if half is None:
        return
    for name, forecast in (
        ("drift", fit_drift(half.windows, half.futures)),
        ("AR(1)", fit_ar1(half.windows, half.futures)),
        ("ridge", fit_ridge(half.windows, half.futures, scored_horizons(horizon))),
    ):
        yield BaselineForecast(name, half.first_scored, forecast(windows[half.first_scored :], horizon))


def _quantile_forecasts(backtest: Backtest, half: FittingHalf | None) -> Iterator[BaselineForecast]:
    windows, quantiles = backtest.samples.windows, backtest.quantiles
    horizon = backtest.samples.futures.shape[1]
    volatility = baselines.historical_volatility(windows)
    random_walk = baselines.random_walk(windows, volatility, horizon, quantiles)
    yield BaselineForecast("historical volatility", 0, random_walk)
    yield BaselineForecast(baselines.EWMA, 0, baselines.ewma_random_walk(windows, horizon, quantiles))
    prices = backtest.samples.series.prices
    if half is not None and np.ptp(prices[: half.rows]):
        origins = backtest.samples.origins[half.first_scored :]
        garch = Garch(prices, half.rows)
        yield BaselineForecast(
            GARCH, half.first_scored, garch.forecast(windows[half.first_scored :], origins, horizon, quantiles)
        )
