"""Tests of the dot plots, which several charts are made of."""

from typing import Any

import pytest
from matplotlib.colors import same_color

from tests.training.conftest import make_score
from tests.training.reports.conftest import dots, edge_labels, make_baseline
from training.reports.charts import plot_errors
from training.reports.plot_style import LINE_COLORS


def test_plot_ratios_writes_distant_ratios_at_the_edge() -> None:
    rows = [
        make_baseline("near", 0.99),
        make_baseline("also near", 1.01),
        make_baseline("better", 0.4),
        make_baseline("worse", 3.0),
    ]
    (axes,) = plot_errors([make_score(point_baselines=rows)]).axes
    assert [x for x, _ in dots(axes)] == pytest.approx([0.99, 1.01])
    assert edge_labels(axes) == ["◂ 0.40", "3.00 ▸"]
    assert list(axes.get_xlim()) == pytest.approx([1 - 1.15 * 0.011, 1 + 1.15 * 0.011])


def test_plot_ratios_extends_axis_if_most_are_distant() -> None:
    (axes,) = plot_errors(
        [make_score(point_baselines=[make_baseline("a", 1.5, 0.1), make_baseline("b", 0.6), make_baseline("c", 1.0)])]
    ).axes
    assert len(dots(axes)) == 3
    assert edge_labels(axes) == []


def test_plot_ratios_repeats_colors() -> None:
    many = [
        make_score(instrument=f"{i}", point_baselines=[make_baseline("last price", 1.0)])
        for i in range(len(LINE_COLORS) + 1)
    ]
    (axes,) = plot_errors(many).axes
    colors: list[Any] = [line.get_color() for line in axes.get_lines() if line.get_marker() == "o"]
    assert same_color(colors[0], colors[-1])
    assert not same_color(colors[0], colors[2])
