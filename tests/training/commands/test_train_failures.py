"""Tests of training runs that fail: nothing is published, and the message names the cause."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.artifact import store
from app.artifact.evidence import Curve
from app.artifact.store import Artifact
from app.errors import ArtifactError
from app.inference.engines.onnx import OnnxEngine
from tests.training.commands.conftest import train_quick
from tests.training.conftest import quick_recipe, recipe_from_csv, write_csv
from training.commands import train
from training.commands.train import NetworkError
from training.data.series import DataError
from training.data.simulator import random_walk
from training.networks import architectures
from training.networks.onnx_export import to_onnx
from training.recipe import NetworkConfig, Recipe
from training.reports import report

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_keras_batch_sizes")]


def replace_fit(change: Callable[[keras.Model], None]) -> Callable[..., Curve]:
    """Return a replacement for `fit_network` that only applies `change` to the network."""

    def fit(network: keras.Model, *_: object) -> Curve:
        change(network)
        return Curve(loss=[float("nan")], validation=[], best=0)

    return fit


def set_weights_to_nan(network: keras.Model) -> None:
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])


@pytest.mark.parametrize("name", ["quick", "quick-tutorial"])
def test_train_diverged_network_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(train, "fit_network", replace_fit(set_weights_to_nan))
    with pytest.raises(
        NetworkError, match=r"^training has diverged: the network's outputs are not finite; try a lower learning_rate"
    ):
        train_quick(quick_recipe(name), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_train_infinite_forecasts_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs are finite, but the exponentials of these returns are not."""

    def set_huge_bias(network: keras.Model) -> None:
        network.layers[-1].bias.assign(1e7 * np.ones(10))

    monkeypatch.setattr(train, "fit_network", replace_fit(set_huge_bias))
    with pytest.raises(NetworkError):
        train_quick(quick_recipe(calibration={"center": "network"}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("the disk is full")])
def test_train_interrupted_leaves_models_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    (tmp_path / "quick" / "1").mkdir(parents=True)
    (tmp_path / "quick" / "current").write_text("1\n")

    def write(*_: object) -> None:
        raise interruption

    monkeypatch.setattr(train, "fit_network", replace_fit(lambda _: None))
    monkeypatch.setattr(report, "write_report", write)
    with pytest.raises(type(interruption) if isinstance(interruption, Exception) else KeyboardInterrupt):
        train_quick(quick_recipe(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "quick").iterdir()) == ["1", "current"]
    assert store.current_version(tmp_path, "quick") == "1"


def test_check_same_outputs_different_networks_is_rejected() -> None:
    rows = np.random.default_rng(1).normal(size=(5, 8, 1)).astype(np.float32)
    network = architectures.build_network(NetworkConfig(units=[3]), (8, 1), 2)
    other = architectures.build_network(NetworkConfig(units=[3]), (8, 1), 2)
    train._check_same_outputs(network, OnnxEngine(to_onnx(network)), rows)
    with pytest.raises(
        NetworkError, match=r"^the outputs of the ONNX network differ from those of the Keras network by \d"
    ):
        train._check_same_outputs(network, OnnxEngine(to_onnx(other)), rows)


@pytest.mark.usefixtures("no_report", "no_baselines")
@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_train_unservable_network_is_not_published(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(artifact: Artifact, loaded_by: Any) -> None:
        if loaded_by == engine:
            raise ArtifactError(
                artifact.path / "model.onnx", "the golden forecasts are not reproduced: they differ by 1e-3"
            )

    monkeypatch.setattr(train, "fit_network", replace_fit(lambda _: None))
    monkeypatch.setattr(train, "load_forecaster", reject)
    with pytest.raises(
        NetworkError,
        match=rf"^the {engine} engine cannot serve the network: model\.onnx: the golden forecasts are not reproduced",
    ):
        train_quick(quick_recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(architectures, "build_network", build)


def rejection(recipe: Recipe, models: Path) -> str:
    with pytest.raises(DataError) as caught:
        train_quick(recipe, models)
    assert "\n" not in str(caught.value)
    assert not models.exists() or list(models.iterdir()) == []
    return str(caught.value)


PRICES = random_walk(1, 600, 1)[0].prices


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("price", [0.0, -3.5])
@pytest.mark.parametrize("row", [0, 99, 399, 450, 510, 599], ids=lambda row: f"row {row}")
def test_train_invalid_price_is_named_in_any_block(tmp_path: Path, price: float, row: int) -> None:
    """Without this check, an invalid price in a later block would be detected only after training."""
    prices = PRICES.copy()
    prices[row] = price
    message = rejection(recipe_from_csv("quick", write_csv(tmp_path / "spread.csv", prices)), tmp_path / "models")
    assert message.startswith(f"spread, price {row + 1}: a price must be positive for this model")


@pytest.mark.usefixtures("no_network")
def test_train_invalid_price_in_test_file_is_named(tmp_path: Path) -> None:
    before = write_csv(tmp_path / "before.csv", PRICES[:500])
    after = write_csv(tmp_path / "after.csv", np.array([100.0, 0.0, 101.0]), "2005-01-01")
    message = rejection(recipe_from_csv("quick", before, after), tmp_path / "models")
    assert "a price must be positive for this model" in message


@pytest.mark.usefixtures("no_network")
def test_train_impossible_price_jump_is_named(tmp_path: Path) -> None:
    prices = PRICES.copy()
    prices[200] *= 1e7
    message = rejection(recipe_from_csv("quick", write_csv(tmp_path / "jump.csv", prices)), tmp_path / "models")
    assert message == "jump, price 201: the price changes by more than a factor of 1e+06 in one step"


@pytest.mark.usefixtures("no_network")
def test_train_overlapping_test_file_is_rejected(tmp_path: Path) -> None:
    before = write_csv(tmp_path / "before.csv", PRICES[:500])
    for first in ("2001-01-01", "2002-05-15"):  # the second is the last day of the first file
        after = write_csv(tmp_path / "after.csv", PRICES[500:], first)
        assert rejection(recipe_from_csv("quick-tutorial", before, after), tmp_path / "models") == (
            "after.csv, column Close: begins before before.csv, column Close ends; a test file must follow it"
        )


@pytest.mark.usefixtures("no_network")
def test_train_too_few_prices_are_rejected(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "short.csv", PRICES[:20])
    assert rejection(recipe_from_csv("quick-tutorial", short), tmp_path / "models").startswith(
        "short: 20 prices are too few"
    )


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "simulated",
    [{"synthetic_paths": 1}, {"synthetic_paths": 2}, {"synthetic_paths": 20, "synthetic_length": 100}],
    ids=["one path", "two paths", "paths as long as a window"],
)
def test_train_too_few_or_short_paths_are_rejected(tmp_path: Path, simulated: dict[str, int]) -> None:
    window = 100 if "synthetic_length" in simulated else 20
    rejection(quick_recipe("quick-simulated", window=window, data=simulated), tmp_path / "models")


@pytest.mark.usefixtures("no_network")
def test_train_empty_calibration_block_is_rejected(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "short.csv", PRICES[:200])
    used = recipe_from_csv("quick", short, training={"patience": None}, calibration={"center": "last_price"})
    assert rejection(used, tmp_path / "models").startswith("the calibration block: is empty")


@pytest.mark.usefixtures("no_network")
def test_train_patience_without_validation_block_is_rejected(tmp_path: Path) -> None:
    short = write_csv(tmp_path / "short.csv", PRICES[:200])
    used = recipe_from_csv("quick", short, levels=[], calibration={"center": "network"})
    assert "validation" in rejection(used, tmp_path / "models")
