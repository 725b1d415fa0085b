"""Charts that compare several models or recipes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.artifact.arrays import F64
from app.artifact.evidence import Score
from app.evaluation.baselines import EWMA, LAST_PRICE
from training.evaluation.summary import SUMMARY_LEVELS
from training.reports.charts import shortest_and_longest, steps_ahead
from training.reports.dot_plots import Baseline, plot_coverage_errors, plot_ratios
from training.reports.plot_style import (
    BASELINE,
    add_legend,
    escape_mathtext,
    line_color,
    line_style,
    set_title,
    style_axes,
)
from training.reports.score_tables import levels_of


def plot_models(scores: Mapping[str, Sequence[Score]]) -> Figure:
    """Compare models by instrument: the ratios of their losses to those of two baselines, and their coverage.

    Args:
        scores: The scores of each model, by its name.
    """
    all_scores = [score for model_scores in scores.values() for score in model_scores]
    horizons = shortest_and_longest(all_scores)
    levels = levels_of(all_scores)
    level = max([level for level in levels if level in SUMMARY_LEVELS] or levels, default=0)
    height = 1.6 + 0.3 * len(scores) * len({s.instrument for s in all_scores})
    figure = Figure(figsize=(13 if levels else 7, 1 + len(horizons) * height), layout="constrained")
    grid = figure.subplots(len(horizons), 3 if levels else 1, squeeze=False)
    for horizon, (point, *intervals) in zip(horizons, grid, strict=True):
        selected = {name: [s for s in each if s.horizon == horizon] for name, each in scores.items()}
        plot_ratios(point, {name: _ratios_to(LAST_PRICE, each) for name, each in selected.items()})
        set_title(point, f"RMSE / RMSE of the last price, {steps_ahead(horizon)}")
        if intervals:
            pinball, coverage = intervals
            plot_ratios(pinball, {name: _ratios_to(EWMA, each) for name, each in selected.items()})
            set_title(pinball, "pinball loss / that of an EWMA random walk")
            _plot_coverage(coverage, selected, level)
    add_legend(figure, grid[0][0])
    return figure


def plot_recipes(scores: Mapping[str, Mapping[int, Score]]) -> Figure:
    """Compare recipes one step ahead: the ratios of their losses to those of two baselines, with one color per seed.

    Args:
        scores: The scores of each recipe, by its name and seed. Recipes without scores are omitted.
    """
    trained = {name: by_seed for name, by_seed in scores.items() if by_seed}
    seeds = sorted({seed for by_seed in trained.values() for seed in by_seed})
    figure = Figure(figsize=(11, 1.6 + 0.28 * len(trained) * max(1, len(seeds) / 2)), layout="constrained")
    point, pinball = figure.subplots(1, 2)
    for axes, baseline in ((point, LAST_PRICE), (pinball, EWMA)):
        groups = {}
        for seed in seeds:
            named = [
                by_seed[seed].model_copy(update={"instrument": name})
                for name, by_seed in trained.items()
                if seed in by_seed
            ]
            groups[f"seed {seed}"] = _ratios_to(baseline, named)
        plot_ratios(axes, groups)
    set_title(point, "RMSE / RMSE of the last price, one step ahead")
    set_title(pinball, "pinball loss / that of an EWMA random walk")
    if len(seeds) > 1:
        add_legend(figure, point)
    return figure


def plot_gradients(flows: Mapping[str, Sequence[tuple[F64, F64 | None]]]) -> Figure:
    """Plot how gradients change with the distance from the last step, on a logarithmic scale.

    Args:
        flows: For each recipe, a pair measured before training and a pair measured after it. A pair has the (T,)
            gradients of the loss and those of the last state, both divided by the gradient of the last step. The latter
            are None if no recurrent layer reads the window.
    """
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, quantity in enumerate(
        ("of the loss with respect to each input", "of the last state with respect to each state")
    ):
        for column, moment in enumerate(("before training", "after training")):
            axes = grid[row][column]
            for i, (name, by_moment) in enumerate(flows.items()):
                flow = by_moment[column][row]
                if flow is not None:
                    steps, shown = np.arange(1 - len(flow), 1), np.where(flow > 0, flow, np.nan)
                    label = escape_mathtext(name)
                    axes.plot(steps, shown, color=line_color(i), ls=line_style(i), lw=1.3, label=label)
            axes.axhline(1, color=BASELINE, lw=0.8, ls=":")
            axes.set_yscale("log")
            axes.set_ylim(1e-10, 1e6)
            set_title(axes, f"gradient {quantity}, {moment}")
            style_axes(axes)
    for axes in grid[1]:
        axes.set_xlabel("steps relative to the last")
    add_legend(figure, grid[0][0])
    return figure


def _plot_coverage(axes: Axes, scores: Mapping[str, Sequence[Score]], level: int) -> None:
    """Plot coverage minus level by instrument, for the models that have this level."""
    key = str(level)
    selected = {name: [s for s in each if key in s.coverage_interval] for name, each in scores.items()}
    plot_coverage_errors(
        axes, {name: [(s.coverage_interval[key], level) for s in each] for name, each in selected.items()}
    )
    instruments = list(dict.fromkeys(escape_mathtext(s.instrument) for each in selected.values() for s in each))
    axes.set_xticks(range(len(instruments)), instruments)
    axes.set_xlim(-0.5, len(instruments) - 0.5)
    set_title(axes, f"coverage of the {level}% interval − {level}")


def _ratios_to(baseline: str, scores: Sequence[Score]) -> list[Baseline]:
    """Return each score's comparison with one baseline, labeled with the instrument instead of the baseline."""
    ratios: list[Baseline] = []
    for score in scores:
        rows: list[Baseline] = [*score.point_baselines, *score.interval_baselines]
        ratios += [row.model_copy(update={"baseline": score.instrument}) for row in rows if row.baseline == baseline]
    return ratios
