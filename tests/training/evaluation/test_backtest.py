"""Backtests: what is scored, what the scores amount to, and in which words that is said."""

from datetime import date

import numpy as np
import pytest

from app.artifact.manifest import Calibration
from app.artifact.transform import F32, F64
from app.evaluation import scores
from tests.training.conftest import (
    daily_dates,
    log_return_forecaster,
    make_backtest,
    make_samples,
    make_score,
    make_series,
    zero_outputs,
)
from training.data.blocks import Samples
from training.data.series import DataError
from training.data.simulator import autoregressive, random_walk
from training.evaluation import backtest, summary
from training.evaluation.backtest import Backtest
from training.evaluation.scoring import score_forecasts
from training.evaluation.summary import has_skill
from training.reports.tables import overview, text

WINDOW = 60
COEFFICIENT = 0.4


def a_backtest(samples: Samples, forecast: F64) -> Backtest:
    """Of (N,) point forecasts one step ahead."""
    return Backtest(samples, forecast[:, None, None], [0.5], [])


def knows_the_coefficient(inputs: F32) -> F64:
    """What an AR(1) expects: so much of the last return."""
    return COEFFICIENT * inputs[:, -1].astype(np.float64)


def guesses(inputs: F32) -> F64:
    """Noise half as large as the returns."""
    return np.random.default_rng(9).normal(0, 0.5, (len(inputs), 1))


def walk(rows: int = 400, seed: int = 1) -> Samples:
    return make_samples(random_walk(1, rows, seed)[0], WINDOW, 1)


def one_step(samples: Samples) -> tuple[F64, F64]:
    """(N,) last prices and outcomes."""
    return samples.windows[:, -1], samples.futures[:, 0]


# Which column is which


def test_median_and_intervals_are_the_right_columns() -> None:
    samples = make_samples(make_series(np.arange(1.0, 15.0)), 10, 2)  # 3 samples
    forecasts = np.arange(3 * 2 * 5, dtype=np.float64).reshape(3, 2, 5)
    test = Backtest(samples, forecasts, [0.05, 0.25, 0.5, 0.75, 0.95], [50, 90])
    assert test.median.tolist() == forecasts[:, :, 2].tolist()
    for level, lower, upper in ((50, 1, 3), (90, 0, 4)):
        low, high = test.interval(level)
        assert low.tolist() == forecasts[:, :, lower].tolist()
        assert high.tolist() == forecasts[:, :, upper].tolist()
    with pytest.raises(ValueError, match="80"):
        test.interval(80)


def test_every_window_is_forecast_in_order_whatever_the_size_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = walk(300)
    forecaster = log_return_forecaster(knows_the_coefficient)
    whole = backtest.run_backtest(forecaster, samples, [0.5], [])
    monkeypatch.setattr(backtest, "CHUNK", 7)
    in_pieces = backtest.run_backtest(forecaster, samples, [0.5], [])
    assert whole.forecasts.shape == (240, 1, 1)
    assert in_pieces.forecasts == pytest.approx(whole.forecasts, rel=1e-6)
    assert in_pieces.samples is samples


# Scores


def test_repeating_the_last_price_has_no_skill_no_p_value_and_copies() -> None:
    samples = walk()
    (row,) = score_forecasts(backtest.run_backtest(log_return_forecaster(zero_outputs), samples, [0.5], []))
    assert (row.skill, row.skill_p_value, row.copy_ratio) == (0, None, 0)
    assert (row.rmse, row.mae) == (row.rmse_last_price, row.mae_last_price)
    assert row.correlation_last == pytest.approx(1)
    assert (row.coverage, row.pinball, row.pinball_random_walk) == ({}, None, None)
    found = summary.summarize([row], held=False)
    assert found.point_skill == "none"


def test_figures_in_prices_are_those_of_the_series() -> None:
    samples = walk()
    last, outcome = one_step(samples)
    forecast = last * 1.01
    (row,) = score_forecasts(a_backtest(samples, forecast))
    assert (row.instrument, row.horizon, row.origins) == ("random-walk-0001", 1, 340)
    assert row.rmse == pytest.approx(scores.rmse(forecast, outcome))
    assert row.rmse_last_price == pytest.approx(scores.rmse(last, outcome))
    assert row.mae == pytest.approx(scores.mae(forecast, outcome))
    assert row.mae_last_price == pytest.approx(scores.mae(last, outcome))
    assert row.copy_ratio == pytest.approx(np.mean(0.01 * last) / np.mean(np.abs(outcome - last)))
    assert row.correlation_last == pytest.approx(1)
    assert row.correlation_next == pytest.approx(float(np.corrcoef(last, outcome)[0, 1]))


def test_skill_is_that_of_squared_log_returns() -> None:
    samples = walk()
    last, outcome = one_step(samples)
    (row,) = score_forecasts(a_backtest(samples, last * 1.01))
    loss = (np.log(outcome / last) - np.log(1.01)) ** 2
    assert row.skill == pytest.approx(1 - np.sum(loss) / np.sum(np.log(outcome / last) ** 2))


def test_a_planted_signal_is_found() -> None:
    """Its share of the variance is the coefficient squared."""
    samples = make_samples(autoregressive(1, 2000, 1, COEFFICIENT)[0], WINDOW, 1)
    (row,) = score_forecasts(backtest.run_backtest(log_return_forecaster(knows_the_coefficient), samples, [0.5], []))
    assert row.skill == pytest.approx(COEFFICIENT**2, abs=0.05)
    assert row.skill_p_value is not None
    assert row.skill_p_value < 1e-6
    found = summary.summarize([row], held=False)
    assert found.point_skill == "some"
    assert found.summary.startswith(f"The median beats repeating the last price: skill {row.skill:.1%}, RMSE ratio 0.9")


def test_noise_on_a_random_walk_has_no_skill() -> None:
    (row,) = score_forecasts(backtest.run_backtest(log_return_forecaster(guesses), walk(2000), [0.5], []))
    assert row.skill < -0.1
    assert row.skill_p_value is not None
    assert row.skill_p_value > 0.99
    assert summary.summarize([row], held=False).point_skill == "none"


def test_knowing_a_coefficient_that_is_not_there_has_no_skill() -> None:
    rows = [
        row
        for series in random_walk(4, 1500, seed=2)
        for row in score_forecasts(
            backtest.run_backtest(
                log_return_forecaster(knows_the_coefficient), make_samples(series, WINDOW, 1), [0.5], []
            )
        )
    ]
    assert all(row.skill < 0 for row in rows)
    assert summary.summarize(rows, held=False).point_skill == "none"


def test_every_horizon_has_a_row_with_its_own_baseline() -> None:
    samples = make_samples(random_walk(1, 500, 1)[0], WINDOW, 3)
    forecaster = log_return_forecaster(
        lambda inputs: np.zeros((len(inputs), 3)), calibration=Calibration(center="network", offsets=[[], [], []])
    )
    rows = score_forecasts(backtest.run_backtest(forecaster, samples, [0.5], []))
    assert [row.horizon for row in rows] == [1, 3]
    for row in rows:
        h = row.horizon - 1
        assert row.rmse_last_price == pytest.approx(scores.rmse(samples.windows[:, -1], samples.futures[:, h]))
        assert row.skill == 0


def test_intervals_are_scored_beside_those_of_a_random_walk() -> None:
    quantiles, levels = [0.1, 0.25, 0.5, 0.75, 0.9], [50, 80]
    samples = walk(3000)
    forecaster = log_return_forecaster(
        lambda inputs: np.tile([-1.2816, -0.6745, 0.0, 0.6745, 1.2816], (len(inputs), 1)), quantiles
    )
    (row,) = score_forecasts(backtest.run_backtest(forecaster, samples, quantiles, levels))
    assert row.coverage == {"50": pytest.approx(50, abs=4), "80": pytest.approx(80, abs=4)}
    assert row.pinball is not None
    assert row.pinball_random_walk is not None
    assert row.pinball / row.pinball_random_walk == pytest.approx(1, abs=0.01)
    assert 0.002 < row.pinball < 0.004  # relative to the price: of returns of 1%


def test_a_scale_of_prices_changes_no_relative_figure() -> None:
    quantiles, levels = [0.1, 0.5, 0.9], [80]
    series = random_walk(1, 300, 3)[0]
    rows = []
    for factor in (1.0, 1e6, 1e-6):
        samples = make_samples(make_series(factor * series.prices), WINDOW, 1)
        last = samples.windows[:, -1:, None]  # (N, 1, 1)
        forecasts = last * np.array([0.99, 1.001, 1.01])
        rows.append(score_forecasts(Backtest(samples, forecasts, quantiles, levels))[0])
    for row in rows[1:]:
        for figure in ("skill", "skill_p_value", "copy_ratio", "correlation_next", "pinball", "pinball_random_walk"):
            assert getattr(row, figure) == pytest.approx(getattr(rows[0], figure), rel=1e-6)
        assert row.coverage == rows[0].coverage


def test_dates_are_those_of_the_first_and_last_price_forecast() -> None:
    series = make_series(random_walk(1, 100, 1)[0].prices, dates=daily_dates("2020-01-01", 100))
    samples = make_samples(series, WINDOW, 2)
    rows = score_forecasts(Backtest(samples, np.repeat(samples.windows[:, -1:], 2, axis=1)[:, :, None], [0.5], []))
    assert {(row.first_date, row.last_date) for row in rows} == {(date(2020, 3, 1), date(2020, 4, 9))}


def test_without_dates_there_are_none() -> None:
    samples = walk()
    (row,) = score_forecasts(a_backtest(samples, samples.windows[:, -1]))
    assert (row.first_date, row.last_date) == (None, None)


@pytest.mark.parametrize("nonsense", [0.0, -5.0, -1e9])
def test_a_forecast_of_nothing_or_less_is_a_very_bad_one_and_no_error(nonsense: float) -> None:
    samples = walk()
    forecast = samples.windows[:, -1].copy()
    forecast[7] = nonsense
    (row,) = score_forecasts(a_backtest(samples, forecast))
    assert np.isfinite(row.skill)
    assert row.skill < -10


def test_negative_prices_have_no_random_walk_beside_them() -> None:
    """As spreads have, which the tutorial's transform can take."""
    prices = np.random.default_rng(1).normal(0, 1, 200)
    samples = make_samples(make_series(prices), WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    (row,) = score_forecasts(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert row.pinball_random_walk is None
    assert row.skill == 0
    assert "pinball" in text(overview([row]))


@pytest.mark.parametrize("level", [0.0, -200.0], ids=["some negative", "all negative"])
def test_prices_without_a_logarithm_are_scored_as_they_are(level: float) -> None:
    prices = level + np.random.default_rng(1).normal(0, 1, 200)
    samples = make_samples(make_series(prices), WINDOW, 1)
    last, outcome = one_step(samples)
    (row,) = score_forecasts(a_backtest(samples, last))
    assert (row.skill, row.copy_ratio) == (0, 0)
    (row,) = score_forecasts(a_backtest(samples, samples.windows.mean(axis=1)))
    assert row.skill == pytest.approx(
        1 - scores.rmse(samples.windows.mean(axis=1), outcome) ** 2 / row.rmse_last_price**2
    )
    assert row.skill > 0.3


def test_a_price_of_zero_is_scored() -> None:
    prices = np.random.default_rng(1).normal(0, 1, 200)
    prices[120] = 0.0
    samples = make_samples(make_series(prices), WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    (row,) = score_forecasts(Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]))
    assert row.skill == 0


def test_prices_that_stand_still_are_scored() -> None:
    """A pegged currency, say: repeating the last price is perfect, and so is whatever repeats it."""
    samples = make_samples(make_series(np.full(200, 7.75)), WINDOW, 1)
    (same,) = score_forecasts(a_backtest(samples, samples.windows[:, -1]))
    assert (same.skill, same.skill_p_value, same.copy_ratio) == (0, None, 0)
    (other,) = score_forecasts(a_backtest(samples, samples.windows[:, -1] + 0.01))
    assert other.skill < 0
    for row in (same, other):
        assert "made" in text(overview([row]))
        assert summary.summarize([row], held=False).point_skill == "none"
        assert summary.summarize([row], held=True).point_skill == "none"


@pytest.mark.parametrize(
    ("horizon", "wanted"), [(1, [1]), (4, [1, 4]), (5, [1, 5]), (20, [1, 5, 10, 20]), (33, [1, 5, 10, 20, 33])]
)
def test_a_few_horizons_are_scored_and_the_last(horizon: int, wanted: list[int]) -> None:
    assert backtest.scored_horizons(horizon) == wanted


def test_errors_are_scaled_by_the_changes_before_the_first_forecast() -> None:
    samples = walk()
    last, outcome = one_step(samples)
    (row,) = score_forecasts(a_backtest(samples, last))
    before = np.diff(samples.series.prices[:WINDOW])
    assert row.mase == pytest.approx(np.mean(np.abs(outcome - last)) / np.mean(np.abs(before)))
    assert row.rmsse == pytest.approx(np.sqrt(np.mean((outcome - last) ** 2) / np.mean(before**2)))


def test_crps_winkler_and_pit_are_those_of_the_forecasts() -> None:
    test = make_backtest(random_walk(1, 2000, 1)[0], [50, 80, 95])
    (row,) = score_forecasts(test)
    outcome, last = test.samples.futures[:, 0], test.last
    losses = scores.pinball_losses(test.forecasts[:, 0], outcome, test.quantiles, last)
    assert row.crps == pytest.approx(float(scores.crps(losses, test.quantiles).mean()))
    lower, upper = (side[:, 0] for side in test.interval(80))
    assert row.winkler["80"] == pytest.approx(float(np.mean(scores.winkler(lower, upper, outcome, 80) / last)))
    assert row.winkler.keys() == {"50", "80", "95"}
    assert row.pit == pytest.approx([2.5, 7.5, 15, 25, 25, 15, 7.5, 2.5], abs=2.5)
    assert sum(row.pit) == pytest.approx(100)


def test_a_nested_models_noise_is_forgiven() -> None:
    """Of a signal and as much noise: no better than the last price by its loss, and yet it knows something."""

    def half_knows(inputs: F32) -> F64:
        noise = np.random.default_rng(3).normal(0, COEFFICIENT, (len(inputs), 1))
        return knows_the_coefficient(inputs) + noise

    samples = make_samples(autoregressive(1, 1500, 1, COEFFICIENT)[0], WINDOW, 1)
    (row,) = score_forecasts(backtest.run_backtest(log_return_forecaster(half_knows), samples, [0.5], []))
    assert row.skill_p_value is not None
    assert row.skill_p_value > 0.05
    assert row.skill_p_value_nested is not None
    assert row.skill_p_value_nested < 1e-6


# Which origins


def test_all_of_a_series_that_was_not_trained_on() -> None:
    series = random_walk(1, 100, 1)[0]
    test = backtest.backtest_unseen(log_return_forecaster(zero_outputs), series, WINDOW, 1, [0.5], [])
    assert not test.seen
    assert test.samples.origins.tolist() == list(range(59, 99))
    assert not score_forecasts(test)[0].seen


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("first", [0, 59, 60, 80, 97])
def test_a_tail_holds_every_sample_whose_future_begins_there_or_later(first: int, horizon: int) -> None:
    series = make_series(np.arange(100.0))
    found = backtest.samples_from(series, first, WINDOW, horizon)
    assert found.futures[:, 0].tolist() == list(range(max(first, WINDOW), 101 - horizon))
    assert (found.futures == found.origins[:, None] + 1 + np.arange(horizon)).all()
    assert (found.windows == found.origins[:, None] + np.arange(-WINDOW + 1, 1)).all()


@pytest.mark.parametrize(
    ("rows", "first", "said"),
    [
        (60, 0, "made: 60 prices are too few: a window of 60 and 1 steps ahead"),
        (100, 100, "made: 100 prices are too few: a window of 60 and 1 steps ahead from price 101 on"),
    ],
)
def test_a_tail_without_a_single_sample_is_refused(rows: int, first: int, said: str) -> None:
    with pytest.raises(DataError) as caught:
        backtest.samples_from(make_series(np.arange(float(rows))), first, WINDOW, 1)
    assert str(caught.value) == said


def test_moves_are_log_returns_or_changes_where_there_are_none() -> None:
    samples = make_samples(make_series(np.exp(np.arange(62.0) / 10)), WINDOW, 1)
    said, came = backtest.moves(samples.windows[:, -1] * [2, -3], samples.futures[:, 0], samples.windows[:, -1])
    assert said.tolist() == pytest.approx([np.log(2), np.log(1e-6)])
    assert came.tolist() == pytest.approx([0.1, 0.1])
    samples = make_samples(make_series(np.arange(62.0) - 5), WINDOW, 1)
    said, came = backtest.moves(samples.windows[:, -1] + 3, samples.futures[:, 0], samples.windows[:, -1])
    assert said.tolist() == pytest.approx([np.log(57 / 54), np.log(58 / 55)])
    samples = make_samples(make_series(-np.arange(62.0)), WINDOW, 1)
    said, came = backtest.moves(samples.windows[:, -1] + 3, samples.futures[:, 0], samples.windows[:, -1])
    assert (said.tolist(), came.tolist()) == ([3, 3], [-1, -1])


# When a median is believed to have skill


def test_a_gain_on_every_instrument_beyond_chance_is_skill() -> None:
    assert has_skill([make_score(skill=0.02, skill_p_value=0.01), make_score(skill=0.03, skill_p_value=0.02)])


def test_one_instrument_beyond_chance_is_enough_where_all_together_gain() -> None:
    assert has_skill([make_score(skill=0.05, skill_p_value=0.001), make_score(skill=-0.01, skill_p_value=0.7)])


def test_a_gain_on_one_instrument_that_others_lose_is_no_skill() -> None:
    assert not has_skill([make_score(skill=0.05, skill_p_value=0.001), make_score(skill=-0.06, skill_p_value=1.0)])


def test_the_more_instruments_the_smaller_a_p_value_must_be() -> None:
    chance = make_score(skill=0.01, skill_p_value=0.5)
    lucky = make_score(skill=0.01, skill_p_value=0.02)
    assert has_skill([lucky])
    assert has_skill([lucky, chance])
    assert not has_skill([lucky, chance, chance])


def test_a_p_value_at_the_limit_is_not_below_it() -> None:
    assert not has_skill([make_score(skill=0.01, skill_p_value=0.05)])


def test_an_instrument_that_repeats_the_last_price_still_counts_as_tried() -> None:
    same = make_score(skill=0.0, skill_p_value=None)
    assert has_skill([make_score(skill=0.01, skill_p_value=0.02), same])
    assert not has_skill([make_score(skill=0.01, skill_p_value=0.02), same, same])
    assert not has_skill([same, same])


def test_only_one_step_ahead_decides() -> None:
    later = make_score(horizon=2, skill=0.5, skill_p_value=1e-9)
    assert not has_skill([make_score(skill=-0.01, skill_p_value=0.8), later])
    worse_later = make_score(horizon=2, skill=-0.5, skill_p_value=1.0)
    assert has_skill([make_score(skill=0.01, skill_p_value=0.01), worse_later, worse_later, worse_later])


def test_without_a_score_there_is_no_skill() -> None:
    """As where a market is too short for a single window to validate on, and simulated paths teach beside it."""
    assert not has_skill([])


# What is held is held


@pytest.mark.parametrize("outputs", [[0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [0.2, 0.3, 0.1], [-0.3, -0.2, -0.1]])
@pytest.mark.parametrize("offset", [0.0, 0.05, -0.15])
def test_a_median_held_at_the_last_price_is_it_even_where_the_networks_quantiles_cross(
    outputs: list[float], offset: float
) -> None:
    samples = walk()
    calibration = Calibration(center="last_price", offsets=[[offset]])
    forecaster = log_return_forecaster(lambda inputs: np.tile(outputs, (len(inputs), 1)), [0.1, 0.5, 0.9], calibration)
    found = backtest.run_backtest(forecaster, samples, [0.1, 0.5, 0.9], [80])
    assert found.median[:, 0] == pytest.approx(samples.windows[:, -1], rel=1e-12)
