"""The verb `backtest`: which prices are judged, what is said of them, and what is written."""

from pathlib import Path

import numpy as np
import pytest

from app.artifact.evidence import Curve
from tests.training.conftest import daily_dates, make_series, with_manifest, with_training_data
from training.commands import backtest
from training.commands.backtest import EvaluationPrices
from training.data import unseen_series
from training.data.series import DataError
from training.data.simulator import random_walk
from training.evaluation.published_model import PublishedModel


def test_prices_are_a_files_or_the_unseen_ones_or_the_models_own(default_model: PublishedModel, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("Close\n1\n2\n3\n")
    name, [series] = backtest.select_prices(default_model, file, "close", unseen=False)
    assert (name, series.prices.tolist()) == ("mine", [1, 2, 3])
    name, chosen = backtest.select_prices(default_model, None, None, unseen=True)
    assert (name, [each.name for each in chosen]) == ("unseen", list(unseen_series.UNSEEN))
    name, chosen = backtest.select_prices(default_model, None, None, unseen=False)
    assert (name, [each.name for each in chosen]) == ("sample", ["AAPL", "GOOG", "IBM", "MSFT"])


@pytest.mark.slow
def test_everything_is_said_and_written(default_model: PublishedModel, tmp_path: Path) -> None:
    series = [
        make_series(random_walk(1, 500, seed)[0].prices, f"walk-{seed}", daily_dates("2001-01-01", 500))
        for seed in (1, 2)
    ]
    said: list[str] = []
    out = backtest.backtest_model(
        default_model, EvaluationPrices("walks", series), tmp_path / "deep" / "out", said.append
    )
    assert out == tmp_path / "deep" / "out"
    assert said[0] == f"walk-1: 500 prices; all are judged: {default_model.reference} was not trained on them"
    text = "\n".join(said)
    for title in (
        *("Overview", "Point forecasts", "Lag and direction", "The median against baselines", "Intervals"),
        *("The quantiles against baselines", "Coverage by volatility", "Folds"),
    ):
        assert f"\n{title}\n" in text
    for word in (
        "AR(1)",
        "ridge",
        "GARCH-t",
        "middle",
        "none said",
        "MASE",
        "W95",
        "instruments that were not trained",
    ):
        assert word in text
    assert {path.name for path in out.iterdir()} >= {"report.html", "error.png", "coverage.png", "pit.png", "fan.png"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"{default_model.reference} on walks" in page
    assert "Judged on walk-1.csv, column Close; walk-2.csv, column Close." in page
    assert str(tmp_path) not in page


@pytest.mark.slow
def test_loss_curves_are_shown_where_the_artifact_has_them(default_model: PublishedModel, tmp_path: Path) -> None:
    chosen = EvaluationPrices("walk", [make_series(random_walk(1, 200, 1)[0].prices)])
    for curve, drawn in ((None, False), (Curve(loss=[2.0, 1.0], validation=[], best=1), True)):
        out = backtest.backtest_model(
            with_manifest(default_model, curve=curve), chosen, tmp_path / str(drawn), lambda _: None
        )
        assert (out / "loss.png").exists() is drawn


@pytest.mark.slow
def test_the_default_place_is_named_after_model_and_prices(
    default_model: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = backtest.backtest_model(
        default_model, EvaluationPrices("walk", [make_series(random_walk(1, 80, 1)[0].prices)]), None, lambda _: None
    )
    assert out == Path(f"backtests/default-{default_model.manifest.version}-walk")
    assert (tmp_path / out / "report.html").is_file()


def test_only_the_test_block_of_a_file_it_was_trained_on_is_judged_and_this_is_said(
    default_model: PublishedModel,
) -> None:
    prices = random_walk(1, 1000, 1)[0].prices
    for dates, begins in ((daily_dates("2001-01-01", 1000), ", from 2003-03-12 on"), (None, "")):
        series = make_series(prices, "mine", dates)
        said: list[str] = []
        test = backtest.test_of(with_training_data(default_model, series), series, said.append)
        seen = f"{default_model.reference} has seen those before"
        assert said == [f"mine: 1000 prices; only the last 200 are judged{begins}: {seen}"]
        assert test.seen
        assert test.samples.futures[0, 0] == prices[800]
        assert len(test.samples) == 200 - default_model.manifest.horizon + 1


def test_a_file_of_the_same_name_is_remarked_on(default_model: PublishedModel) -> None:
    series = make_series(random_walk(1, 100, 1)[0].prices, "mine")
    model = with_training_data(default_model, series)
    model = with_manifest(model, data=[model.manifest.data[0].model_copy(update={"sha256": "1" * 64})])
    said: list[str] = []
    assert not backtest.test_of(model, series, said.append).seen
    trained = f"{default_model.reference} was trained on a file of that name"
    assert said == [f"mine: 100 prices; all are judged, though {trained}"]


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (np.arange(1.0, 31.0), "made: 30 prices are too few: a window of 60 and "),
        (np.r_[np.arange(1.0, 101.0), 0.0], "made, price 101: a price must be positive for this model"),
    ],
)
def test_prices_that_cannot_be_judged_are_refused(
    default_model: PublishedModel, prices: list[float], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        backtest.backtest_model(default_model, EvaluationPrices("made", [make_series(prices)]), None, lambda _: None)
    assert str(caught.value).startswith(said)
