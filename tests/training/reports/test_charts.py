"""Charts of figures: dots and whiskers where the figures are, and what is too far away written at the edge."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color

from app.artifact.evidence import Curve, PointBaseline, Score
from app.artifact.transform import F64
from tests.training.conftest import make_backtest, make_score, make_series
from training.data.simulator import random_walk
from training.evaluation import scoring
from training.reports import charts


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    found = []
    for seed in (1, 2):
        series = make_series(random_walk(1, 600, seed)[0].prices, f"walk-{seed}")
        found += scoring.score_backtest(make_backtest(series, [50, 80, 95], horizon=3))
    return found


def beside(name: str, ratio: float, reach: float = 0.001) -> PointBaseline:
    return PointBaseline(
        baseline=name, origins=9, rmse_ratio=ratio, low=ratio - reach, high=ratio + reach, p_value=None
    )


def dots(axes: Axes) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in axes.get_lines()
        if line.get_marker() == "o"
        for x, y in np.asarray(line.get_xydata(), dtype=float)
    ]


def written(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_errors_are_drawn_for_the_first_and_the_last_horizon(scores: list[Score]) -> None:
    axes = charts.errors(scores).axes
    assert [each.get_title("left") for each in axes] == [
        "RMSE of the median over the baseline's, one step ahead",
        "pinball loss over the baseline's, one step ahead",
        "RMSE of the median over the baseline's, 3 steps ahead",
        "pinball loss over the baseline's, 3 steps ahead",
    ]
    wanted = [row.pinball_ratio for s in scores if s.horizon == 1 for row in s.interval_baselines]
    assert sorted(x for x, _ in dots(axes[1])) == pytest.approx(sorted(wanted))
    assert [label.get_text() for label in axes[1].get_yticklabels()] == [
        *("historical volatility", "EWMA volatility", "GARCH-t")
    ]
    assert len(dots(axes[0])) + len(written(axes[0])) == 2 * 5


def test_what_is_far_away_is_written_at_its_edge() -> None:
    rows = [beside("near", 0.99), beside("also near", 1.01), beside("better", 0.4), beside("worse", 3.0)]
    (axes,) = charts.errors([make_score(point_baselines=rows)]).axes
    assert [x for x, _ in dots(axes)] == pytest.approx([0.99, 1.01])
    assert written(axes) == ["◂ 0.40", "3.00 ▸"]
    assert list(axes.get_xlim()) == pytest.approx([1 - 1.15 * 0.011, 1 + 1.15 * 0.011])


def test_where_most_is_far_away_the_axis_reaches_there() -> None:
    (axes,) = charts.errors(
        [make_score(point_baselines=[beside("a", 1.5, 0.1), beside("b", 0.6), beside("c", 1.0)])]
    ).axes
    assert len(dots(axes)) == 3
    assert written(axes) == []


def test_one_horizon_and_no_levels_are_one_chart() -> None:
    assert len(charts.errors([make_score(point_baselines=[beside("last price", 1.0, 0.0)])]).axes) == 1


def test_coverage_is_drawn_as_what_is_off_with_its_interval(scores: list[Score]) -> None:
    every, of_80, of_95 = charts.coverage(scores).axes
    first = [s for s in scores if s.horizon == 1]
    wanted = [s.coverage_interval[level].percent - int(level) for s in first for level in ("50", "80", "95")]
    assert [y for _, y in dots(every)] == pytest.approx(wanted)
    assert [label.get_text() for label in every.get_xticklabels()] == ["50%", "80%", "95%"]
    assert [y for _, y in dots(of_80)] == pytest.approx(
        [third.coverage["80"].percent - 80 for s in first for third in s.coverage_by_volatility]
    )
    assert of_95.get_title("left") == "95% interval, by volatility"
    segments = [segment for lines in every.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    share = first[0].coverage_interval["50"]
    assert sorted(segments[0][:, 1]) == pytest.approx([share.low - 50, share.high - 50])


def test_other_levels_than_the_usual_are_drawn_by_their_widest() -> None:
    score = scoring.score_backtest(make_backtest(random_walk(1, 300, 1)[0], [50, 60]))
    assert [axes.get_title("left") for axes in charts.coverage(score).axes] == [
        *("every interval, all steps", "60% interval, by volatility")
    ]


def test_pit_is_one_where_outcomes_fall_as_often_as_they_should() -> None:
    pit = {"pit": [10.0, 30.0, 50.0, 10.0], "coverage": {"50": 80.0}}
    (axes,) = charts.pit([make_score(**pit), make_score(**pit, instrument="other", origins=300)]).axes
    assert [bar.get_height() for bar in axes.patches[:4]] == pytest.approx([0.4, 1.2, 2.0, 0.4])  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in axes.patches[:4]] == pytest.approx([0.25] * 4)  # type: ignore[attr-defined]


def test_pit_weighs_instruments_by_their_forecasts(scores: list[Score]) -> None:
    one = make_score(pit=[0.0, 100.0], coverage={}, origins=100)
    other = make_score(pit=[100.0, 0.0], coverage={}, origins=300)
    (axes,) = charts.pit([one, other]).axes
    assert [bar.get_height() for bar in axes.patches[:2]] == pytest.approx([1.5, 0.5])  # type: ignore[attr-defined]
    assert [each.get_title("left") for each in charts.pit(scores).axes] == ["one step ahead", "3 steps ahead"]


def test_losses_are_drawn_with_the_epoch_whose_weights_were_kept() -> None:
    (axes,) = charts.losses(Curve(loss=[3.0, 2.0, 1.0], validation=[4.0, 3.0, 5.0], best=1)).axes
    training, validation, kept = (np.asarray(line.get_xydata()) for line in axes.get_lines())
    assert training.tolist() == [[1, 3], [2, 2], [3, 1]]
    assert validation.tolist() == [[1, 4], [2, 3], [3, 5]]
    assert kept[0][0] == 2
    (axes,) = charts.losses(Curve(loss=[float("nan"), 3.0], validation=[], best=1)).axes
    assert len(axes.get_lines()) == 2


def models_of(scores: list[Score]) -> dict[str, list[Score]]:
    return {"one@1": scores, "two@1": scores}


def test_models_are_drawn_side_by_side(scores: list[Score]) -> None:
    axes = charts.models(models_of(scores)).axes
    assert len(axes) == 2 * 3
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["walk-1", "walk-2"]
    assert [each.get_title("left") for each in axes[2:4]] == [
        *("coverage of the 95% interval − 95", "RMSE over the last price's, 3 steps ahead")
    ]
    wanted = [s.coverage_interval["95"].percent - 95 for s in scores if s.horizon == 1]
    assert [y for _, y in dots(axes[2])] == pytest.approx(wanted * 2)


def test_models_without_levels_are_drawn_by_their_medians() -> None:
    score = scoring.score_backtest(make_backtest(random_walk(1, 200, 1)[0], []))
    assert len(charts.models(models_of(score)).axes) == 1


def test_there_are_colours_for_any_number() -> None:
    many = [
        make_score(instrument=f"{i}", point_baselines=[beside("last price", 1.0)])
        for i in range(len(charts.COLORS) + 1)
    ]
    (axes,) = charts.errors(many).axes
    colours: list[Any] = [line.get_color() for line in axes.get_lines() if line.get_marker() == "o"]
    assert same_color(colours[0], colours[-1])
    assert not same_color(colours[0], colours[2])


def test_recipes_are_drawn_below_each_other_by_seed(scores: list[Score]) -> None:
    first = [s for s in scores if s.horizon == 1]
    figure = charts.recipes({"one": {1: first[0], 3: first[1]}, "two": {3: first[0]}, "none": {}})
    point, interval = figure.axes
    for axes in (point, interval):
        assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
        assert len(dots(axes)) == 3
    wanted = [row.rmse_ratio for s in (first[0], first[1], first[0]) for row in s.point_baselines[:1]]
    assert [x for x, _ in dots(point)] == pytest.approx(wanted)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seed 1", "seed 3"]


def test_where_no_recipe_came_to_anything_there_is_an_empty_picture() -> None:
    assert [dots(axes) for axes in charts.recipes({"none": {}}).axes] == [[], []]


def test_gradients_are_drawn_on_a_log_scale_before_and_after() -> None:
    before, after = np.array([0.0, 1e-3, 1.0]), np.array([0.1, 0.5, 1.0])
    flows: dict[str, list[tuple[F64, F64 | None]]] = {
        "a": [(before, after), (after, before)],
        "b": [(before, None), (after, None)],
    }
    axes = charts.gradients(flows).axes
    assert [each.get_yscale() for each in axes] == ["log"] * 4
    assert [len(each.get_lines()) for each in axes] == [3, 3, 2, 2]  # and one where nothing is gained or lost
    first = np.asarray(axes[0].get_lines()[0].get_xydata(), dtype=float)
    assert first[1:].tolist() == [[-1, 1e-3], [0, 1]]
    assert np.isnan(first[0, 1])  # none, which a log scale cannot show


def test_many_recipes_differ_by_their_lines_too() -> None:
    flow = (np.ones(3), np.ones(3))
    axes = charts.gradients({f"{i}": [flow, flow] for i in range(len(charts.COLORS) + 1)}).axes[0]
    first, other = axes.get_lines()[0], axes.get_lines()[len(charts.COLORS)]
    assert first.get_color() == other.get_color()
    assert first.get_linestyle() != other.get_linestyle()
