"""Tests of the scores of a backtest."""

from datetime import date

import numpy as np
import pytest

from app.artifact.arrays import F32, F64
from app.artifact.evidence import Score
from app.artifact.manifest import Calibration
from app.evaluation import baselines, scores
from tests.training.conftest import (
    COEFFICIENT,
    ar1_network,
    daily_dates,
    log_return_forecaster,
    make_backtest,
    make_point_backtest,
    make_samples,
    make_series,
    random_walk_samples,
    zero_outputs,
)
from training.data.simulator import autoregressive, random_walk
from training.data.split import Samples
from training.evaluation.backtest import Backtest, run_backtest
from training.evaluation.scoring import score_backtest
from training.evaluation.summary import summarize
from training.reports.score_tables import overview_table

WINDOW = 60


def noise_network(inputs: F32) -> F64:
    """Forecast noise with half the standard deviation of the returns."""
    return np.random.default_rng(9).normal(0, 0.5, (len(inputs), 1))


def score_without_baselines(test: Backtest) -> list[Score]:
    return score_backtest(test, with_baselines=False)


def last_and_outcome(samples: Samples) -> tuple[F64, F64]:
    """Return the (N,) last prices and the (N,) outcomes."""
    return samples.windows[:, -1], samples.futures[:, 0]


def test_score_last_price_repeated_has_no_skill_and_no_p_value() -> None:
    samples = random_walk_samples()
    (row,) = score_without_baselines(run_backtest(log_return_forecaster(zero_outputs), samples, [0.5], []))
    assert (row.skill, row.skill_p_value, row.copy_ratio) == (0, None, 0)
    assert (row.rmse, row.mae) == (row.rmse_last_price, row.mae_last_price)
    assert row.correlation_last == pytest.approx(1)
    assert (row.coverage, row.pinball, row.pinball_random_walk) == ({}, None, None)
    found = summarize([row], is_centered_on_last_price=False)
    assert found.point_skill == "none"


def test_score_errors_in_price() -> None:
    samples = random_walk_samples()
    last, outcome = last_and_outcome(samples)
    forecast = last * 1.01
    (row,) = score_without_baselines(make_point_backtest(samples, forecast))
    assert (row.instrument, row.horizon, row.origins) == ("random-walk-0001", 1, 340)
    assert row.rmse == pytest.approx(scores.rmse(forecast, outcome))
    assert row.rmse_last_price == pytest.approx(scores.rmse(last, outcome))
    assert row.mae == pytest.approx(scores.mae(forecast, outcome))
    assert row.mae_last_price == pytest.approx(scores.mae(last, outcome))
    assert row.copy_ratio == pytest.approx(np.mean(0.01 * last) / np.mean(np.abs(outcome - last)))
    assert row.correlation_last == pytest.approx(1)
    assert row.correlation_next == pytest.approx(float(np.corrcoef(last, outcome)[0, 1]))


def test_score_skill_uses_squared_log_returns() -> None:
    samples = random_walk_samples()
    last, outcome = last_and_outcome(samples)
    (row,) = score_without_baselines(make_point_backtest(samples, last * 1.01))
    loss = (np.log(outcome / last) - np.log(1.01)) ** 2
    assert row.skill == pytest.approx(1 - np.sum(loss) / np.sum(np.log(outcome / last) ** 2))


def test_score_planted_signal_has_skill() -> None:
    """The predictable share of the variance is the square of the coefficient."""
    samples = make_samples(autoregressive(1, 2000, 1, COEFFICIENT)[0], WINDOW, 1)
    (row,) = score_without_baselines(run_backtest(log_return_forecaster(ar1_network), samples, [0.5], []))
    assert row.skill == pytest.approx(COEFFICIENT**2, abs=0.05)
    assert row.skill_p_value is not None
    assert row.skill_p_value < 1e-6
    found = summarize([row], is_centered_on_last_price=False)
    assert found.point_skill == "some"
    assert found.summary.startswith(f"The median beats repeating the last price: skill {row.skill:.1%}, RMSE ratio 0.9")


def test_score_noise_on_random_walk_has_no_skill() -> None:
    (row,) = score_without_baselines(
        run_backtest(log_return_forecaster(noise_network), random_walk_samples(2000), [0.5], [])
    )
    assert row.skill < -0.1
    assert row.skill_p_value is not None
    assert row.skill_p_value > 0.99
    assert summarize([row], is_centered_on_last_price=False).point_skill == "none"


def test_score_wrong_coefficient_has_no_skill() -> None:
    rows = [
        row
        for series in random_walk(4, 1500, seed=2)
        for row in score_without_baselines(
            run_backtest(log_return_forecaster(ar1_network), make_samples(series, WINDOW, 1), [0.5], [])
        )
    ]
    assert all(row.skill < 0 for row in rows)
    assert summarize(rows, is_centered_on_last_price=False).point_skill == "none"


def test_score_each_horizon_has_its_own_baseline() -> None:
    samples = make_samples(random_walk(1, 500, 1)[0], WINDOW, 3)
    forecaster = log_return_forecaster(
        lambda inputs: np.zeros((len(inputs), 3)), calibration=Calibration(center="network", offsets=[[], [], []])
    )
    rows = score_without_baselines(run_backtest(forecaster, samples, [0.5], []))
    assert [row.horizon for row in rows] == [1, 3]
    for row in rows:
        h = row.horizon - 1
        assert row.rmse_last_price == pytest.approx(scores.rmse(samples.windows[:, -1], samples.futures[:, h]))
        assert row.skill == 0


def test_score_gaussian_intervals_equal_random_walk() -> None:
    quantiles, levels = [0.1, 0.25, 0.5, 0.75, 0.9], [50, 80]
    samples = random_walk_samples(3000)
    forecaster = log_return_forecaster(
        lambda inputs: np.tile([-1.2816, -0.6745, 0.0, 0.6745, 1.2816], (len(inputs), 1)), quantiles
    )
    (row,) = score_without_baselines(run_backtest(forecaster, samples, quantiles, levels))
    assert row.coverage == {"50": pytest.approx(50, abs=4), "80": pytest.approx(80, abs=4)}
    assert row.pinball is not None
    assert row.pinball_random_walk is not None
    assert row.pinball / row.pinball_random_walk == pytest.approx(1, abs=0.01)
    assert 0.002 < row.pinball < 0.004  # relative to the price; returns have a standard deviation of 1%


def test_score_scaled_prices_keep_relative_figures() -> None:
    quantiles, levels = [0.1, 0.5, 0.9], [80]
    series = random_walk(1, 300, 3)[0]
    rows = []
    for factor in (1.0, 1e6, 1e-6):
        samples = make_samples(make_series(factor * series.prices), WINDOW, 1)
        last = samples.windows[:, -1:, None]  # (N, 1, 1)
        forecasts = last * np.array([0.99, 1.001, 1.01])
        rows.append(score_without_baselines(Backtest(samples, forecasts, quantiles, levels))[0])
    for row in rows[1:]:
        for figure in ("skill", "skill_p_value", "copy_ratio", "correlation_next", "pinball", "pinball_random_walk"):
            assert getattr(row, figure) == pytest.approx(getattr(rows[0], figure), rel=1e-6)
        assert row.coverage == rows[0].coverage


def test_score_dates_of_first_and_last_price_forecast() -> None:
    series = make_series(random_walk(1, 100, 1)[0].prices, dates=daily_dates("2020-01-01", 100))
    samples = make_samples(series, WINDOW, 2)
    rows = score_without_baselines(
        Backtest(samples, np.repeat(samples.windows[:, -1:], 2, axis=1)[:, :, None], [0.5], [])
    )
    assert {(row.first_date, row.last_date) for row in rows} == {(date(2020, 3, 1), date(2020, 4, 9))}


def test_score_without_dates_has_no_dates() -> None:
    samples = random_walk_samples()
    (row,) = score_without_baselines(make_point_backtest(samples, samples.windows[:, -1]))
    assert (row.first_date, row.last_date) == (None, None)


@pytest.mark.parametrize("invalid", [0.0, -5.0, -1e9])
def test_score_nonpositive_forecast_has_very_low_skill(invalid: float) -> None:
    samples = random_walk_samples()
    forecast = samples.windows[:, -1].copy()
    forecast[7] = invalid
    (row,) = score_without_baselines(make_point_backtest(samples, forecast))
    assert np.isfinite(row.skill)
    assert row.skill < -10


def test_score_negative_prices_have_no_random_walk() -> None:
    """Price spreads may be negative; the tutorial's transform accepts them."""
    prices = np.random.default_rng(1).normal(0, 1, 200)
    samples = make_samples(make_series(prices), WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    (row,) = score_without_baselines(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert row.pinball_random_walk is None
    assert row.skill == 0
    assert "pinball" in overview_table([row]).to_text()


@pytest.mark.parametrize("level", [0.0, -200.0], ids=["some negative", "all negative"])
def test_score_prices_without_logarithm_uses_price_errors(level: float) -> None:
    prices = level + np.random.default_rng(1).normal(0, 1, 200)
    samples = make_samples(make_series(prices), WINDOW, 1)
    last, outcome = last_and_outcome(samples)
    (row,) = score_without_baselines(make_point_backtest(samples, last))
    assert (row.skill, row.copy_ratio) == (0, 0)
    (row,) = score_without_baselines(make_point_backtest(samples, samples.windows.mean(axis=1)))
    assert row.skill == pytest.approx(
        1 - scores.rmse(samples.windows.mean(axis=1), outcome) ** 2 / row.rmse_last_price**2
    )
    assert row.skill > 0.3


def test_score_zero_price() -> None:
    prices = np.random.default_rng(1).normal(0, 1, 200)
    prices[120] = 0.0
    samples = make_samples(make_series(prices), WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    (row,) = score_without_baselines(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert row.skill == 0


def test_score_constant_prices() -> None:
    """Such as a pegged currency: repeating the last price is perfect."""
    samples = make_samples(make_series(np.full(200, 7.75)), WINDOW, 1)
    (same,) = score_without_baselines(make_point_backtest(samples, samples.windows[:, -1]))
    assert (same.skill, same.skill_p_value, same.copy_ratio) == (0, None, 0)
    (other,) = score_without_baselines(make_point_backtest(samples, samples.windows[:, -1] + 0.01))
    assert other.skill < 0
    for row in (same, other):
        assert "made" in overview_table([row]).to_text()
        assert summarize([row], is_centered_on_last_price=False).point_skill == "none"
        assert summarize([row], is_centered_on_last_price=True).point_skill == "none"


def test_score_mase_and_rmsse_use_earlier_changes() -> None:
    samples = random_walk_samples()
    last, outcome = last_and_outcome(samples)
    (row,) = score_without_baselines(make_point_backtest(samples, last))
    before = np.diff(samples.series.prices[:WINDOW])
    assert row.mase == pytest.approx(np.mean(np.abs(outcome - last)) / np.mean(np.abs(before)))
    assert row.rmsse == pytest.approx(np.sqrt(np.mean((outcome - last) ** 2) / np.mean(before**2)))


def test_score_crps_winkler_and_pit() -> None:
    test = make_backtest(random_walk(1, 2000, 1)[0], [50, 80, 95])
    (row,) = score_without_baselines(test)
    outcome, last = test.samples.futures[:, 0], test.last
    losses = scores.pinball_losses(test.forecasts[:, 0], outcome, test.quantiles, last)
    assert row.crps == pytest.approx(float(scores.crps(losses, test.quantiles).mean()))
    lower, upper = test.at(1).interval(80)
    assert row.winkler["80"] == pytest.approx(float(np.mean(scores.winkler(lower, upper, outcome, 80) / last)))
    assert row.winkler.keys() == {"50", "80", "95"}
    assert row.pit == pytest.approx([2.5, 7.5, 15, 25, 25, 15, 7.5, 2.5], abs=2.5)
    assert sum(row.pit) == pytest.approx(100)


def test_score_nested_p_value_corrects_for_noise() -> None:
    """Forecasts with as much noise as signal do not reduce the loss, but contain information."""

    def noisy_ar1_network(inputs: F32) -> F64:
        noise = np.random.default_rng(3).normal(0, COEFFICIENT, (len(inputs), 1))
        return ar1_network(inputs) + noise

    samples = make_samples(autoregressive(1, 1500, 1, COEFFICIENT)[0], WINDOW, 1)
    (row,) = score_without_baselines(run_backtest(log_return_forecaster(noisy_ar1_network), samples, [0.5], []))
    assert row.skill_p_value is not None
    assert row.skill_p_value > 0.05
    assert row.skill_p_value_nested is not None
    assert row.skill_p_value_nested < 1e-6


def test_folds_are_five_consecutive_parts() -> None:
    rows = 60 + 103
    series = make_series(random_walk(1, rows, 2)[0].prices, dates=daily_dates("2020-01-01", rows))
    test = make_backtest(series)
    (score,) = score_backtest(test)
    assert [fold.origins for fold in score.folds] == [21, 20, 21, 20, 21]
    assert (score.folds[0].first_date, score.folds[-1].last_date) == (score.first_date, score.last_date)
    outcome, last = test.samples.futures[21:41, 0], test.last[21:41]
    fold = score.folds[1]
    lower, upper = test.at(1).select(slice(21, 41)).interval(80)
    assert fold.coverage["80"] == pytest.approx(scores.coverage(lower, upper, outcome))
    walk = baselines.ewma_random_walk(test.samples.windows[21:41], 1, test.quantiles)[:, 0]
    ours = scores.pinball(test.forecasts[21:41, 0], outcome, test.quantiles, last)
    assert fold.pinball_ratio == pytest.approx(ours / scores.pinball(walk, outcome, test.quantiles, last))
    assert [fold.skill, fold.rmse_ratio] == pytest.approx([0, 1], abs=1e-9)
    assert str(fold.first_date) == str(np.datetime64("2020-01-01") + 60 + 21)


def test_fold_skill_uses_its_own_forecasts() -> None:
    series = autoregressive(1, 60 + 500, 1, 0.6)[0]
    samples = make_samples(series, 60, 1)
    last, before = samples.windows[:, -1], samples.windows[:, -2]
    forecast = last * (last / before) ** 0.6
    forecast[:100] = last[:100] * 1.5  # the first fold is bad
    (score,) = score_backtest(Backtest(samples, forecast[:, None, None], [0.5], []))
    first, *rest = score.folds
    assert first.skill < -100
    assert first.rmse_ratio > 10
    assert all(0.1 < fold.skill < 0.6 for fold in rest)
    assert all(fold.rmse_ratio < 0.95 and fold.pinball_ratio is None for fold in rest)


def test_folds_fewer_than_five_forecasts_is_empty() -> None:
    for rows, folds in ((64, 0), (65, 5)):
        (score,) = score_backtest(make_backtest(random_walk(1, rows, 1)[0]))
        assert len(score.folds) == folds


def test_score_single_forecast() -> None:
    (score,) = score_backtest(make_backtest(random_walk(1, 61, 1)[0]))
    assert score.origins == 1
    assert score.coverage_by_volatility == []
    assert summarize([score], is_centered_on_last_price=True).point_skill == "none"


def test_direction_last_price_repeated_is_none() -> None:
    (score,) = score_backtest(make_backtest(random_walk(1, 200, 1)[0]))
    assert score.direction is None


def test_direction_counts_steps_with_forecast_and_move() -> None:
    prices = np.array([10.0] * 60 + [11, 10, 10, 12, 11, 13])
    samples = make_samples(make_series(prices), 60, 1)
    directions = np.array([+1, +1, +1, 0, -1, +1])  # outcomes: up, down, none, up, down, up
    forecast = samples.windows[:, -1] + 0.5 * directions
    (score,) = score_backtest(Backtest(samples, forecast[:, None, None], [0.5], []))
    assert score.direction is not None
    assert score.direction.steps == 4  # up ✓, down ✗, down ✓, up ✓
    assert score.direction.hit_rate.percent == 75
    assert 0 < score.direction.hit_rate.low < 75 < score.direction.hit_rate.high < 100
    assert score.direction.majority == 50


def test_coverage_by_volatility_uses_equal_thirds() -> None:
    test = make_backtest(random_walk(1, 60 + 900, 1)[0], [50, 80])
    (score,) = score_backtest(test)
    low, middle, high = score.coverage_by_volatility
    assert [third.volatility for third in (low, middle, high)] == ["low", "middle", "high"]
    assert [third.origins for third in (low, middle, high)] == [300, 300, 300]
    volatility = baselines.ewma_volatility(test.samples.windows)
    assert low.greatest < middle.greatest < high.greatest == volatility.max()
    outcome = test.samples.futures[:, 0]
    lower, upper = test.at(1).interval(80)
    inside = (lower <= outcome) & (outcome <= upper)
    assert low.coverage["80"].percent == pytest.approx(100 * inside[volatility <= low.greatest].mean())
    assert score.coverage_interval["80"].percent == pytest.approx(100 * inside.mean())
    assert score.coverage_interval["80"].low < 80 < score.coverage_interval["80"].high
    shares = [third.coverage["50"].percent for third in (low, middle, high)]
    assert np.mean(shares) == pytest.approx(score.coverage["50"])


def test_score_compares_every_baseline_at_every_horizon() -> None:
    scores = score_backtest(make_backtest(random_walk(1, 800, 1)[0], horizon=6))
    assert [score.horizon for score in scores] == [1, 5, 6]
    for score in scores:
        assert [row.baseline for row in score.point_baselines] == [
            "last price",
            "mean of 20",
            "drift",
            "AR(1)",
            "ridge",
        ]
        assert [row.baseline for row in score.interval_baselines] == [
            *("historical volatility", "EWMA volatility", "GARCH-t")
        ]


@pytest.mark.parametrize("shift", [200.0, 0.0], ids=["some not positive", "all negative"])
def test_score_prices_without_logarithm_omits_log_figures(shift: float) -> None:
    prices = np.random.default_rng(1).normal(0, 100, 400) + shift - 500 * (shift == 0)
    samples = make_samples(make_series(prices), 60, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-130.0, 0.0, 130.0])
    (score,) = score_backtest(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert [row.baseline for row in score.point_baselines] == ["last price", "mean of 20"]
    assert (score.interval_baselines, score.coverage_by_volatility) == ([], [])
    assert [fold.pinball_ratio for fold in score.folds] == [None] * 5
    assert score.coverage_interval["80"].percent == pytest.approx(score.coverage["80"])
    assert summarize([score], is_centered_on_last_price=False).point_skill == "none"
