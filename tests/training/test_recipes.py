"""Each recipe that is shipped, through all of its life: trained in seconds, published, loaded by the service, asked."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app.artifact import store
from app.settings import Settings
from tests.app.api.conftest import start
from training import recipe, report, run
from training.fit import Lines

pytestmark = pytest.mark.slow

PRICES = [100 * 1.01 ** (i % 7) for i in range(60)]


@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_recipe_is_trained_published_and_served(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "write", lambda *_: None)  # takes longer than all the rest, and has tests of its own
    few: dict[str, Any] = {"synthetic_paths": 0, "unseen": []}
    budget = {} if recipe.load(name).network.cell == "echo_state" else {"epochs": 1, "batch": 512}
    wanted = recipe.load(name, data=few, training=budget)
    run.run(wanted, name, tmp_path, Lines(), lambda _: None)
    manifest = store.read_version(tmp_path, name, "1").manifest
    assert (manifest.network.cell, manifest.network.structure) == (wanted.network.cell, wanted.network.structure)

    for client in start(Settings(models_dir=tmp_path, default_model=name, engine="onnx")):
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


def test_recipes_of_the_laboratory_differ_in_one_idea_and_share_the_rest() -> None:
    ideas = [recipe.load(name) for name in recipe.names() if name not in ("default", "tutorial")]
    assert len(ideas) >= 10
    for one, other in pairwise(ideas):
        for key in ("seed", "window", "horizon", "levels", "data", "split", "transform", "calibration"):
            assert getattr(one, key) == getattr(other, key)
        assert one.training.loss == other.training.loss
