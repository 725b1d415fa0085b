"""Tests of the command `compare` for published models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.artifact.evidence import Score
from tests.training.conftest import gaussian_forecaster, make_backtest, make_series, with_manifest
from training.commands.backtest import EvaluationData
from training.commands.compare_models import backtest_models, comparison_table
from training.data.simulator import autoregressive, random_walk
from training.evaluation.backtest import Backtest
from training.evaluation.published_model import PublishedModel
from training.evaluation.scoring import score_backtest


@pytest.fixture(scope="module")
def short_model(default_model: PublishedModel) -> PublishedModel:
    """A model with shorter windows, fewer levels and one step."""
    model = with_manifest(
        default_model,
        name="short",
        window=20,
        horizon=1,
        levels=[80],
        calibration=default_model.manifest.calibration,
    )
    model.forecaster = gaussian_forecaster([80])
    return model


def scores_of(tests: dict[str, Backtest]) -> dict[str, list[Score]]:
    return {name: score_backtest(test) for name, test in tests.items()}


def comparison_rows(tests: dict[str, Backtest]) -> list[list[str]]:
    return comparison_table({name: [test] for name, test in tests.items()}, scores_of(tests)).rows


def test_backtest_models_uses_common_origins_and_horizons(
    default_model: PublishedModel, short_model: PublishedModel, tmp_path: Path
) -> None:
    series = [make_series(random_walk(1, 300, seed)[0].prices, f"walk-{seed}") for seed in (1, 2)]
    printed: list[str] = []
    chart = backtest_models(
        [short_model, default_model], EvaluationData("walks", series), tmp_path / "out", printed.append
    )
    assert chart == tmp_path / "out" / "compare.png"
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert len(printed) == 5  # one line for each model and series, and the table
    head, *rows = printed[-1].strip().splitlines()
    rows = rows[:4]
    assert [row.split()[:4] for row in rows] == [
        [f"walk-{seed}", "1", model, "240"]
        for seed in (1, 2)
        for model in (short_model.reference, default_model.reference)
    ]
    assert head.split()[:4] == ["instrument", "h", "model", "n"]
    assert "95%" in head
    assert rows[0].split()[-1] == "-"  # it has no 95% interval, hence no Winkler score
    assert rows[1].split()[-1] != "-"


def test_backtest_models_default_directory(
    short_model: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prices = EvaluationData("walk", [make_series(random_walk(1, 100, 1)[0].prices)])
    expected = Path(f"backtests/short-{short_model.manifest.version}-walk/compare.png")
    assert backtest_models([short_model], prices, None, lambda _: None) == expected


def test_comparison_table_model_with_skill() -> None:
    series = autoregressive(1, 1500, 1, 0.5)[0]
    plain = make_backtest(series, [80])
    last, before = plain.last, plain.samples.windows[:, -2]
    moved = replace(plain, forecasts=plain.forecasts * ((last / before) ** 0.5)[:, None, None])
    rows = comparison_rows({"plain": plain, "knows": moved})
    assert rows[0][6:8] == ["-", "-"]
    better, p = rows[1][6:8]
    assert 0.8 < float(better) < 0.95
    assert p == "0.000"
    pinball, p = rows[1][10:12]
    assert 0.8 < float(pinball) < 0.95
    assert p == "0.000"


def test_comparison_table_different_levels_omits_pinball() -> None:
    series = random_walk(1, 300, 1)[0]
    rows = comparison_rows({"two": make_backtest(series, [80, 95]), "one": make_backtest(series, [80])})
    head = comparison_table({"two": [make_backtest(series, [80, 95])]}, scores_of({"two": make_backtest(series)})).head
    assert head[-5:] == ["pinball/RW", "pinball/first", "p", "CRPS", "W95"]
    assert rows[1][9] == "-"  # no 95% interval
    assert rows[1][11:13] == ["-", "-"]
    assert rows[1][10] != "-"


def test_comparison_table_without_levels_has_no_level_columns() -> None:
    series = random_walk(1, 300, 1)[0]
    rows = comparison_rows({"one": make_backtest(series, [])})
    assert len(rows[0]) == 8


def test_comparison_table_prices_without_logarithm() -> None:
    rng = np.random.default_rng(1)
    test = make_backtest(random_walk(1, 300, 1)[0], [80])
    shifted = replace(
        test,
        samples=replace(
            test.samples,
            series=make_series(rng.normal(size=300)),
            windows=rng.normal(size=test.samples.windows.shape),
            futures=rng.normal(size=test.samples.futures.shape),
        ),
    )
    assert comparison_rows({"one": shifted})[0][9:12] == ["-", "-", "-"]
