"""Tests of the command `backtest`."""

from pathlib import Path

import numpy as np
import pytest

from app.artifact.evidence import Curve
from tests.training.conftest import daily_dates, make_series, with_manifest, with_training_data
from training.commands.backtest import EvaluationData, backtest_model, backtest_series, load_evaluation_data
from training.data import unseen_series
from training.data.series import DataError
from training.data.simulator import random_walk
from training.evaluation import significance
from training.evaluation.published_model import PublishedModel
from training.reports import report


@pytest.fixture
def few_bootstrap_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate rough bootstrap intervals, for tests that do not check their values."""
    monkeypatch.setattr(significance, "BOOTSTRAP_DRAWS", 20)


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create empty files instead of charts, for tests that do not open them."""
    monkeypatch.setattr(report, "save_png", lambda figure, path: path.touch())


def test_load_evaluation_data_from_each_source(default_model: PublishedModel, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("Close\n1\n2\n3\n")
    name, [series] = load_evaluation_data(default_model, file, "close", use_unseen=False)
    assert (name, series.prices.tolist()) == ("mine", [1, 2, 3])
    name, chosen = load_evaluation_data(default_model, None, None, use_unseen=True)
    assert (name, [each.name for each in chosen]) == ("unseen", list(unseen_series.UNSEEN_COLUMNS))
    name, chosen = load_evaluation_data(default_model, None, None, use_unseen=False)
    assert (name, [each.name for each in chosen]) == ("sample", ["AAPL", "GOOG", "IBM", "MSFT"])


@pytest.mark.slow
@pytest.mark.usefixtures("few_bootstrap_draws")
def test_backtest_model_prints_tables_and_writes_report(default_model: PublishedModel, tmp_path: Path) -> None:
    series = [
        make_series(random_walk(1, 500, seed)[0].prices, f"walk-{seed}", daily_dates("2001-01-01", 500))
        for seed in (1, 2)
    ]
    printed: list[str] = []
    out = backtest_model(default_model, EvaluationData("walks", series), tmp_path / "deep" / "out", printed.append)
    assert out == tmp_path / "deep" / "out"
    assert printed[0] == f"walk-1: 500 prices; all are evaluated: {default_model.reference} was not trained on them"
    text = "\n".join(printed)
    for title in (
        *("Overview", "Point forecasts", "Lag and direction", "Median against baselines", "Intervals"),
        *("Quantiles against baselines", "Coverage by volatility", "Folds"),
    ):
        assert f"\n{title}\n" in text
    for word in (
        "AR(1)",
        "ridge",
        "GARCH-t",
        "middle",
        "no direction",
        "MASE",
        "W95",
        "instruments that the model was not trained on",
    ):
        assert word in text
    assert {path.name for path in out.iterdir()} >= {"report.html", "error.png", "coverage.png", "pit.png", "fan.png"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"{default_model.reference} on walks" in page
    assert "Evaluated on walk-1.csv, column Close; walk-2.csv, column Close." in page
    assert str(tmp_path) not in page


@pytest.mark.slow
@pytest.mark.usefixtures("few_bootstrap_draws", "no_charts")
def test_backtest_model_plots_training_losses_if_recorded(default_model: PublishedModel, tmp_path: Path) -> None:
    chosen = EvaluationData("walk", [make_series(random_walk(1, 200, 1)[0].prices)])
    for curve, has_chart in ((None, False), (Curve(loss=[2.0, 1.0], validation=[], best=1), True)):
        out = backtest_model(
            with_manifest(default_model, curve=curve), chosen, tmp_path / str(has_chart), lambda _: None
        )
        assert (out / "loss.png").exists() is has_chart


@pytest.mark.slow
@pytest.mark.usefixtures("few_bootstrap_draws", "no_charts")
def test_backtest_model_default_directory(
    default_model: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = backtest_model(
        default_model, EvaluationData("walk", [make_series(random_walk(1, 80, 1)[0].prices)]), None, lambda _: None
    )
    assert out == Path(f"backtests/default-{default_model.manifest.version}-walk")
    assert (tmp_path / out / "report.html").is_file()


def test_backtest_series_training_file_uses_its_test_block(
    default_model: PublishedModel,
) -> None:
    prices = random_walk(1, 1000, 1)[0].prices
    for dates, start in ((daily_dates("2001-01-01", 1000), ", starting on 2003-03-12"), (None, "")):
        series = make_series(prices, "mine", dates)
        printed: list[str] = []
        test = backtest_series(with_training_data(default_model, series), series, printed.append)
        seen = f"{default_model.reference} was trained on earlier prices"
        assert printed == [f"mine: 1000 prices; only the last 200 are evaluated{start}: {seen}"]
        assert test.is_seen
        assert test.samples.futures[0, 0] == prices[800]
        assert len(test.samples) == 200 - default_model.manifest.horizon + 1


def test_backtest_series_mentions_training_file_of_same_name(default_model: PublishedModel) -> None:
    series = make_series(random_walk(1, 100, 1)[0].prices, "mine")
    model = with_training_data(default_model, series)
    model = with_manifest(model, data=[model.manifest.data[0].model_copy(update={"sha256": "1" * 64})])
    printed: list[str] = []
    assert not backtest_series(model, series, printed.append).is_seen
    trained = f"{default_model.reference} was trained on a file with the same name and different content"
    assert printed == [f"mine: 100 prices; all are evaluated, but {trained}"]


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        (np.arange(1.0, 31.0), "made: 30 prices are too few for a window of 60 and a horizon of "),
        (np.r_[np.arange(1.0, 101.0), 0.0], "made, price 101: a price must be positive for this model"),
    ],
)
def test_backtest_model_unusable_prices_are_rejected(
    default_model: PublishedModel, prices: list[float], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        backtest_model(default_model, EvaluationData("made", [make_series(prices)]), None, lambda _: None)
    assert str(caught.value).startswith(message)
