"""Each recipe that is shipped, through all of its life: trained in seconds, published, loaded by the service, asked."""

from pathlib import Path
from typing import Any

import pytest

from app.artifact import store
from app.settings import Settings
from tests.app.api.app_client import running_app
from training import recipe_files
from training.commands import train
from training.fitting.progress import ProgressLines
from training.reports import report

pytestmark = pytest.mark.slow

PRICES = [100 * 1.01 ** (i % 7) for i in range(60)]


@pytest.mark.parametrize("name", recipe_files.recipe_names())
def test_a_shipped_recipe_is_trained_published_and_served(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        report, "write_report", lambda *_: None
    )  # takes longer than all the rest, and has tests of its own
    few: dict[str, Any] = {"synthetic_paths": 0, "unseen": []}
    budget = {} if recipe_files.load_recipe(name).network.cell == "echo_state" else {"epochs": 1, "batch": 512}
    wanted = recipe_files.load_recipe(name, data=few, training=budget)
    train.train_and_publish(wanted, name, tmp_path, ProgressLines(), lambda _: None)
    manifest = store.read_version(tmp_path, name, "1").manifest
    assert (manifest.network.cell, manifest.network.structure) == (wanted.network.cell, wanted.network.structure)

    with running_app(Settings(models_dir=tmp_path, default_model=name, engine="onnx")) as client:
        answer = client.post(
            "/predict", json={"prices": PRICES, "horizon": wanted.horizon, "levels": wanted.levels}
        ).json()
        assert answer["model"] == {"name": name, "version": "1"}
        assert len(answer["forecast"]) == wanted.horizon
        for level in wanted.levels:
            lower, upper = (answer["intervals"][str(level)][side] for side in ("lower", "upper"))
            ordered = zip(lower, answer["forecast"], upper, strict=True)
            assert all(low <= middle <= high for low, middle, high in ordered)
        page = client.get(f"/models/{name}").json()
        assert page["name"] == name


def leaves(content: dict[str, Any], place: str = "") -> dict[str, Any]:
    """The values of a recipe by their keys, those of its tables joined by dots."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= leaves(value, f"{place}{key}.") if isinstance(value, dict) else {place + key: value}
    return found


# Of each recipe of the laboratory: the one that it starts from, and the keys of its idea.
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
def test_a_recipe_of_the_laboratory_differs_in_its_idea_alone(name: str) -> None:
    base, idea = IDEAS[name]
    mine, other = (leaves(recipe_files.load_recipe(each).model_dump()) for each in (name, base))
    differing = {key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)}
    assert {"network.reservoir" if key.startswith("network.reservoir") else key for key in differing} == (
        idea | {"description"}
    )


def test_every_recipe_of_the_laboratory_has_its_idea() -> None:
    assert {*IDEAS, "plain-rnn", "default", "tutorial"} == set(recipe_files.recipe_names())
