"""Tests of training runs: the published artifact is the network that was trained, calibrated and evaluated."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from app.artifact import store
from app.artifact.arrays import F64
from app.artifact.manifest import Calibration, Manifest
from app.artifact.store import Artifact
from app.inference.forecaster import load_forecaster
from tests.training.commands.conftest import train_quick
from tests.training.conftest import (
    ROOT,
    log_return_forecaster,
    make_samples,
    make_series,
    quick_recipe,
    random_walk_series,
    zero_outputs,
)
from training import provenance
from training.commands import train
from training.commands.train import TrainingResult
from training.data import sample_stocks, unseen_series
from training.data.simulator import random_walk
from training.data.split import split_blocks
from training.evaluation.backtest import run_backtest
from training.fitting import preparation
from training.recipe_files import load_recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_keras_batch_sizes")]

FILES = {
    *("manifest.json", "model.keras", "model.onnx", "scaler.joblib", "report.html"),
    *("real-vs-predicted.png", "error.png", "loss.png"),
}
LEVEL_CHARTS = {"fan.png", "coverage.png", "pit.png"}
SIMULATED_SOURCE = "{} simulated paths"
NEW_PATHS_NOTE = ", with new training paths for every epoch"


def strings_in(value: object) -> list[str]:
    """Return every string in a JSON document, keys included."""
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in [key, *strings_in(each)]]
    if isinstance(value, list):
        return [text for each in value for text in strings_in(each)]
    return [value] if isinstance(value, str) else []


def check_artifact(models: Path, name: str, version: str) -> Manifest:
    """Check the files of a published version, and its golden forecasts on both engines."""
    artifact = store.read_version(models, name, version)
    manifest = artifact.manifest
    files = FILES | (LEVEL_CHARTS if manifest.levels else set())
    assert {path.name for path in artifact.path.iterdir()} == files
    assert manifest.files.keys() == files - {"manifest.json"}
    assert manifest.curve is not None
    assert len(manifest.curve.loss) > manifest.curve.best
    golden = np.array(manifest.golden.forecasts)
    windows = np.array(manifest.golden.windows)
    for engine in ("onnx", "keras"):
        forecaster = load_forecaster(artifact, engine)
        assert forecaster.forecast(windows) == pytest.approx(golden, rel=1e-5)
        assert [forecaster.first_invalid_price(window) for window in windows.tolist()] == [None] * len(windows)
    assert not [
        text for text in strings_in(json.loads((artifact.path / "manifest.json").read_text())) if text[:1] == "/"
    ]
    assert sorted(path.name for path in (models / name).iterdir() if path.name.startswith(store.STAGING_PREFIX)) == []
    return manifest


@pytest.fixture(scope="module")
def quick_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult, list[str]]:
    """A directory of models with version 1 of `quick`, and the lines that training printed."""
    models = tmp_path_factory.mktemp("models")
    return models, *train_quick(quick_recipe(), models)


def test_train_publishes_artifact_that_loads_on_both_engines(
    quick_models: tuple[Path, TrainingResult, list[str]],
) -> None:
    models, published, printed = quick_models
    assert published.path == models / "quick" / "1"
    assert store.current_version(models, "quick") == "1"
    manifest = check_artifact(models, "quick", "1")
    used = quick_recipe()
    assert (manifest.window, manifest.horizon, manifest.levels) == (20, 2, [50, 80])
    assert manifest.transform == used.transform
    assert manifest.network.head == 3
    assert manifest.network.parameters == 4 * (2 * 4 + 16 + 4) + (4 + 1) * 3 + (3 + 1) * (2 * 5)
    assert manifest.recipe == used.model_dump(mode="json")
    assert manifest.evidence == published.evidence
    assert [(each.name, each.rows) for each in manifest.data] == [("AAPL", 3270), ("synthetic", 6 * 120)]
    assert manifest.data[0].sha256 == sample_stocks.STOCKS_SHA256
    volatility, step = manifest.training_ranges
    assert (volatility.quantity, step.quantity) == ("volatility", "last step")
    assert 0 < volatility.low < volatility.high < 1
    assert step.low < -1 < 1 < step.high
    assert manifest.libraries == provenance.library_versions()
    assert len(manifest.golden.windows) == train.GOLDEN_WINDOWS
    assert printed[0] == "AAPL: 3270 prices"
    assert re.fullmatch(
        r"\d+ training windows, with new simulated ones for every epoch; \d+ validation windows", printed[1]
    )


def test_train_evaluates_only_the_test_block_of_its_stocks(
    quick_models: tuple[Path, TrainingResult, list[str]],
) -> None:
    _, published, _ = quick_models
    begins = round(0.8 * 3270)
    assert [(score.instrument, score.horizon) for score in published.evidence.scores] == [("AAPL", 1), ("AAPL", 2)]
    stock = sample_stocks.load_sample_stocks(["AAPL"])[0]
    assert stock.dates is not None
    for score in published.evidence.scores:
        assert score.seen
        assert score.origins == 3270 - begins - 1
        assert str(score.first_date) == str(stock.dates[begins].astype("datetime64[D]"))
        assert str(score.last_date) == "2013-03-01"
        assert 70 < score.coverage["80"] < 90


@pytest.mark.usefixtures("no_report", "no_baselines")
def test_train_evaluates_whole_unseen_series(tmp_path: Path) -> None:
    published, _ = train_quick(quick_recipe(data={"unseen": ["vix"]}, training={"epochs": 1}), tmp_path)
    unseen = [score for score in published.evidence.scores if not score.seen]
    assert [(score.instrument, score.horizon) for score in unseen] == [("vix", 1), ("vix", 2)]
    [vix] = unseen_series.load_unseen_series(["vix"])
    assert {score.origins for score in unseen} == {len(vix.prices) - 20 - 2 + 1}
    assert "instruments that the model was not trained on (vix)" in published.evidence.summary
    manifest = store.read_artifact(published.path).manifest
    assert "vix" not in [each.name for each in manifest.data]
    assert vix.sha256 not in [each.sha256 for each in manifest.data]


def test_published_forecasts_scale_with_the_price(
    quick_models: tuple[Path, TrainingResult, list[str]],
) -> None:
    models, _, _ = quick_models
    artifact = store.read_version(models, "quick", "1")
    windows = np.array(artifact.manifest.golden.windows)
    forecaster = load_forecaster(artifact, "onnx")
    assert forecaster.forecast(1000 * windows) == pytest.approx(1000 * forecaster.forecast(windows), rel=1e-5)


def golden_forecasts(artifact: Artifact) -> F64:
    return np.array(artifact.manifest.golden.forecasts)


@pytest.mark.usefixtures("no_report", "no_baselines")
def test_train_seed_determines_the_forecasts(quick_models: tuple[Path, TrainingResult, list[str]]) -> None:
    """Publish the same recipe again, and then another seed: each version becomes the current one."""
    models, first, _ = quick_models
    again, _ = train_quick(quick_recipe(), models)
    assert again.path == models / "quick" / "2"
    other, _ = train_quick(quick_recipe(seed=2), models)
    assert (other.path.name, store.current_version(models, "quick")) == ("3", "3")
    golden = {path: golden_forecasts(store.read_artifact(path)) for path in (first.path, again.path, other.path)}
    assert golden[again.path] == pytest.approx(golden[first.path], rel=1e-5)
    assert golden[other.path] != pytest.approx(golden[first.path], rel=1e-5)
    assert store.versions(models, "quick") == ["1", "2", "3"]


@pytest.mark.usefixtures("no_baselines")
def test_train_publishes_the_tutorial_recipe(tmp_path: Path) -> None:
    used = quick_recipe("quick-tutorial")
    published, printed = train_quick(used, tmp_path, "small-tutorial")
    manifest = check_artifact(tmp_path, "small-tutorial", "1")
    assert printed == ["GOOG: 2148 prices", f"{round(0.8 * 2148) - 20 - 21} training windows; 0 validation windows"]
    assert manifest.calibration == Calibration(center="network", offsets=[[]])
    assert manifest.levels == []
    assert manifest.network.units == [4, 4]
    prices = sample_stocks.load_sample_stocks(["GOOG"], "open")[0].prices[: round(0.8 * 2148) - 21]
    (seen,) = manifest.training_ranges
    assert seen.quantity == "price"
    assert seen.low == pytest.approx(prices[:-1].min())  # no window contains the last price
    assert seen.high == pytest.approx(prices[:-1].max())
    assert published.evidence.point_skill == "none"
    assert published.evidence.scores[0].pinball is None


def test_train_on_simulated_paths_only(tmp_path: Path) -> None:
    published, printed = train_quick(quick_recipe("quick-simulated"), tmp_path, "simulated")
    manifest = check_artifact(tmp_path, "simulated", "1")
    per_path = 100 - 20 - 2 + 1
    assert printed == [
        f"{20 * per_path} training windows, with new simulated ones for every epoch; 0 validation windows"
    ]
    (provenance,) = manifest.data
    assert (provenance.name, provenance.source, provenance.rows) == (
        "synthetic",
        SIMULATED_SOURCE.format(20) + NEW_PATHS_NOTE,
        2000,
    )
    assert (provenance.first_date, provenance.last_date) == (None, None)
    for score in published.evidence.scores:
        assert (score.instrument, score.origins, score.first_date) == ("synthetic", 4 * per_path, None)
        assert (score.skill, score.copy_ratio) == (0, 0)
    assert manifest.calibration.center == "last_price"
    assert published.evidence.summary.startswith("No point skill was found, so the median repeats the last price.")


@pytest.mark.usefixtures("no_report", "no_baselines")
def test_train_on_tutorial_files_reproduces_its_baseline(google_prices: Path, tmp_path: Path) -> None:
    """One epoch is enough to check the data, the windows and the baseline."""
    files = {
        "stocks": [],
        "csv": google_prices / "Google_Stock_Price_Train.csv",
        "test_csv": google_prices / "Google_Stock_Price_Test.csv",
        "column": "Open",
    }
    published, printed = train_quick(
        load_recipe("tutorial", data=files, training={"epochs": 1, "batch": 512}), tmp_path, "google"
    )
    assert "1198 training windows; 0 validation windows" in printed
    (score,) = published.evidence.scores
    assert score.rmse_last_price == pytest.approx(8.42, abs=0.005)
    assert score.origins == 20
    assert (str(score.first_date), str(score.last_date)) == ("2017-01-03", "2017-01-31")
    assert score.rmse > score.rmse_last_price
    assert published.evidence.point_skill == "none"
    manifest = store.read_artifact(published.path).manifest
    assert manifest.network.parameters == 71_051
    assert manifest.recipe["data"]["csv"] == "Google_Stock_Price_Train.csv"
    assert manifest.recipe["data"]["test_csv"] == "Google_Stock_Price_Test.csv"
    (seen,) = manifest.training_ranges
    assert (seen.low, seen.high) == (279.12, 816.68)


@pytest.mark.usefixtures("no_report", "no_baselines")
def test_train_echo_state_does_not_resample_simulated_paths(tmp_path: Path) -> None:
    used = quick_recipe(
        "quick-simulated", network={"cell": "echo_state"}, training={"batch": 32}, calibration={"center": "network"}
    )
    published, printed = train_quick(used, tmp_path, "echo")
    assert "every epoch" not in printed[0]
    (simulated,) = store.read_artifact(published.path).manifest.data
    assert simulated.source == SIMULATED_SOURCE.format(20)


def test_training_ranges_cover_the_training_block() -> None:
    used = quick_recipe()
    blocks, _ = split_blocks([random_walk_series()], [], used.split, used.window, used.horizon)
    _, transform = preparation.fit_scaler(used, blocks.train)
    volatility, step = train._training_ranges(transform, blocks.train)
    assert (volatility.quantity, step.quantity) == ("volatility", "last step")
    (samples,) = blocks.train
    found = transform.encode(samples.windows).volatility[:, 0, 0]
    steps = np.log(samples.windows[:, -1] / samples.windows[:, -2]) / found
    assert (volatility.low, volatility.high) == pytest.approx((found.min(), found.max()))
    assert (step.low, step.high) == pytest.approx((steps.min(), steps.max()))


def test_golden_windows_are_the_last_of_the_first_series() -> None:
    forecaster = log_return_forecaster(zero_outputs)
    long, single = random_walk_series(60), make_series(random_walk(1, 21, 5)[0].prices, "single")
    tests = [run_backtest(forecaster, make_samples(each, 20, 1), [0.5], []) for each in (long, single)]
    golden = train._golden_forecasts(forecaster, tests)
    windows = [long.prices[39:59], single.prices[:20], long.prices[38:58], long.prices[37:57]]
    assert golden.windows == [window.tolist() for window in windows]
    assert np.array(golden.forecasts)[:, 0, 0] == pytest.approx([window[-1] for window in windows])


def test_quick_recipes_resemble_the_shipped_ones() -> None:
    for ours, shipped in (("quick", "default"), ("quick-tutorial", "tutorial")):
        one, other = quick_recipe(ours), load_recipe(shipped)
        assert one.transform == other.transform
        assert one.training.loss == other.training.loss
        assert one.calibration == other.calibration
        assert bool(one.network.dropout) == bool(other.network.dropout)
        assert bool(one.network.head) == bool(other.network.head)
        assert one.training.schedule == other.training.schedule
        assert bool(one.data.synthetic_paths) == bool(other.data.synthetic_paths)
    assert not list((ROOT / "training" / "recipes").glob("quick*"))
