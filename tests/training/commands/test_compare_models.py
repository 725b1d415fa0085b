"""The verb `compare`: the same origins for all, the horizons that all have, and a dash where a model has no figure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.artifact.evidence import Score
from tests.training.conftest import gaussian_forecaster, make_backtest, make_series, with_manifest
from training.commands import compare_models
from training.commands.backtest import EvaluationPrices
from training.data.simulator import autoregressive, random_walk
from training.evaluation import scoring
from training.evaluation.backtest import Backtest
from training.evaluation.published_model import PublishedModel


@pytest.fixture(scope="module")
def short(default_model: PublishedModel) -> PublishedModel:
    """A model of shorter windows, fewer levels and a single step."""
    model = with_manifest(
        default_model, name="short", window=20, horizon=1, levels=[80], calibration=default_model.manifest.calibration
    )
    model.forecaster = gaussian_forecaster([80])
    return model


def test_models_are_judged_on_the_origins_and_horizons_that_all_have(
    default_model: PublishedModel, short: PublishedModel, tmp_path: Path
) -> None:
    series = [make_series(random_walk(1, 300, seed)[0].prices, f"walk-{seed}") for seed in (1, 2)]
    said: list[str] = []
    picture = compare_models.compare_models(
        [short, default_model], EvaluationPrices("walks", series), tmp_path / "out", said.append
    )
    assert picture == tmp_path / "out" / "compare.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(said) == 5  # each model of each series, and the table
    head, *rows = said[-1].strip().splitlines()
    rows = rows[:4]
    assert [row.split()[:4] for row in rows] == [
        [f"walk-{seed}", "1", model, "240"] for seed in (1, 2) for model in (short.reference, default_model.reference)
    ]
    assert head.split()[:4] == ["instrument", "h", "model", "n"]
    assert "95%" in head
    assert rows[0].split()[-1] == "-"  # no Winkler score of an interval it has not
    assert rows[1].split()[-1] != "-"


def test_the_default_place_names_the_models(
    short: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prices = EvaluationPrices("walk", [make_series(random_walk(1, 100, 1)[0].prices)])
    expected = Path(f"backtests/short-{short.manifest.version}-walk/compare.png")
    assert compare_models.compare_models([short], prices, None, lambda _: None) == expected


def test_a_model_with_skill_beside_one_without() -> None:
    series = autoregressive(1, 1500, 1, 0.5)[0]
    plain = make_backtest(series, [80])
    last, before = plain.last, plain.samples.windows[:, -2]
    moved = replace(plain, forecasts=plain.forecasts * ((last / before) ** 0.5)[:, None, None])
    rows = table_of({"plain": plain, "knows": moved})
    assert rows[0][6:8] == ["-", "-"]
    better, p = rows[1][6:8]
    assert 0.8 < float(better) < 0.95
    assert p == "0.000"
    pinball, p = rows[1][10:12]
    assert 0.8 < float(pinball) < 0.95
    assert p == "0.000"


def test_models_of_other_levels_are_not_compared_by_their_quantiles() -> None:
    series = random_walk(1, 300, 1)[0]
    rows = table_of({"two": make_backtest(series, [80, 95]), "one": make_backtest(series, [80])})
    head = compare_models.side_by_side(
        {"two": [make_backtest(series, [80, 95])]}, scores_of({"two": make_backtest(series)})
    ).head
    assert head[-5:] == ["pinball/RW", "pinball/first", "p", "CRPS", "W95"]
    assert rows[1][9] == "-"  # no 95% interval
    assert rows[1][11:13] == ["-", "-"]
    assert rows[1][10] != "-"


def test_without_levels_there_are_no_columns_for_them() -> None:
    series = random_walk(1, 300, 1)[0]
    rows = table_of({"one": make_backtest(series, [])})
    assert len(rows[0]) == 8


def test_prices_without_a_logarithm_have_no_random_walk_beside_them() -> None:
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
    assert table_of({"one": shifted})[0][9:12] == ["-", "-", "-"]


def scores_of(tests: dict[str, Backtest]) -> dict[str, list[Score]]:
    return {name: scoring.score_backtest(test) for name, test in tests.items()}


def table_of(tests: dict[str, Backtest]) -> list[list[str]]:
    return compare_models.side_by_side({name: [test] for name, test in tests.items()}, scores_of(tests)).rows
