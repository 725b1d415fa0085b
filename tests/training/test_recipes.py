"""Tests of the shipped recipes: each is trained, published and served, and differs from its base in one idea."""

from pathlib import Path
from typing import Any

import pytest

from app.artifact import store
from app.settings import Settings
from tests.app.api.app_client import running_app
from training.commands import train
from training.fitting.progress import ProgressLines
from training.recipe_files import load_recipe, recipe_names

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_keras_batch_sizes")]

PRICES = [100 * 1.01 ** (i % 7) for i in range(60)]


@pytest.mark.usefixtures("no_report", "no_baselines")
@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_is_trained_published_and_served(name: str, tmp_path: Path) -> None:
    data: dict[str, Any] = {"synthetic_paths": 0, "unseen": []}
    training = {} if load_recipe(name).network.cell == "echo_state" else {"epochs": 1, "batch": 512}
    trained = load_recipe(name, data=data, training=training)
    train.train_and_publish(trained, name, tmp_path, ProgressLines(), lambda _: None)
    manifest = store.read_version(tmp_path, name, "1").manifest
    assert (manifest.network.cell, manifest.network.structure) == (trained.network.cell, trained.network.structure)

    with running_app(Settings(models_dir=tmp_path, default_model=name, engine="onnx")) as client:
        answer = client.post(
            "/predict", json={"prices": PRICES, "horizon": trained.horizon, "levels": trained.levels}
        ).json()
        assert answer["model"] == {"name": name, "version": "1"}
        assert len(answer["forecast"]) == trained.horizon
        for level in trained.levels:
            lower, upper = (answer["intervals"][str(level)][side] for side in ("lower", "upper"))
            ordered = zip(lower, answer["forecast"], upper, strict=True)
            assert all(low <= middle <= high for low, middle, high in ordered)
        page = client.get(f"/models/{name}").json()
        assert page["name"] == name


def flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a recipe by their dotted keys."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


# For each compared recipe: its base, and the keys that implement its idea.
IDEAS = {
    "plain-rnn-large": ("plain-rnn", {"network.recurrent_scale"}),
    "plain-rnn-orthogonal": ("plain-rnn", {"network.recurrent_scale"}),
    "irnn": (
        "plain-rnn-orthogonal",
        {*("network." + key for key in ("activation", "recurrent", "recurrent_scale")), "training.clip_norm"},
    ),
    "truncated": ("plain-rnn-large", {"network.truncate"}),
    "clipped": ("plain-rnn-large", {"training.clip_norm"}),
    "penalised": ("plain-rnn-large", {"network.penalty.recurrent_l2"}),
    "gru": ("plain-rnn", {"network.cell", "network.recurrent_scale"}),
    "lstm": ("gru", {"network.cell", "network.forget_bias"}),
    "many-to-many": ("lstm", {"network.structure", "network.forget_bias"}),
    "dropout": ("lstm", {"network.dropout", "network.recurrent_dropout", "network.forget_bias"}),
    "encoder-decoder": ("gru", {"network.structure"}),
    "one-to-many": ("gru", {"network.structure"}),
    "echo-state": (
        "many-to-many",
        {"network.cell", "network.units", "network.reservoir", "training.learning_rate", "training.epochs"},
    ),
}


@pytest.mark.parametrize("name", IDEAS)
def test_compared_recipe_differs_from_its_base_in_its_idea_only(name: str) -> None:
    base, idea = IDEAS[name]
    mine, other = (flatten(load_recipe(each).model_dump()) for each in (name, base))
    differing = {key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)}
    assert {"network.reservoir" if key.startswith("network.reservoir") else key for key in differing} == (
        idea | {"description"}
    )


def test_every_compared_recipe_has_an_idea() -> None:
    assert {*IDEAS, "plain-rnn", "default", "tutorial"} == set(recipe_names())
