"""Plots of forecasts next to the real prices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.artifact.arrays import F64
from training.evaluation.backtest import Backtest
from training.reports.plot_style import BASELINE, MODEL, REAL, add_legend, escape_mathtext, set_title, style_axes

CLOSE_UP_STEPS = 120
FAN_STEPS = 60  # number of steps shown before the fan
MAX_SERIES = 4


def plot_real_and_predicted(backtests: Sequence[Backtest]) -> Figure:
    """Plot the one-step forecasts of the first series: each whole series, and a close-up of its end."""
    shown = backtests[:MAX_SERIES]
    figure = Figure(figsize=(11, 1 + 2.6 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[3, 2])
    for backtest, (whole, close_up) in zip(shown, grid, strict=True):
        x = _x_values(backtest)
        for axes, part in ((whole, slice(None)), (close_up, slice(-CLOSE_UP_STEPS, None))):
            forecasts = backtest.at(1).select(part)
            if backtest.levels:
                level = backtest.levels[-1]
                lower, upper = forecasts.interval(level)
                axes.fill_between(x[part], lower, upper, color=MODEL, alpha=0.18, lw=0, label=f"{level}% interval")
            axes.plot(x[part], forecasts.outcome, color=REAL, lw=1.1, label="real")
            axes.plot(x[part], forecasts.median, color=MODEL, lw=0.9, label="predicted (median)")
            style_axes(axes)
        last = backtest.last[-CLOSE_UP_STEPS:]
        close_up.plot(x[-CLOSE_UP_STEPS:], last, color=BASELINE, lw=0.9, ls=":", label="last price")
        steps = len(backtest.samples)
        set_title(whole, f"{escape_mathtext(backtest.samples.series.name)}: {steps} steps")
        set_title(close_up, f"the last {min(CLOSE_UP_STEPS, steps)} steps")
    add_legend(figure, close_up)
    return figure


def plot_fan(backtest: Backtest) -> Figure:
    """Plot the most recent one-step intervals, and the intervals for all horizons from the last origin."""
    horizon = backtest.samples.futures.shape[1]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    one_step, *fan = figure.subplots(1, 2 if horizon > 1 else 1, squeeze=False)[0]
    recent = slice(-FAN_STEPS, None)
    x = _x_values(backtest)[recent]
    _fill_intervals(one_step, x, backtest.forecasts[recent, 0], backtest.levels)
    one_step.plot(x, backtest.samples.futures[recent, 0], color=REAL, lw=1.1, marker=".", ms=3, label="real")
    name = escape_mathtext(backtest.samples.series.name)
    set_title(one_step, f"{name}: the last {len(x)} steps, each forecast one step ahead")
    style_axes(one_step)
    for axes in fan:
        window, future = backtest.samples.windows[-1], backtest.samples.futures[-1]
        past_steps = np.arange(-min(FAN_STEPS, len(window)) + 1, 1)
        start = np.full((1, backtest.forecasts.shape[2]), window[-1])
        quantiles = np.concatenate([start, backtest.forecasts[-1]])
        _fill_intervals(axes, np.arange(horizon + 1), quantiles, backtest.levels)
        axes.plot(past_steps, window[-len(past_steps) :], color=REAL, lw=1.1)
        axes.plot(np.arange(horizon + 1), [window[-1], *future], color=REAL, lw=1.1, marker=".", ms=3)
        axes.axvline(0, color=BASELINE, lw=0.8, ls=":")
        set_title(axes, f"the last {horizon} steps, all forecast from one origin")
        axes.set_xlabel("steps from the last price")
        style_axes(axes)
    add_legend(figure, one_step)
    return figure


def _fill_intervals(axes: Axes, x: Any, quantiles: F64, levels: Sequence[int]) -> None:
    """Plot (M, Q) quantiles as one band per level, in paler color the wider it is, and the median as a line."""
    middle = len(levels)
    for i in range(middle, 0, -1):
        lower, upper = quantiles[:, middle - i], quantiles[:, middle + i]
        alpha = 0.10 + 0.10 * (middle - i)
        axes.fill_between(x, lower, upper, color=MODEL, alpha=min(alpha, 0.5), lw=0, label=f"{levels[i - 1]}%")
    axes.plot(x, quantiles[:, middle], color=MODEL, lw=1.0, label="median")


def _x_values(backtest: Backtest) -> Any:
    """Return the (N,) dates of the prices that are forecast one step ahead, or their rows if there are no dates."""
    dates, rows = backtest.samples.series.dates, backtest.samples.origins + 1
    return rows if dates is None else dates[rows]
