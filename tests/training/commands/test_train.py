"""A training run from recipe to artifact: what is published is what was trained, judged and promised."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import app
from app.artifact import store
from app.artifact.evidence import Curve
from app.artifact.manifest import Calibration, Manifest
from app.artifact.store import Artifact
from app.artifact.transform import F64
from app.errors import ArtifactError
from app.inference.engines.onnx import OnnxEngine
from app.inference.forecaster import load
from tests.training.conftest import (
    ROOT,
    daily_dates,
    log_return_forecaster,
    make_samples,
    make_series,
    quick_recipe,
    random_walk_series,
    zero_outputs,
)
from training import provenance, recipe
from training.commands import train
from training.commands.train import NetworkError, TrainingResult
from training.data import sample_stocks, unseen_series
from training.data.blocks import split_blocks
from training.data.series import DataError
from training.data.simulator import random_walk
from training.evaluation import backtest
from training.fitting import preparation
from training.fitting.progress import ProgressLines
from training.networks import architectures
from training.networks.onnx_export import to_onnx
from training.recipe import Recipe
from training.reports import report

pytestmark = pytest.mark.slow

FILES = {
    *("manifest.json", "model.keras", "model.onnx", "scaler.joblib", "report.html"),
    *("real-vs-predicted.png", "error.png", "loss.png"),
}
OF_LEVELS = {"fan.png", "coverage.png", "pit.png"}
SIMULATED = "{} simulated paths"
ANEW = ", and as many anew for each epoch"


def published(wanted: Recipe, models: Path, name: str = "quick") -> tuple[TrainingResult, list[str]]:
    """What a run publishes, and what it said."""
    said: list[str] = []
    return train.train_and_publish(wanted, name, models, ProgressLines(), said.append), said


def write_csv(path: Path, prices: F64, first: str | None = "2001-01-01") -> Path:
    """A file of prices, with dates from the first on."""
    head, cells = "Close", [f"{price!r}" for price in prices.tolist()]
    if first is not None:
        head, cells = "Date,Close", [f"{day},{cell}" for day, cell in zip(_iso(first, len(cells)), cells, strict=True)]
    path.write_text("\n".join([head, *cells]) + "\n", encoding="utf-8")
    return path


def _iso(first: str, count: int) -> list[str]:
    return [str(day) for day in daily_dates(first, count).astype("datetime64[D]")]


def from_csv(name: str, csv: Path, test_csv: Path | None = None, column: str = "Close", **changes: Any) -> Recipe:
    """A quick recipe on files, without stocks and simulated paths."""
    prices = {"stocks": [], "csv": csv, "test_csv": test_csv, "column": column, "synthetic_paths": 0}
    return quick_recipe(name, data=prices, **changes)


def texts(value: object) -> list[str]:
    """Every text in a JSON document, keys too."""
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in [key, *texts(each)]]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


def check_artifact(models: Path, name: str, version: str) -> Manifest:
    """Loads a published version on both engines, and has the golden forecasts computed by each."""
    artifact = store.read_version(models, name, version)
    manifest = artifact.manifest
    files = FILES | (OF_LEVELS if manifest.levels else set())
    assert {path.name for path in artifact.path.iterdir()} == files
    assert manifest.files.keys() == files - {"manifest.json"}
    assert manifest.curve is not None
    assert len(manifest.curve.loss) > manifest.curve.best
    golden = np.array(manifest.golden.forecasts)
    windows = np.array(manifest.golden.windows)
    for engine in ("onnx", "keras"):
        forecaster = load(artifact, engine)
        assert forecaster.forecast(windows) == pytest.approx(golden, rel=1e-5)
        assert [forecaster.first_invalid_price(window) for window in windows.tolist()] == [None] * len(windows)
    assert not [text for text in texts(json.loads((artifact.path / "manifest.json").read_text())) if text[:1] == "/"]
    assert sorted(path.name for path in (models / name).iterdir() if path.name.startswith(store.STAGING)) == []
    return manifest


# Whole runs


@pytest.fixture(scope="module")
def quick_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult, list[str]]:
    """A directory of models with version 1 of `quick`."""
    models = tmp_path_factory.mktemp("models")
    return models, *published(quick_recipe(), models)


def test_a_run_publishes_an_artifact_that_loads_on_both_engines(
    quick_models: tuple[Path, TrainingResult, list[str]],
) -> None:
    models, done, said = quick_models
    assert done.path == models / "quick" / "1"
    assert store.current(models, "quick") == "1"
    manifest = check_artifact(models, "quick", "1")
    wanted = quick_recipe()
    assert (manifest.window, manifest.horizon, manifest.levels) == (20, 2, [50, 80])
    assert manifest.transform == wanted.transform
    assert manifest.network.head == 3
    assert manifest.network.parameters == 4 * (2 * 4 + 16 + 4) + (4 + 1) * 3 + (3 + 1) * (2 * 5)
    assert manifest.recipe == wanted.model_dump(mode="json")
    assert manifest.evidence == done.evidence
    assert [(each.name, each.rows) for each in manifest.data] == [("AAPL", 3270), ("synthetic", 6 * 120)]
    assert manifest.data[0].sha256 == sample_stocks.STOCKS_SHA256
    volatility, step = manifest.training_ranges
    assert (volatility.quantity, step.quantity) == ("volatility", "last step")
    assert 0 < volatility.low < volatility.high < 1
    assert step.low < -1 < 1 < step.high
    assert manifest.libraries == provenance.libraries()
    assert len(manifest.golden.windows) == train.GOLDEN_WINDOWS
    assert said[0] == "AAPL: 3270 prices"
    assert re.fullmatch(r"\d+ windows to train on, the simulated ones anew for each epoch; \d+ to validate", said[1])


def test_of_what_is_learnt_from_only_the_test_block_of_the_market_is_judged(
    quick_models: tuple[Path, TrainingResult, list[str]],
) -> None:
    _, done, _ = quick_models
    begins = round(0.8 * 3270)
    assert [(score.instrument, score.horizon) for score in done.evidence.scores] == [("AAPL", 1), ("AAPL", 2)]
    stock = sample_stocks.sample_stocks(["AAPL"])[0]
    assert stock.dates is not None
    for score in done.evidence.scores:
        assert score.seen
        assert score.origins == 3270 - begins - 1
        assert str(score.first_date) == str(stock.dates[begins].astype("datetime64[D]"))
        assert str(score.last_date) == "2013-03-01"
        assert 70 < score.coverage["80"] < 90


def test_series_that_it_never_learns_from_are_judged_whole(tmp_path: Path) -> None:
    done, _ = published(quick_recipe(data={"unseen": ["vix"]}, training={"epochs": 1}), tmp_path)
    foreign = [score for score in done.evidence.scores if not score.seen]
    assert [(score.instrument, score.horizon) for score in foreign] == [("vix", 1), ("vix", 2)]
    [vix] = unseen_series.unseen_series(["vix"])
    assert {score.origins for score in foreign} == {len(vix.prices) - 20 - 2 + 1}
    assert "instruments that were not trained on (vix)" in done.evidence.summary
    manifest = store.read(done.path).manifest
    assert "vix" not in [each.name for each in manifest.data]
    assert vix.sha256 not in [each.sha256 for each in manifest.data]


def test_forecasts_of_a_published_model_scale_with_the_price(
    quick_models: tuple[Path, TrainingResult, list[str]],
) -> None:
    models, _, _ = quick_models
    artifact = store.read_version(models, "quick", "1")
    windows = np.array(artifact.manifest.golden.windows)
    forecaster = load(artifact, "onnx")
    assert forecaster.forecast(1000 * windows) == pytest.approx(1000 * forecaster.forecast(windows), rel=1e-5)


def golden_of(artifact: Artifact) -> F64:
    return np.array(artifact.manifest.golden.forecasts)


def test_the_seed_decides_the_forecasts(quick_models: tuple[Path, TrainingResult, list[str]]) -> None:
    """A second version of the same recipe, and another seed's as a third: each becomes the current one."""
    models, first, _ = quick_models
    again, _ = published(quick_recipe(), models)
    assert again.path == models / "quick" / "2"
    other, _ = published(quick_recipe(seed=2), models)
    assert (other.path.name, store.current(models, "quick")) == ("3", "3")
    golden = {path: golden_of(store.read(path)) for path in (first.path, again.path, other.path)}
    assert golden[again.path] == pytest.approx(golden[first.path], rel=1e-5)
    assert golden[other.path] != pytest.approx(golden[first.path], rel=1e-5)
    assert store.versions(models, "quick") == ["1", "2", "3"]


def test_the_tutorials_kind_of_network_is_published(tmp_path: Path) -> None:
    wanted = quick_recipe("quick-tutorial")
    done, said = published(wanted, tmp_path, "small-tutorial")
    manifest = check_artifact(tmp_path, "small-tutorial", "1")
    assert said == ["GOOG: 2148 prices", f"{round(0.8 * 2148) - 20 - 21} windows to train on; 0 to validate"]
    assert manifest.calibration == Calibration(center="network", offsets=[[]])
    assert manifest.levels == []
    assert manifest.network.units == [4, 4]
    prices = sample_stocks.sample_stocks(["GOOG"], "open")[0].prices[: round(0.8 * 2148) - 21]
    (seen,) = manifest.training_ranges
    assert seen.quantity == "price"
    assert seen.low == pytest.approx(prices[:-1].min())  # of the windows: the last price is in none
    assert seen.high == pytest.approx(prices[:-1].max())
    assert done.evidence.point_skill == "none"
    assert done.evidence.scores[0].pinball is None


def test_simulated_paths_alone_teach_and_judge(tmp_path: Path) -> None:
    done, said = published(quick_recipe("quick-simulated"), tmp_path, "simulated")
    manifest = check_artifact(tmp_path, "simulated", "1")
    per_path = 100 - 20 - 2 + 1
    assert said == [f"{20 * per_path} windows to train on, the simulated ones anew for each epoch; 0 to validate"]
    (provenance,) = manifest.data
    assert (provenance.name, provenance.source, provenance.rows) == ("synthetic", SIMULATED.format(20) + ANEW, 2000)
    assert (provenance.first_date, provenance.last_date) == (None, None)
    for score in done.evidence.scores:
        assert (score.instrument, score.origins, score.first_date) == ("synthetic", 4 * per_path, None)
        assert (score.skill, score.copy_ratio) == (0, 0)
    assert manifest.calibration.center == "last_price"
    assert done.evidence.summary.startswith("No point skill was found, so the median repeats the last price.")


def test_the_tutorials_own_files_give_the_tutorials_own_baseline(google_prices: Path, tmp_path: Path) -> None:
    """Two epochs instead of a hundred: what is checked is the data, the windows and the price to beat."""
    files = {
        "stocks": [],
        "csv": google_prices / "Google_Stock_Price_Train.csv",
        "test_csv": google_prices / "Google_Stock_Price_Test.csv",
        "column": "Open",
    }
    done, said = published(recipe.load("tutorial", data=files, training={"epochs": 2}), tmp_path, "google")
    assert "1198 windows to train on; 0 to validate" in said
    (score,) = done.evidence.scores
    assert score.rmse_last_price == pytest.approx(8.42, abs=0.005)
    assert score.origins == 20
    assert (str(score.first_date), str(score.last_date)) == ("2017-01-03", "2017-01-31")
    assert score.rmse > score.rmse_last_price
    assert done.evidence.point_skill == "none"
    manifest = store.read(done.path).manifest
    assert manifest.network.parameters == 71_051
    assert manifest.recipe["data"]["csv"] == "Google_Stock_Price_Train.csv"
    assert manifest.recipe["data"]["test_csv"] == "Google_Stock_Price_Test.csv"
    (seen,) = manifest.training_ranges
    assert (seen.low, seen.high) == (279.12, 816.68)


# What stops a run, and what it leaves


def untrained(spoil: Callable[[keras.Model], None]) -> Callable[..., Curve]:
    """Instead of fitting, does this to the network."""

    def fit(network: keras.Model, *_: object) -> Curve:
        spoil(network)
        return Curve(loss=[float("nan")], validation=[], best=0)

    return fit


def to_nan(network: keras.Model) -> None:
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])


@pytest.mark.parametrize("name", ["quick", "quick-tutorial"])
def test_a_network_that_has_diverged_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(train, "fit_network", untrained(to_nan))
    with pytest.raises(NetworkError, match=r"^training has diverged: the network answers NaN; a lower learning rate"):
        published(quick_recipe(name), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_network_whose_answers_are_no_prices_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite answers, but returns whose exponential is not."""

    def to_huge(network: keras.Model) -> None:
        network.layers[-1].bias.assign(1e7 * np.ones(10))

    monkeypatch.setattr(train, "fit_network", untrained(to_huge))
    with pytest.raises(NetworkError):
        published(quick_recipe(calibration={"center": "network"}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("the disk is full")])
def test_whatever_interrupts_a_run_leaves_the_models_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    (tmp_path / "quick" / "1").mkdir(parents=True)
    (tmp_path / "quick" / "current").write_text("1\n")

    def write(*_: object) -> None:
        raise interruption

    monkeypatch.setattr(train, "fit_network", untrained(lambda _: None))
    monkeypatch.setattr(report, "write_report", write)
    with pytest.raises(type(interruption) if isinstance(interruption, Exception) else KeyboardInterrupt):
        published(quick_recipe(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "quick").iterdir()) == ["1", "current"]
    assert store.current(tmp_path, "quick") == "1"


def test_forms_that_differ_are_refused() -> None:
    rows = np.random.default_rng(1).normal(size=(5, 8, 1)).astype(np.float32)
    network = architectures.build_network(recipe.Network(units=[3]), (8, 1), 2)
    other = architectures.build_network(recipe.Network(units=[3]), (8, 1), 2)
    train._compare(network, OnnxEngine(to_onnx(network)), rows)
    with pytest.raises(NetworkError, match=r"^the ONNX form of the network differs from Keras by \d"):
        train._compare(network, OnnxEngine(to_onnx(other)), rows)


@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_a_network_that_an_engine_could_not_serve_is_not_published(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(artifact: Artifact, wanted: Any) -> None:
        if wanted == engine:
            raise ArtifactError(artifact.path / "model.onnx", "the golden forecasts are not met: they differ by 1e-3")

    monkeypatch.setattr(train, "fit_network", untrained(lambda _: None))
    monkeypatch.setattr(report, "write_report", lambda *_: None)
    monkeypatch.setattr(train, "load", refuse)
    with pytest.raises(
        NetworkError, match=rf"^the engine {engine} cannot serve it: model\.onnx: the golden forecasts are not met"
    ):
        published(quick_recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# Prices that cannot be used: no network is built for them


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(architectures, "build_network", build)


def refusal(wanted: Recipe, models: Path) -> str:
    with pytest.raises(DataError) as caught:
        published(wanted, models)
    assert "\n" not in str(caught.value)
    assert not models.exists() or list(models.iterdir()) == []
    return str(caught.value)


PRICES = random_walk(1, 600, 1)[0].prices


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("price", [0.0, -3.5])
@pytest.mark.parametrize("row", [0, 99, 399, 450, 510, 599], ids=lambda row: f"row {row}")
def test_a_price_that_the_transform_cannot_take_is_named_wherever_it_is(tmp_path: Path, price: float, row: int) -> None:
    """In the training block, and in those after it, where it would only come to light after training."""
    prices = PRICES.copy()
    prices[row] = price
    message = refusal(from_csv("quick", write_csv(tmp_path / "spread.csv", prices)), tmp_path / "models")
    assert message.startswith(f"spread, price {row + 1}: a price must be positive for this model")


@pytest.mark.usefixtures("no_network")
def test_a_price_that_the_transform_cannot_take_in_the_test_file_is_named(tmp_path: Path) -> None:
    before = write_csv(tmp_path / "before.csv", PRICES[:500])
    after = write_csv(tmp_path / "after.csv", np.array([100.0, 0.0, 101.0]), "2005-01-01")
    message = refusal(from_csv("quick", before, after), tmp_path / "models")
    assert "a price must be positive for this model" in message


@pytest.mark.usefixtures("no_network")
def test_a_jump_no_price_makes_is_named(tmp_path: Path) -> None:
    prices = PRICES.copy()
    prices[200] *= 1e7
    message = refusal(from_csv("quick", write_csv(tmp_path / "jump.csv", prices)), tmp_path / "models")
    assert message == "jump, price 201: the price changes by more than a factor of 1e+06 in one step"


@pytest.mark.usefixtures("no_network")
def test_a_test_file_that_begins_too_early_is_refused(tmp_path: Path) -> None:
    before = write_csv(tmp_path / "before.csv", PRICES[:500])
    for first in ("2001-01-01", "2002-05-15"):  # the latter being the day on which the other ends
        after = write_csv(tmp_path / "after.csv", PRICES[500:], first)
        assert refusal(from_csv("quick-tutorial", before, after), tmp_path / "models") == (
            "after.csv, column Close: begins before before.csv, column Close ends; a test file must follow it"
        )


@pytest.mark.usefixtures("no_network")
def test_too_few_prices_are_named(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "short.csv", PRICES[:20])
    assert refusal(from_csv("quick-tutorial", short), tmp_path / "models").startswith("short: 20 prices are too few")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "simulated",
    [{"synthetic_paths": 1}, {"synthetic_paths": 2}, {"synthetic_paths": 20, "synthetic_length": 100}],
    ids=["one path", "two paths", "paths as long as a window"],
)
def test_too_few_or_too_short_simulated_paths_are_refused(tmp_path: Path, simulated: dict[str, int]) -> None:
    window = 100 if "synthetic_length" in simulated else 20
    refusal(quick_recipe("quick-simulated", window=window, data=simulated), tmp_path / "models")


@pytest.mark.usefixtures("no_network")
def test_a_calibration_block_that_is_too_short_is_refused_before_training(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "short.csv", PRICES[:200])
    wanted = from_csv("quick", short, training={"patience": None}, calibration={"center": "last_price"})
    assert refusal(wanted, tmp_path / "models").startswith("the calibration block: is empty")


@pytest.mark.usefixtures("no_network")
def test_patience_without_a_window_to_validate_on_is_refused_before_training(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "short.csv", PRICES[:200])
    wanted = from_csv("quick", short, levels=[], calibration={"center": "network"})
    assert "validation" in refusal(wanted, tmp_path / "models")


# Parts of a run


def test_the_ranges_are_what_the_training_block_has_of_each_quantity() -> None:
    wanted = quick_recipe()
    blocks, _ = split_blocks([random_walk_series()], [], wanted.split, wanted.window, wanted.horizon)
    _, transform = preparation.fit_scaler(wanted, blocks.train)
    volatility, step = train._ranges(transform, blocks.train)
    assert (volatility.quantity, step.quantity) == ("volatility", "last step")
    (samples,) = blocks.train
    found = transform.encode(samples.windows).volatility[:, 0, 0]
    steps = np.log(samples.windows[:, -1] / samples.windows[:, -2]) / found
    assert (volatility.low, volatility.high) == pytest.approx((found.min(), found.max()))
    assert (step.low, step.high) == pytest.approx((steps.min(), steps.max()))


def test_the_recipe_is_recorded_without_anybodys_directories(tmp_path: Path) -> None:
    recorded = provenance.recorded(from_csv("quick", tmp_path / "prices.csv", tmp_path / "later.csv"))
    assert (recorded["data"]["csv"], recorded["data"]["test_csv"]) == ("prices.csv", "later.csv")
    assert str(tmp_path) not in json.dumps(recorded)
    assert provenance.recorded(quick_recipe()) == quick_recipe().model_dump(mode="json")


def test_an_instrument_is_a_series_with_its_first_and_last_date() -> None:
    found = provenance.instrument(make_series([1.0, 2.0, 3.0], "made", daily_dates("2001-01-30", 3)))
    assert (found.name, found.source, found.rows) == ("made", "made.csv, column Close", 3)
    assert (str(found.first_date), str(found.last_date)) == ("2001-01-30", "2001-02-01")
    undated = provenance.instrument(make_series([1.0, 2.0]))
    assert (undated.first_date, undated.last_date) == (None, None)


def test_simulated_paths_are_one_instrument() -> None:
    one, other = random_walk(2, 50, 1)
    assert provenance.paths([], anew=False) == []
    (found,) = provenance.paths([one, other], anew=True)
    assert (found.name, found.source, found.rows) == ("synthetic", SIMULATED.format(2) + ANEW, 100)
    assert found.sha256 != provenance.paths([other, one], anew=True)[0].sha256


def test_paths_that_an_echo_state_network_is_solved_on_are_not_drawn_anew(tmp_path: Path) -> None:
    wanted = quick_recipe(
        "quick-simulated", network={"cell": "echo_state"}, training={"batch": 32}, calibration={"center": "network"}
    )
    done, said = published(wanted, tmp_path, "echo")
    assert "anew" not in said[0]
    (simulated,) = store.read(done.path).manifest.data
    assert simulated.source == SIMULATED.format(20)


def test_libraries_are_those_that_train_and_pricecasts_own_version() -> None:
    found = provenance.libraries()
    assert found.keys() == {"pricecast", "python", "backend", found["backend"], *provenance.LIBRARIES}
    assert found["pricecast"] == app.__version__
    assert found["backend"] == keras.config.backend()
    assert found["keras"] == keras.__version__
    assert re.match(r"\d+\.\d+", found[found["backend"]])


# Golden windows


def test_golden_windows_are_the_last_of_the_first_series() -> None:
    forecaster = log_return_forecaster(zero_outputs)
    long, single = random_walk_series(60), make_series(random_walk(1, 21, 5)[0].prices, "single")
    tests = [backtest.run_backtest(forecaster, make_samples(each, 20, 1), [0.5], []) for each in (long, single)]
    golden = train._golden(forecaster, tests)
    windows = [long.prices[39:59], single.prices[:20], long.prices[38:58], long.prices[37:57]]
    assert golden.windows == [window.tolist() for window in windows]
    assert np.array(golden.forecasts)[:, 0, 0] == pytest.approx([window[-1] for window in windows])


def test_the_recipes_of_these_tests_are_like_those_that_are_shipped() -> None:
    for ours, shipped in (("quick", "default"), ("quick-tutorial", "tutorial")):
        one, other = quick_recipe(ours), recipe.load(shipped)
        assert one.transform == other.transform
        assert one.training.loss == other.training.loss
        assert one.calibration == other.calibration
        assert bool(one.network.dropout) == bool(other.network.dropout)
        assert bool(one.network.head) == bool(other.network.head)
        assert one.training.schedule == other.training.schedule
        assert bool(one.data.synthetic_paths) == bool(other.data.synthetic_paths)
    assert not list((ROOT / "training" / "recipes").glob("quick*"))
