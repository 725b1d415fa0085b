"""Pictures of forecasts: each shows the prices and bands it says it shows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import daily_dates, make_backtest, make_series
from training.data.simulator import random_walk
from training.evaluation.backtest import Backtest
from training.reports import forecast_plots


def a_test(rows: int = 300, horizon: int = 1, *, levels: bool = True, name: str = "made") -> Backtest:
    series = make_series(random_walk(1, rows, 1)[0].prices, name, daily_dates("2020-01-01", rows))
    return make_backtest(series, (50, 80, 95) if levels else (), horizon)


def test_each_of_the_first_series_is_drawn_whole_and_close_up() -> None:
    tests = [a_test(name=f"walk-{i}") for i in range(6)]
    figure = forecast_plots.real_vs_predicted(tests)
    assert len(figure.axes) == 2 * forecast_plots.SHOWN
    wide, close = figure.axes[:2]
    assert wide.get_title("left") == "walk-0: 240 steps"
    assert close.get_title("left") == "the last 120"
    real, median = wide.get_lines()
    assert np.asarray(real.get_ydata()).tolist() == tests[0].samples.futures[:, 0].tolist()
    assert np.asarray(median.get_ydata()).tolist() == tests[0].median[:, 0].tolist()
    assert [len(np.asarray(line.get_ydata())) for line in close.get_lines()] == [120, 120, 120]
    assert len(wide.collections) == 1


def test_without_levels_there_is_no_band() -> None:
    figure = forecast_plots.real_vs_predicted([a_test(levels=False)])
    assert [len(axes.collections) for axes in figure.axes] == [0, 0]


def test_the_fan_shows_a_band_for_each_level_and_what_came() -> None:
    test = a_test(horizon=5)
    one, many = forecast_plots.fan(test).axes
    assert [len(axes.collections) for axes in (one, many)] == [3, 3]
    assert len(np.asarray(one.get_lines()[-1].get_ydata())) == forecast_plots.FAN
    came = [line for line in many.get_lines() if len(np.asarray(line.get_ydata())) == 6]
    assert np.asarray(came[-1].get_ydata()).tolist() == [test.last[-1], *test.samples.futures[-1]]
    assert np.asarray(came[0].get_ydata()).tolist() == pytest.approx([test.last[-1]] * 6)  # the median of a random walk


def test_a_single_step_has_no_fan_of_several() -> None:
    assert len(forecast_plots.fan(a_test()).axes) == 1


def test_a_name_is_no_formula() -> None:
    assert forecast_plots.plain("US$_^ per EUR$") == r"US\$_^ per EUR\$"


def test_a_picture_is_saved_with_few_colours_that_are_near_those_drawn(tmp_path: Path) -> None:
    figure = forecast_plots.fan(a_test(horizon=5))
    forecast_plots.save(figure, tmp_path / "few.png")
    figure.savefig(tmp_path / "all.png", dpi=forecast_plots.DPI)
    few, every = (Image.open(tmp_path / name) for name in ("few.png", "all.png"))
    assert few.size == every.size
    colors = few.convert("RGB").getcolors()
    assert colors is not None
    assert len(colors) <= forecast_plots.COLORS
    off = np.abs(np.asarray(few.convert("RGB"), dtype=float) - np.asarray(every.convert("RGB"), dtype=float))
    assert off.mean() < 1
    assert (tmp_path / "few.png").stat().st_size < 0.6 * (tmp_path / "all.png").stat().st_size
