"""The command `gradients`: the measurements, the table and the chart."""

from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.artifact.arrays import F32
from app.artifact.evidence import Curve
from tests.training.conftest import RECIPES
from tests.training.fitting.progress_recorder import ProgressRecorder
from training.commands import gradients
from training.fitting.gradient_probe import GradientFlow
from training.fitting.preparation import prepare_training
from training.fitting.training_loop import fit_network
from training.recipe import Recipe
from training.recipe_files import load_recipe

pytestmark = pytest.mark.slow


def quick_recipe(**overrides: Any) -> Recipe:
    """The quick recipe without simulated paths."""
    return load_recipe(str(RECIPES / "quick.toml"), data={"synthetic_paths": 0}, **overrides)


def fit_eagerly(network: keras.Model, *arguments: Any) -> Curve:
    """Fit without a graph, because tracing one takes longer than a few steps without it."""
    network.compile = partial(network.compile, run_eagerly=True)
    return fit_network(network, *arguments)


def test_compare_gradients_measures_before_and_during_training(tmp_path: Path) -> None:
    plain = quick_recipe(network={"cell": "rnn"}, training={"patience": None, "epochs": 3, "batch": 4096})
    unrolled = quick_recipe(
        network={"cell": "rnn", "structure": "one_to_many"}, training={"patience": None, "batch": 4096}
    )
    echo_state = quick_recipe(
        network={"cell": "echo_state", "head": 0},
        training={"epochs": 1, "schedule": "constant", "batch": 32, "clip_norm": None, "patience": None},
    )
    lines: list[str] = []
    progress = ProgressRecorder()
    recipes = {"plain": plain, "unrolled": unrolled, "echo-state": echo_state}
    chart = gradients.compare_gradients(recipes, tmp_path / "out", lambda epochs: progress, lines.append)
    assert chart.read_bytes().startswith(b"\x89PNG")
    rows = [line.split() for line in lines[-1].splitlines() if line.split()[:1] and line.split()[0] in recipes]
    moments = ["before", "epoch", "epoch"]
    assert [row[:2] for row in rows] == [
        *([name, moment] for name in ("plain", "unrolled") for moment in moments),
        ["echo-state", "before"],
        ["echo-state", "epoch"],
    ]
    assert "unused" in lines[-1]
    assert progress.batches
    assert [epoch[0] for epoch in progress.epochs] == [0, 1, 2, 0, 1, 0]


def probed(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> tuple[list[GradientFlow], list[list[F32]]]:
    """The measurements, and the weights before and after training."""
    weights = []

    def spy(network: keras.Model, *arguments: Any) -> Curve:
        weights.append(network.get_weights())
        curve = fit_eagerly(network, *arguments)
        weights.append(network.get_weights())
        return curve

    monkeypatch.setattr(gradients, "fit_network", spy)
    return gradients.probe_training(recipe, ProgressRecorder(), lambda _: None), weights


def test_probe_training_does_not_change_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The initial weights and the weights after training with dropout are equal to the last digit."""
    recipe = quick_recipe(window=10, network={"dropout": 0.2, "recurrent_dropout": 0.2}, training={"batch": 1024})
    flows, (start, end) = probed(recipe, monkeypatch)
    assert flows[0].ratio > 0
    keras.utils.set_random_seed(recipe.seed)
    prepared = prepare_training(recipe, lambda _: None)
    network = prepared.build_network(recipe)
    assert all(np.array_equal(a, b) for a, b in zip(start, network.get_weights(), strict=True))
    fit_eagerly(network, recipe.training, recipe.quantiles, prepared.train, prepared.validation, ProgressRecorder())
    assert all(np.array_equal(a, b) for a, b in zip(end, network.get_weights(), strict=True))


@pytest.mark.parametrize(("best", "moments"), [(0, ["before", "epoch 1"]), (2, ["before", "epoch 1", "epoch 3"])])
def test_probe_training_last_measures_the_kept_weights(
    best: int, moments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit_and_stop(network: keras.Model, *arguments: Any) -> Curve:
        *_, progress = arguments
        for epoch in range(4):
            progress.on_epoch_end(epoch, 9, 1.0, None)
        network.set_weights([np.full_like(each, 0.01) for each in network.get_weights()])
        return Curve(loss=[1.0] * 4, validation=[1.0] * 4, best=best)

    monkeypatch.setattr(gradients, "fit_network", fit_and_stop)
    recipe = quick_recipe(network={"cell": "rnn"})
    recorder = ProgressRecorder()
    recorder.is_open = True
    flows = gradients.probe_training(recipe, recorder, lambda _: None)
    assert [flow.moment for flow in flows] == moments
    if best:
        assert flows[-1].spectral_radius == pytest.approx(4 * 0.01)


def test_gradient_table_shows_a_diverged_network() -> None:
    not_finite = np.full(8, np.nan)
    flow = GradientFlow("after", not_finite, not_finite, np.nan, np.nan, None)
    recipe = quick_recipe()
    (row,) = gradients.gradient_table({"diverged": [flow]}, {"diverged": recipe}).rows
    assert row[2:6] == ["nan", "exploding", "nan", "-"]
