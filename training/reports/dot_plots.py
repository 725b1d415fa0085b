"""Plots of estimates as dots, with their confidence intervals as lines."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from app.artifact.evidence import IntervalBaseline, PointBaseline, Proportion
from training.reports.plot_style import BASELINE, REAL, escape_mathtext, line_color, style_axes

MAX_DISTANCE = 0.06  # the axis of ratios extends at most this far from 1, unless most intervals end beyond it
MIN_DISTANCE = 0.004  # the axis extends at least about this far from 1

Baseline = PointBaseline | IntervalBaseline


def plot_ratios(axes: Axes, groups: Mapping[str, Sequence[Baseline]]) -> None:
    """Plot the loss ratio to each baseline, with one row per baseline and one color per group.

    The axis extends to at most `MAX_DISTANCE`, or as far as necessary if most intervals end beyond it. A ratio outside
    the axis is written at its edge.
    """
    names = list(dict.fromkeys(baseline.baseline for group in groups.values() for baseline in group))
    limit = _axis_limit([baseline for group in groups.values() for baseline in group])
    axes.set_xlim(1 - limit, 1 + limit)
    for i, (label, group) in enumerate(groups.items()):
        color = line_color(i)
        axes.errorbar([], [], xerr=[], fmt="o", ms=4, color=color, label=escape_mathtext(label))
        for baseline in group:
            y = names.index(baseline.baseline) + _offset(i, len(groups))
            ratio = _ratio(baseline)
            if abs(ratio - 1) <= limit:
                error = [[max(ratio - baseline.low, 0.0)], [max(baseline.high - ratio, 0.0)]]
                axes.errorbar([ratio], [y], xerr=error, fmt="o", ms=4, lw=1.2, color=color)
            elif ratio > 1:
                edge = (1 + 0.98 * limit, y)
                axes.annotate(f"{ratio:.2f} ▸", edge, ha="right", va="center", size=7, color=color)
            else:
                edge = (1 - 0.98 * limit, y)
                axes.annotate(f"◂ {ratio:.2f}", edge, ha="left", va="center", size=7, color=color)
    axes.axvline(1, color=REAL, lw=1, ls="--")
    axes.set_yticks(range(len(names)), [escape_mathtext(name) for name in names])
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlabel("◂ model better      baseline better ▸", size=8, color=BASELINE)
    style_axes(axes)


def plot_coverage_errors(axes: Axes, groups: Mapping[str, Sequence[tuple[Proportion, int]]]) -> None:
    """Plot coverage minus level, with its binomial confidence interval. Each group has its own color."""
    for i, (label, group) in enumerate(groups.items()):
        x = np.arange(len(group)) + _offset(i, len(groups))
        error = [coverage.percent - level for coverage, level in group]
        below = [coverage.percent - coverage.low for coverage, _ in group]
        above = [coverage.high - coverage.percent for coverage, _ in group]
        name = escape_mathtext(label)
        axes.errorbar(x, error, yerr=[below, above], fmt="o", ms=4, lw=1.2, color=line_color(i), label=name)
    axes.axhline(0, color=REAL, lw=1, ls="--")
    style_axes(axes)


def _axis_limit(baselines: Sequence[Baseline]) -> float:
    """Return how far the axis extends on both sides of 1."""
    distances = [abs(end - 1) for baseline in baselines for end in (baseline.low, baseline.high)]
    near = [distance for distance in distances if distance <= MAX_DISTANCE]
    return 1.15 * max([*(near if len(near) >= len(distances) / 2 else distances), MIN_DISTANCE])


def _ratio(baseline: Baseline) -> float:
    return baseline.rmse_ratio if isinstance(baseline, PointBaseline) else baseline.pinball_ratio


def _offset(i: int, count: int) -> float:
    """Return the distance of the i-th of `count` neighbors from the whole number that they surround."""
    return 0.7 * ((i + 0.5) / count - 0.5)
