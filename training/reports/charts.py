"""Charts of one model's evidence: errors, coverage, calibration and training losses."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from app.artifact.evidence import Curve, Score
from app.artifact.manifest import quantile_probabilities
from training.evaluation.summary import SUMMARY_LEVELS
from training.reports.dot_plots import plot_coverage_errors, plot_ratios
from training.reports.plot_style import (
    BASELINE,
    MODEL,
    REAL,
    add_legend,
    escape_mathtext,
    line_color,
    set_title,
    style_axes,
)


def plot_errors(scores: Sequence[Score]) -> Figure:
    """Plot the ratio of the model's loss to each baseline's, at the shortest and the longest horizon."""
    horizons = shortest_and_longest(scores)
    has_intervals = any(s.interval_baselines for s in scores)
    instruments = len({s.instrument for s in scores})
    figure = Figure(figsize=(11, 1 + len(horizons) * (1.6 + 0.35 * instruments)), layout="constrained")
    grid = figure.subplots(len(horizons), 1 + has_intervals, squeeze=False)
    for horizon, row in zip(horizons, grid, strict=True):
        selected = [s for s in scores if s.horizon == horizon]
        plot_ratios(row[0], {s.instrument: s.point_baselines for s in selected})
        set_title(row[0], f"RMSE of the median / RMSE of the baseline, {steps_ahead(horizon)}")
        if has_intervals:
            plot_ratios(row[1], {s.instrument: s.interval_baselines for s in selected})
            set_title(row[1], f"pinball loss / pinball loss of the baseline, {steps_ahead(horizon)}")
    add_legend(figure, grid[0][0])
    return figure


def plot_coverage(scores: Sequence[Score]) -> Figure:
    """Plot one-step coverage minus level, for all intervals and by volatility."""
    one_step = [s for s in scores if s.horizon == 1 and s.coverage_interval]
    levels = sorted({int(level) for s in one_step for level in s.coverage_interval})
    shown = [level for level in levels if level in SUMMARY_LEVELS] or levels[-1:]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    whole, *by_volatility = figure.subplots(1, 1 + len(shown), squeeze=False, sharey=True)[0]
    plot_coverage_errors(
        whole, {s.instrument: [(s.coverage_interval[str(level)], level) for level in levels] for s in one_step}
    )
    whole.set_xticks(range(len(levels)), [f"{level}%" for level in levels])
    set_title(whole, "all intervals, all steps")
    whole.set_ylabel("coverage − level, percentage points")
    for axes, level in zip(by_volatility, shown, strict=True):
        plot_coverage_errors(
            axes, {s.instrument: [(t.coverage[str(level)], level) for t in s.coverage_by_volatility] for s in one_step}
        )
        axes.set_xticks(range(3), ["low", "middle", "high"])
        set_title(axes, f"{level}% interval, by volatility")
    add_legend(figure, whole)
    return figure


def plot_pit(scores: Sequence[Score]) -> Figure:
    """Plot the PIT histogram: observed / expected outcomes between quantiles. Calibration means 1 in every bin."""
    horizons = shortest_and_longest(scores)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    grid = figure.subplots(1, len(horizons), squeeze=False, sharey=True)[0]
    for axes, horizon in zip(grid, horizons, strict=True):
        selected = [s for s in scores if s.horizon == horizon]
        edges = np.array([0.0, *quantile_probabilities([int(level) for level in selected[0].coverage]), 1.0])
        width = np.diff(edges)
        share = np.average([s.pit for s in selected], axis=0, weights=[s.origins for s in selected]) / 100
        axes.bar(edges[:-1], share / width, width, align="edge", color=MODEL, alpha=0.55, edgecolor="white")
        for i, s in enumerate(selected):
            name = escape_mathtext(s.instrument)
            axes.stairs(np.array(s.pit) / 100 / width, edges, color=line_color(i), lw=0.9, label=name)
        axes.axhline(1, color=REAL, lw=1, ls="--")
        set_title(axes, steps_ahead(horizon))
        axes.set_xlabel("probability (bin edges: the model's quantiles)")
        axes.set_xlim(0, 1)
        style_axes(axes)
    grid[0].set_ylabel("observed / expected outcomes")
    add_legend(figure, grid[0])
    return figure


def plot_training_losses(curve: Curve) -> Figure:
    """Plot the training and validation loss by epoch, and the epoch whose weights were kept."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = np.arange(1, len(curve.loss) + 1)
    axes.plot(epochs, np.array(curve.loss, dtype=float), color=MODEL, marker=".", label="training")
    if curve.validation:
        axes.plot(epochs, np.array(curve.validation, dtype=float), color=REAL, marker=".", label="validation")
    axes.axvline(curve.best + 1, color=BASELINE, ls=":", label="kept weights")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    style_axes(axes)
    return figure


def shortest_and_longest(scores: Sequence[Score]) -> list[int]:
    """Return the shortest and the longest horizon, or one horizon if they are the same."""
    horizons = {s.horizon for s in scores}
    return sorted({min(horizons), max(horizons)})


def steps_ahead(horizon: int) -> str:
    """Return the horizon in words."""
    return "one step ahead" if horizon == 1 else f"{horizon} steps ahead"
