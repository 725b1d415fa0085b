"""Tests of the charts that compare models or recipes."""

import numpy as np
import pytest

from app.artifact.arrays import F64
from app.artifact.evidence import Score
from tests.training.conftest import make_backtest
from tests.training.reports.conftest import dots
from training.data.simulator import random_walk
from training.evaluation.scoring import score_backtest
from training.reports.comparison_charts import plot_gradients, plot_models, plot_recipes
from training.reports.plot_style import LINE_COLORS


def models_of(scores: list[Score]) -> dict[str, list[Score]]:
    return {"one@1": scores, "two@1": scores}


def test_plot_models_with_levels(scores: list[Score]) -> None:
    axes = plot_models(models_of(scores)).axes
    assert len(axes) == 2 * 3
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["walk-1", "walk-2"]
    assert [each.get_title("left") for each in axes[2:4]] == [
        *("coverage of the 95% interval − 95", "RMSE / RMSE of the last price, 3 steps ahead")
    ]
    expected = [s.coverage_interval["95"].percent - 95 for s in scores if s.horizon == 1]
    assert [y for _, y in dots(axes[2])] == pytest.approx(expected * 2)


def test_plot_models_without_levels_shows_medians_only() -> None:
    score = score_backtest(make_backtest(random_walk(1, 200, 1)[0], []))
    assert len(plot_models(models_of(score)).axes) == 1


def test_plot_recipes_by_seed(scores: list[Score]) -> None:
    first = [s for s in scores if s.horizon == 1]
    figure = plot_recipes({"one": {1: first[0], 3: first[1]}, "two": {3: first[0]}, "none": {}})
    point, interval = figure.axes
    for axes in (point, interval):
        assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
        assert len(dots(axes)) == 3
    expected = [row.rmse_ratio for s in (first[0], first[1], first[0]) for row in s.point_baselines[:1]]
    assert [x for x, _ in dots(point)] == pytest.approx(expected)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seed 1", "seed 3"]


def test_plot_recipes_without_scores_is_empty() -> None:
    assert [dots(axes) for axes in plot_recipes({"none": {}}).axes] == [[], []]


def test_plot_gradients_before_and_after_on_log_scale() -> None:
    before, after = np.array([0.0, 1e-3, 1.0]), np.array([0.1, 0.5, 1.0])
    flows: dict[str, list[tuple[F64, F64 | None]]] = {
        "a": [(before, after), (after, before)],
        "b": [(before, None), (after, None)],
    }
    axes = plot_gradients(flows).axes
    assert [each.get_yscale() for each in axes] == ["log"] * 4
    assert [len(each.get_lines()) for each in axes] == [3, 3, 2, 2]  # and a line at a ratio of 1
    first = np.asarray(axes[0].get_lines()[0].get_xydata(), dtype=float)
    assert first[1:].tolist() == [[-1, 1e-3], [0, 1]]
    assert np.isnan(first[0, 1])  # a gradient of 0, which a log scale cannot show


def test_plot_gradients_changes_line_style_if_colors_repeat() -> None:
    flow = (np.ones(3), np.ones(3))
    axes = plot_gradients({f"{i}": [flow, flow] for i in range(len(LINE_COLORS) + 1)}).axes[0]
    first, other = axes.get_lines()[0], axes.get_lines()[len(LINE_COLORS)]
    assert first.get_color() == other.get_color()
    assert first.get_linestyle() != other.get_linestyle()
