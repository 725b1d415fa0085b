"""Tests of the forecast plots: each shows the right prices and intervals."""

import numpy as np
import pytest

from tests.training.conftest import daily_dates, make_backtest, make_series
from training.data.simulator import random_walk
from training.evaluation.backtest import Backtest
from training.reports import forecast_plots


def make_dated_backtest(rows: int = 300, horizon: int = 1, *, levels: bool = True, name: str = "made") -> Backtest:
    series = make_series(random_walk(1, rows, 1)[0].prices, name, daily_dates("2020-01-01", rows))
    return make_backtest(series, (50, 80, 95) if levels else (), horizon)


def test_plot_real_and_predicted_shows_whole_series_and_close_up() -> None:
    backtests = [make_dated_backtest(name=f"walk-{i}") for i in range(6)]
    figure = forecast_plots.plot_real_and_predicted(backtests)
    assert len(figure.axes) == 2 * forecast_plots.MAX_SERIES
    whole, close_up = figure.axes[:2]
    assert whole.get_title("left") == "walk-0: 240 steps"
    assert close_up.get_title("left") == "the last 120 steps"
    real, median = whole.get_lines()
    assert np.asarray(real.get_ydata()).tolist() == backtests[0].samples.futures[:, 0].tolist()
    assert np.asarray(median.get_ydata()).tolist() == backtests[0].at(1).median.tolist()
    assert [len(np.asarray(line.get_ydata())) for line in close_up.get_lines()] == [120, 120, 120]
    assert len(whole.collections) == 1


def test_plot_real_and_predicted_without_levels_has_no_band() -> None:
    figure = forecast_plots.plot_real_and_predicted([make_dated_backtest(levels=False)])
    assert [len(axes.collections) for axes in figure.axes] == [0, 0]


def test_plot_fan_shows_a_band_per_level_and_real_prices() -> None:
    test = make_dated_backtest(horizon=5)
    one, many = forecast_plots.plot_fan(test).axes
    assert [len(axes.collections) for axes in (one, many)] == [3, 3]
    assert len(np.asarray(one.get_lines()[-1].get_ydata())) == forecast_plots.FAN_STEPS
    real = [line for line in many.get_lines() if len(np.asarray(line.get_ydata())) == 6]
    assert np.asarray(real[-1].get_ydata()).tolist() == [test.last[-1], *test.samples.futures[-1]]
    assert np.asarray(real[0].get_ydata()).tolist() == pytest.approx([test.last[-1]] * 6)  # the median


def test_plot_fan_of_one_step_is_one_chart() -> None:
    assert len(forecast_plots.plot_fan(make_dated_backtest()).axes) == 1
