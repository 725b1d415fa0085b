"""Tests of the charts of one model."""

import numpy as np
import pytest

from app.artifact.evidence import Curve, Score
from tests.training.conftest import make_backtest, make_score
from tests.training.reports.conftest import dots, edge_labels, make_baseline
from training.data.simulator import random_walk
from training.evaluation.scoring import score_backtest
from training.reports.charts import plot_coverage, plot_errors, plot_pit, plot_training_losses


def test_plot_errors_at_shortest_and_longest_horizon(scores: list[Score]) -> None:
    axes = plot_errors(scores).axes
    assert [each.get_title("left") for each in axes] == [
        "RMSE of the median / RMSE of the baseline, one step ahead",
        "pinball loss / pinball loss of the baseline, one step ahead",
        "RMSE of the median / RMSE of the baseline, 3 steps ahead",
        "pinball loss / pinball loss of the baseline, 3 steps ahead",
    ]
    expected = [row.pinball_ratio for s in scores if s.horizon == 1 for row in s.interval_baselines]
    assert sorted(x for x, _ in dots(axes[1])) == pytest.approx(sorted(expected))
    assert [label.get_text() for label in axes[1].get_yticklabels()] == [
        *("historical volatility", "EWMA volatility", "GARCH-t")
    ]
    assert len(dots(axes[0])) + len(edge_labels(axes[0])) == 2 * 5


def test_plot_errors_one_horizon_without_levels_is_one_chart() -> None:
    assert len(plot_errors([make_score(point_baselines=[make_baseline("last price", 1.0, 0.0)])]).axes) == 1


def test_plot_coverage_shows_error_with_its_interval(scores: list[Score]) -> None:
    every, of_80, of_95 = plot_coverage(scores).axes
    first = [s for s in scores if s.horizon == 1]
    expected = [s.coverage_interval[level].percent - int(level) for s in first for level in ("50", "80", "95")]
    assert [y for _, y in dots(every)] == pytest.approx(expected)
    assert [label.get_text() for label in every.get_xticklabels()] == ["50%", "80%", "95%"]
    assert [y for _, y in dots(of_80)] == pytest.approx(
        [third.coverage["80"].percent - 80 for s in first for third in s.coverage_by_volatility]
    )
    assert of_95.get_title("left") == "95% interval, by volatility"
    segments = [segment for lines in every.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    share = first[0].coverage_interval["50"]
    assert sorted(segments[0][:, 1]) == pytest.approx([share.low - 50, share.high - 50])


def test_plot_coverage_of_unusual_levels_shows_the_widest() -> None:
    score = score_backtest(make_backtest(random_walk(1, 300, 1)[0], [50, 60]))
    assert [axes.get_title("left") for axes in plot_coverage(score).axes] == [
        *("all intervals, all steps", "60% interval, by volatility")
    ]


def test_plot_pit_is_observed_over_expected() -> None:
    pit = {"pit": [10.0, 30.0, 50.0, 10.0], "coverage": {"50": 80.0}}
    (axes,) = plot_pit([make_score(**pit), make_score(**pit, instrument="other", origins=300)]).axes
    assert [bar.get_height() for bar in axes.patches[:4]] == pytest.approx([0.4, 1.2, 2.0, 0.4])  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in axes.patches[:4]] == pytest.approx([0.25] * 4)  # type: ignore[attr-defined]


def test_plot_pit_weighs_instruments_by_forecasts(scores: list[Score]) -> None:
    one = make_score(pit=[0.0, 100.0], coverage={}, origins=100)
    other = make_score(pit=[100.0, 0.0], coverage={}, origins=300)
    (axes,) = plot_pit([one, other]).axes
    assert [bar.get_height() for bar in axes.patches[:2]] == pytest.approx([1.5, 0.5])  # type: ignore[attr-defined]
    assert [each.get_title("left") for each in plot_pit(scores).axes] == ["one step ahead", "3 steps ahead"]


def test_plot_training_losses_marks_the_kept_epoch() -> None:
    (axes,) = plot_training_losses(Curve(loss=[3.0, 2.0, 1.0], validation=[4.0, 3.0, 5.0], best=1)).axes
    training, validation, kept = (np.asarray(line.get_xydata()) for line in axes.get_lines())
    assert training.tolist() == [[1, 3], [2, 2], [3, 1]]
    assert validation.tolist() == [[1, 4], [2, 3], [3, 5]]
    assert kept[0][0] == 2
    (axes,) = plot_training_losses(Curve(loss=[float("nan"), 3.0], validation=[], best=1)).axes
    assert len(axes.get_lines()) == 2
