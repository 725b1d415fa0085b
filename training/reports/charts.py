"""Charts of figures: errors against baselines, coverage, calibration, losses."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from app.artifact.evidence import Curve, IntervalBaseline, PointBaseline, Score, Proportion
from app.artifact.manifest import quantile_probabilities
from app.artifact.transform import F64
from app.evaluation.baselines import EWMA, LAST_PRICE
from training.evaluation.summary import SUMMARY_LEVELS
from training.reports.forecast_plots import BASELINE, MODEL, REAL, plain, tidy, titled
from training.reports.tables import levels_of

COLORS = ("#c2410c", "#1d4ed8", "#047857", "#7e22ce", "#ca8a04", "#0e7490", "#be185d", "#4d7c0f")
STYLES = ("-", "--", ":")
FARTHEST = 0.06  # from 1: what is farther is written at the edge
NEAREST = 0.004

Baseline = PointBaseline | IntervalBaseline


def errors(scores: Sequence[Score]) -> Figure:
    """Error over that of each baseline, with its interval, at the first and at the last horizon."""
    horizons = _ends(scores)
    with_levels = any(s.interval_baselines for s in scores)
    figure = Figure(figsize=(11, 1 + len(horizons) * (1.6 + 0.35 * _count(scores))), layout="constrained")
    grid = figure.subplots(len(horizons), 1 + with_levels, squeeze=False)
    for horizon, row in zip(horizons, grid, strict=True):
        at = [s for s in scores if s.horizon == horizon]
        ahead = _ahead(horizon)
        _ratios(row[0], {s.instrument: s.point_baselines for s in at})
        titled(row[0], f"RMSE of the median over the baseline's, {ahead}")
        if with_levels:
            _ratios(row[1], {s.instrument: s.interval_baselines for s in at})
            titled(row[1], f"pinball loss over the baseline's, {ahead}")
    _legend(figure, grid[0][0])
    return figure


def coverage(scores: Sequence[Score]) -> Figure:
    """One step ahead, how far coverage is from what each level promises: over all, and by volatility."""
    first = [s for s in scores if s.horizon == 1 and s.coverage_interval]
    levels = sorted({int(level) for s in first for level in s.coverage_interval})
    shown = [level for level in levels if level in SUMMARY_LEVELS] or levels[-1:]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    grid = figure.subplots(1, 1 + len(shown), squeeze=False, sharey=True)[0]
    _deviations(grid[0], {s.instrument: [(s.coverage_interval[str(lv)], lv) for lv in levels] for s in first})
    grid[0].set_xticks(range(len(levels)), [f"{level}%" for level in levels])
    titled(grid[0], "every interval, all steps")
    grid[0].set_ylabel("coverage − level, percentage points")
    for axes, level in zip(grid[1:], shown, strict=True):
        thirds = {s.instrument: [(t.coverage[str(level)], level) for t in s.coverage_by_volatility] for s in first}
        _deviations(axes, thirds)
        axes.set_xticks(range(3), ["low", "middle", "high"])
        titled(axes, f"{level}% interval, by volatility")
    _legend(figure, grid[0])
    return figure


def pit(scores: Sequence[Score]) -> Figure:
    """How many outcomes fell between each two quantiles, over how many should: 1 everywhere is calibrated."""
    horizons = _ends(scores)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    grid = figure.subplots(1, len(horizons), squeeze=False, sharey=True)[0]
    for axes, horizon in zip(grid, horizons, strict=True):
        at = [s for s in scores if s.horizon == horizon and s.pit]
        edges = np.array([0.0, *quantile_probabilities([int(level) for level in at[0].coverage]), 1.0])
        width = np.diff(edges)
        share = np.average([s.pit for s in at], axis=0, weights=[s.origins for s in at]) / 100
        axes.bar(edges[:-1], share / width, width, align="edge", color=MODEL, alpha=0.55, edgecolor="white")
        for i, s in enumerate(at):
            axes.stairs(np.array(s.pit) / 100 / width, edges, color=_color(i), lw=0.9, label=plain(s.instrument))
        axes.axhline(1, color=REAL, lw=1, ls="--")
        titled(axes, _ahead(horizon))
        axes.set_xlabel("probability, with the model's quantiles as edges")
        axes.set_xlim(0, 1)
        tidy(axes)
    grid[0].set_ylabel("outcomes over those expected")
    _legend(figure, grid[0])
    return figure


def models(scores: Mapping[str, Sequence[Score]]) -> Figure:
    """Models side by side: the median and the quantiles beside the usual baselines, and coverage; by instrument."""
    every = [score for each in scores.values() for score in each]
    horizons = _ends(every)
    levels = levels_of(every)
    level = str(max([lv for lv in levels if lv in SUMMARY_LEVELS] or levels, default=0))
    height = 1.6 + 0.3 * len(scores) * len({s.instrument for s in every})
    figure = Figure(figsize=(13 if levels else 7, 1 + len(horizons) * height), layout="constrained")
    grid = figure.subplots(len(horizons), 3 if levels else 1, squeeze=False)
    for horizon, (point, *rest) in zip(horizons, grid, strict=True):
        at = {name: [s for s in each if s.horizon == horizon] for name, each in scores.items()}
        ahead = _ahead(horizon)
        _ratios(point, {name: _named(each, LAST_PRICE) for name, each in at.items()})
        titled(point, f"RMSE over the last price's, {ahead}")
        if levels:
            _ratios(rest[0], {name: _named(each, EWMA) for name, each in at.items()})
            titled(rest[0], "pinball loss over an EWMA random walk's")
            with_level = {name: [s for s in each if level in s.coverage_interval] for name, each in at.items()}
            _deviations(
                rest[1],
                {name: [(s.coverage_interval[level], int(level)) for s in each] for name, each in with_level.items()},
            )
            instruments = list(dict.fromkeys(plain(s.instrument) for each in with_level.values() for s in each))
            rest[1].set_xticks(range(len(instruments)), instruments)
            rest[1].set_xlim(-0.5, len(instruments) - 0.5)
            titled(rest[1], f"coverage of the {level}% interval − {level}")
    _legend(figure, grid[0][0])
    return figure


def recipes(scores: Mapping[str, Mapping[int, Score]]) -> Figure:
    """Recipes below each other, by seed: the median beside the last price, the quantiles beside a random walk."""
    some = {name: each for name, each in scores.items() if each}
    seeds = sorted({seed for each in some.values() for seed in each})
    figure = Figure(figsize=(11, 1.6 + 0.28 * len(some) * max(1, len(seeds) / 2)), layout="constrained")
    point, interval = figure.subplots(1, 2)
    rows: tuple[dict[str, Sequence[Baseline]], ...] = ({}, {})
    for seed in seeds:
        mine = [each[seed].model_copy(update={"instrument": name}) for name, each in some.items() if seed in each]
        for found, baseline in zip(rows, (LAST_PRICE, EWMA), strict=True):
            found[f"seed {seed}"] = _named(mine, baseline)
    _ratios(point, rows[0])
    titled(point, "RMSE over the last price's, one step ahead")
    _ratios(interval, rows[1])
    titled(interval, "pinball loss over an EWMA random walk's")
    if len(seeds) > 1:
        _legend(figure, point)
    return figure


def _named(scores: Sequence[Score], baseline: str) -> list[Baseline]:
    """The rows of one baseline, under the names of the instruments."""
    found: list[Baseline] = []
    for score in scores:
        rows: list[Baseline] = [*score.point_baselines, *score.interval_baselines]
        found += [row.model_copy(update={"baseline": score.instrument}) for row in rows if row.baseline == baseline]
    return found


def losses(curve: Curve) -> Figure:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = np.arange(1, len(curve.loss) + 1)
    axes.plot(epochs, np.array(curve.loss, dtype=float), color=MODEL, marker=".", label="training")
    if curve.validation:
        axes.plot(epochs, np.array(curve.validation, dtype=float), color=REAL, marker=".", label="validation")
    axes.axvline(curve.best + 1, color=BASELINE, ls=":", label="weights kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def gradients(flows: Mapping[str, Sequence[tuple[F64, F64 | None]]]) -> Figure:
    """By recipe, before and after training: (T,) of the loss and of the last state, over those of the last step."""
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, what in enumerate(("of the loss by the input of each step", "of the last state by each state")):
        for column, when in enumerate(("before training", "after")):
            axes = grid[row][column]
            for i, (name, each) in enumerate(flows.items()):
                flow = each[column][row]
                if flow is not None:
                    steps, shown = np.arange(1 - len(flow), 1), np.where(flow > 0, flow, np.nan)
                    style = STYLES[i // len(COLORS) % len(STYLES)]
                    axes.plot(steps, shown, color=_color(i), ls=style, lw=1.3, label=plain(name))
            axes.axhline(1, color=BASELINE, lw=0.8, ls=":")
            axes.set_yscale("log")
            axes.set_ylim(1e-10, 1e6)
            titled(axes, f"gradient {what}, {when}")
            tidy(axes)
    for axes in grid[1]:
        axes.set_xlabel("steps before the last")
    _legend(figure, grid[0][0])
    return figure


def _ratios(axes: Axes, rows: dict[str, Sequence[Baseline]]) -> None:
    """A dot and a whisker for each, those of one baseline side by side."""
    names = list(dict.fromkeys(row.baseline for each in rows.values() for row in each))
    ends = [abs(end - 1) for each in rows.values() for row in each for end in (row.low, row.high)]
    near = [end for end in ends if end <= FARTHEST]
    edge = 1.15 * max([*(near if len(near) >= len(ends) / 2 else ends), NEAREST])
    axes.set_xlim(1 - edge, 1 + edge)
    for i, (instrument, each) in enumerate(rows.items()):
        axes.errorbar([], [], xerr=[], fmt="o", ms=4, color=_color(i), label=plain(instrument))
        for row in each:
            y = names.index(row.baseline) + _offset(i, len(rows))
            ratio = _ratio(row)
            if abs(ratio - 1) > edge:
                side = 1 if ratio > 1 else -1
                axes.annotate(
                    f"{ratio:.2f} ▸" if side > 0 else f"◂ {ratio:.2f}",
                    (1 + side * 0.98 * edge, y),
                    ha="right" if side > 0 else "left",
                    va="center",
                    size=7,
                    color=_color(i),
                )
            else:
                whisker = [[max(ratio - row.low, 0.0)], [max(row.high - ratio, 0.0)]]
                axes.errorbar([ratio], [y], xerr=whisker, fmt="o", ms=4, lw=1.2, color=_color(i))
    axes.axvline(1, color=REAL, lw=1, ls="--")
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlabel("◂ model better      baseline better ▸", size=8, color=BASELINE)
    tidy(axes)


def _deviations(axes: Axes, rows: dict[str, list[tuple[Proportion, int]]]) -> None:
    for i, (instrument, each) in enumerate(rows.items()):
        x = np.arange(len(each)) + _offset(i, len(rows))
        middle = [share.percent - level for share, level in each]
        below = [share.percent - share.low for share, _ in each]
        above = [share.high - share.percent for share, _ in each]
        axes.errorbar(x, middle, yerr=[below, above], fmt="o", ms=4, lw=1.2, color=_color(i), label=plain(instrument))
    axes.axhline(0, color=REAL, lw=1, ls="--")
    tidy(axes)


def _ratio(row: Baseline) -> float:
    return row.rmse_ratio if isinstance(row, PointBaseline) else row.pinball_ratio


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 8), frameon=False, fontsize=8)


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _offset(i: int, count: int) -> float:
    """Of one of several side by side around a whole number."""
    return 0.7 * ((i + 0.5) / count - 0.5)


def _ends(scores: Sequence[Score]) -> list[int]:
    """The first and the last horizon."""
    horizons = {s.horizon for s in scores}
    return sorted({min(horizons), max(horizons)})


def _ahead(horizon: int) -> str:
    return "one step ahead" if horizon == 1 else f"{horizon} steps ahead"


def _count(scores: Sequence[Score]) -> int:
    return len({s.instrument for s in scores})
