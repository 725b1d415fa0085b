"""Tests of backtests: which samples are forecast, and which columns hold the median and the intervals."""

import numpy as np
import pytest

from app.artifact.manifest import Calibration
from app.evaluation import scores
from tests.training.conftest import (
    ar1_network,
    log_return_forecaster,
    make_backtest,
    make_samples,
    make_series,
    random_walk_samples,
    zero_outputs,
)
from training.data.series import DataError
from training.data.simulator import random_walk
from training.evaluation import backtest
from training.evaluation.backtest import Backtest, price_moves, run_backtest, samples_from, scored_horizons
from training.evaluation.scoring import score_backtest

WINDOW = 60


def test_backtest_at_selects_median_and_intervals_of_a_horizon() -> None:
    samples = make_samples(make_series(np.arange(1.0, 15.0)), 10, 2)  # 3 samples
    forecasts = np.arange(3 * 2 * 5, dtype=np.float64).reshape(3, 2, 5)
    test = Backtest(samples, forecasts, [0.05, 0.25, 0.5, 0.75, 0.95], [50, 90])
    for h in (0, 1):
        found = test.at(h + 1)
        assert found.median.tolist() == forecasts[:, h, 2].tolist()
        assert found.outcome.tolist() == samples.futures[:, h].tolist()
        assert found.last.tolist() == samples.windows[:, -1].tolist()
        for level, lower, upper in ((50, 1, 3), (90, 0, 4)):
            low, high = found.interval(level)
            assert low.tolist() == forecasts[:, h, lower].tolist()
            assert high.tolist() == forecasts[:, h, upper].tolist()
        with pytest.raises(ValueError, match="80"):
            found.interval(80)


def test_horizon_forecasts_select_keeps_those_origins() -> None:
    whole = make_backtest(random_walk(1, 100, 1)[0], [80], horizon=3).at(2)
    part = whole.select(slice(5, 9))
    assert part.forecasts.tolist() == whole.forecasts[5:9].tolist()
    assert part.outcome.tolist() == whole.outcome[5:9].tolist()
    assert part.last.tolist() == whole.last[5:9].tolist()


@pytest.mark.parametrize("shift", [0.0, -1000.0], ids=["positive", "negative"])
def test_horizon_losses_are_relative_to_positive_prices_only(shift: float) -> None:
    series = make_series(random_walk(1, 100, 1)[0].prices + shift)
    samples = make_samples(series, WINDOW, 1)
    forecasts = samples.windows[:, -1:, None] + np.array([-1.3, 0.0, 1.3])
    test = Backtest(samples, forecasts, [0.1, 0.5, 0.9], [80]).at(1)
    scale = 1.0 if shift else test.last
    losses = scores.pinball_losses(forecasts[:, 0], test.outcome, [0.1, 0.5, 0.9], scale)
    assert test.pinball_losses() == pytest.approx(losses)
    winkler = scores.winkler(forecasts[:, 0, 0], forecasts[:, 0, 2], test.outcome, 80)
    assert test.winkler_scores(80) == pytest.approx(winkler / scale)


def test_run_backtest_in_chunks_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_walk_samples(300)
    forecaster = log_return_forecaster(ar1_network)
    whole = run_backtest(forecaster, samples, [0.5], [])
    monkeypatch.setattr(backtest, "CHUNK_WINDOWS", 7)
    in_pieces = run_backtest(forecaster, samples, [0.5], [])
    assert whole.forecasts.shape == (240, 1, 1)
    assert in_pieces.forecasts == pytest.approx(whole.forecasts, rel=1e-6)
    assert in_pieces.samples is samples


def test_run_backtest_unseen_series_uses_every_sample() -> None:
    series = random_walk(1, 100, 1)[0]
    samples = samples_from(series, 0, WINDOW, 1)
    test = run_backtest(log_return_forecaster(zero_outputs), samples, [0.5], [], is_seen=False)
    assert not test.is_seen
    assert test.samples.origins.tolist() == list(range(59, 99))
    assert not score_backtest(test, with_baselines=False)[0].seen


@pytest.mark.parametrize("outputs", [[0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [0.2, 0.3, 0.1], [-0.3, -0.2, -0.1]])
@pytest.mark.parametrize("offset", [0.0, 0.05, -0.15])
def test_centered_median_is_last_price_if_quantiles_cross(outputs: list[float], offset: float) -> None:
    samples = random_walk_samples()
    calibration = Calibration(center="last_price", offsets=[[offset]])
    forecaster = log_return_forecaster(lambda inputs: np.tile(outputs, (len(inputs), 1)), [0.1, 0.5, 0.9], calibration)
    found = run_backtest(forecaster, samples, [0.1, 0.5, 0.9], [80])
    assert found.at(1).median == pytest.approx(samples.windows[:, -1], rel=1e-12)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("first", [0, 59, 60, 80, 97])
def test_samples_from_returns_every_sample_of_later_rows(first: int, horizon: int) -> None:
    series = make_series(np.arange(100.0))
    found = samples_from(series, first, WINDOW, horizon)
    assert found.futures[:, 0].tolist() == list(range(max(first, WINDOW), 101 - horizon))
    assert (found.futures == found.origins[:, None] + 1 + np.arange(horizon)).all()
    assert (found.windows == found.origins[:, None] + np.arange(-WINDOW + 1, 1)).all()


@pytest.mark.parametrize(
    ("rows", "first", "message"),
    [
        (60, 0, "made: 60 prices are too few for a window of 60 and a horizon of 1"),
        (100, 100, "made: 100 prices are too few for a window of 60 and a horizon of 1, starting at price 101"),
    ],
)
def test_samples_from_too_few_prices_raises_data_error(rows: int, first: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        samples_from(make_series(np.arange(float(rows))), first, WINDOW, 1)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("horizon", "expected"), [(1, [1]), (4, [1, 4]), (5, [1, 5]), (20, [1, 5, 10, 20]), (33, [1, 5, 10, 20, 33])]
)
def test_scored_horizons_include_the_longest(horizon: int, expected: list[int]) -> None:
    assert scored_horizons(horizon) == expected


def test_price_moves_are_log_returns_or_price_changes() -> None:
    samples = make_samples(make_series(np.exp(np.arange(62.0) / 10)), WINDOW, 1)
    predicted, actual = price_moves(samples.windows[:, -1] * [2, -3], samples.futures[:, 0], samples.windows[:, -1])
    assert predicted.tolist() == pytest.approx([np.log(2), np.log(1e-6)])
    assert actual.tolist() == pytest.approx([0.1, 0.1])
    samples = make_samples(make_series(np.arange(62.0) - 5), WINDOW, 1)
    predicted, actual = price_moves(samples.windows[:, -1] + 3, samples.futures[:, 0], samples.windows[:, -1])
    assert predicted.tolist() == pytest.approx([np.log(57 / 54), np.log(58 / 55)])
    samples = make_samples(make_series(-np.arange(62.0)), WINDOW, 1)
    predicted, actual = price_moves(samples.windows[:, -1] + 3, samples.futures[:, 0], samples.windows[:, -1])
    assert (predicted.tolist(), actual.tolist()) == ([3, 3], [-1, -1])
