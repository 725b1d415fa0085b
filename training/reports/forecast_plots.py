"""Pictures of forecasts: what came and what was said."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from app.artifact.transform import F64
from training.evaluation.backtest import Backtest

CLOSE_UP = 120  # steps drawn in the close-up
FAN = 60  # steps drawn beside the fan
SHOWN = 4  # series drawn
DPI = 100
COLORS = 255
MODEL, REAL, BASELINE = "#c2410c", "#111827", "#6b7280"


def real_vs_predicted(tests: Sequence[Backtest]) -> Figure:
    """One step ahead: each of the first series whole, and close up."""
    shown = tests[:SHOWN]
    figure = Figure(figsize=(11, 1 + 2.6 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[3, 2])
    for test, (wide, close) in zip(shown, grid, strict=True):
        x = _x(test)
        for axes, part in ((wide, slice(None)), (close, slice(-CLOSE_UP, None))):
            if test.levels:
                level = test.levels[-1]
                lower, upper = (side[part, 0] for side in test.interval(level))
                axes.fill_between(x[part], lower, upper, color=MODEL, alpha=0.18, lw=0, label=f"{level}% interval")
            axes.plot(x[part], test.samples.futures[part, 0], color=REAL, lw=1.1, label="real")
            axes.plot(x[part], test.median[part, 0], color=MODEL, lw=0.9, label="predicted (median)")
            tidy(axes)
        close.plot(x[-CLOSE_UP:], test.last[-CLOSE_UP:], color=BASELINE, lw=0.9, ls=":", label="last price repeated")
        titled(wide, f"{plain(test.samples.series.name)}: {len(test.samples)} steps")
        titled(close, f"the last {min(CLOSE_UP, len(test.samples))}")
    handles, labels = close.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def fan(test: Backtest) -> Figure:
    """The last steps with their one-step intervals, and the fan from the last origin with what came."""
    horizon = test.samples.futures.shape[1]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    one, *many = figure.subplots(1, 2 if horizon > 1 else 1, squeeze=False)[0]
    part = slice(-FAN, None)
    x = _x(test)[part]
    _bands(one, x, test.forecasts[part, 0], test.levels)
    one.plot(x, test.samples.futures[part, 0], color=REAL, lw=1.1, marker=".", ms=3, label="real")
    titled(one, f"{plain(test.samples.series.name)}: one step ahead, each of the last {len(x)} steps")
    tidy(one)
    for axes in many:
        window, future = test.samples.windows[-1], test.samples.futures[-1]
        steps = np.arange(-min(FAN, len(window)) + 1, 1)
        start = np.full((1, test.forecasts.shape[2]), window[-1])
        _bands(axes, np.arange(horizon + 1), np.concatenate([start, test.forecasts[-1]]), test.levels)
        axes.plot(steps, window[-len(steps) :], color=REAL, lw=1.1)
        axes.plot(np.arange(horizon + 1), [window[-1], *future], color=REAL, lw=1.1, marker=".", ms=3)
        axes.axvline(0, color=BASELINE, lw=0.8, ls=":")
        titled(axes, f"the next {horizon} steps at once, and what came")
        axes.set_xlabel("steps from the last price")
        tidy(axes)
    handles, labels = one.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """As a PNG of few colours, a third of the size: artifacts carry these pictures."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    few = Image.open(drawn).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def tidy(axes: Axes) -> None:
    """Lines where they help, none where they do not."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e5e7eb", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def titled(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)


def plain(name: str) -> str:
    """A name as it is: Matplotlib reads what stands between dollar signs as a formula."""
    return name.replace("$", r"\$")


def _bands(axes: Axes, x: Any, forecasts: F64, levels: Sequence[int]) -> None:
    """(M, Q) quantiles as bands, the widest first and palest."""
    middle = len(levels)
    for i in range(middle, 0, -1):
        lower, upper = forecasts[:, middle - i], forecasts[:, middle + i]
        alpha = 0.10 + 0.10 * (middle - i)
        axes.fill_between(x, lower, upper, color=MODEL, alpha=min(alpha, 0.5), lw=0, label=f"{levels[i - 1]}%")
    axes.plot(x, forecasts[:, middle], color=MODEL, lw=1.0, label="median")


def _x(test: Backtest) -> Any:
    """(N,) dates of the prices that were forecast one step ahead, or their rows."""
    dates, rows = test.samples.series.dates, test.samples.origins + 1
    return rows if dates is None else dates[rows]
