"""Gradients through time: what the tutorial says of them, measured on fixed seeds."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.artifact.evidence import Curve
from app.artifact.transform import F32, F64
from tests.training.conftest import RECIPES
from tests.training.fitting.test_training_loop import ProgressRecorder
from training import recipe
from training.commands import gradients
from training.fitting import gradient_probe
from training.fitting.gradient_probe import GradientFlow, GradientProbe, first_over_last
from training.fitting.preparation import prepare_training
from training.fitting.training_loop import fit_network
from training.networks import architectures
from training.recipe import Recipe

pytestmark = pytest.mark.slow  # step by step, so that no graph need be made; half a second each all the same

STEPS = 59
FEW = 8  # steps, where the distance does not matter


def a_recipe(network: dict[str, Any], **changes: Any) -> Recipe:
    content: dict[str, Any] = {
        "description": "made",
        "data": {"stocks": ["GOOG"]},
        "transform": {"kind": "log_return"},
        "network": {"units": [32]} | network,
        "training": {"loss": "mse", "epochs": 1},
    }
    return Recipe.model_validate(content | changes)


def lessons(wanted: Recipe, rows: int = 64, steps: int = STEPS) -> tuple[F32, F64]:
    rng = np.random.default_rng(1)
    answers = wanted.horizon * (steps if wanted.network.every_step else 1)
    return rng.normal(size=(rows, steps, 1)).astype(np.float32), rng.normal(size=(rows, answers))


def untrained(wanted: Recipe, steps: int = STEPS) -> keras.Model:
    keras.utils.set_random_seed(1)
    return architectures.build_network(wanted.network, (steps, 1), wanted.horizon, horizon=wanted.horizon)


def measured(network: dict[str, Any], steps: int = STEPS, **changes: Any) -> GradientFlow:
    wanted = a_recipe(network, **changes)
    return GradientProbe(untrained(wanted, steps), wanted, lessons(wanted, steps=steps)).measure("before")


def state_of(flow: GradientFlow) -> F64:
    assert flow.state is not None
    return flow.state


SMALL = {"cell": "rnn", "recurrent_scale": 0.5}
LARGE = {"cell": "rnn", "recurrent_scale": 2.5}

# The facts


def test_small_recurrent_weights_let_gradients_vanish() -> None:
    flow = measured(SMALL)
    assert 0 < flow.ratio < 1e-6
    assert 0 < first_over_last(state_of(flow)) < 1e-6
    assert flow.verdict == "vanishing"


def test_large_recurrent_weights_let_gradients_explode() -> None:
    flow = measured(LARGE)
    assert flow.ratio > 1e3
    assert first_over_last(state_of(flow)) > 1e3
    assert flow.verdict == "exploding"


@pytest.mark.parametrize(
    "remedy",
    [
        {"cell": "rnn", "recurrent": "orthogonal", "recurrent_scale": 1.1},
        {"cell": "rnn", "recurrent": "identity", "activation": "relu"},
        {"cell": "lstm", "forget_bias": 3.0},
    ],
    ids=["orthogonal", "identity", "lstm"],
)
def test_initialization_and_gates_keep_gradients(remedy: dict[str, Any]) -> None:
    flow = measured(remedy)
    assert 1e-2 < flow.ratio < 1e2
    assert 1e-2 < first_over_last(state_of(flow)) < 1e2
    assert flow.verdict == "stable"


def test_a_forget_gate_that_starts_half_open_forgets() -> None:
    open_gate, usual = (first_over_last(state_of(measured({"forget_bias": bias}, 30))) for bias in (3.0, 1.0))
    assert usual < 0.05 * open_gate


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("units", "truncate"), [([8], 1), ([8, 6], 3)])
def test_truncation_cuts_exactly_there(cell: str, units: list[int], truncate: int) -> None:
    flow = measured({"cell": cell, "units": units, "truncate": truncate}, FEW)
    assert (flow.loss[:-truncate] == 0).all()
    assert (flow.loss[-truncate:] > 0).all()
    assert flow.ratio == 0


def test_truncation_makes_of_an_explosion_a_cut() -> None:
    flow, free = measured(LARGE | {"truncate": 10}), measured(LARGE)
    assert flow.verdict == "cut"
    assert flow.loss[-10:] == pytest.approx(free.loss[-10:], rel=1e-4)
    assert flow.norm < 1e-3 * free.norm


def test_where_every_step_answers_it_is_what_the_last_answer_owes_to_each() -> None:
    """By the sum over all answers each input would matter, to that of its own step."""
    wanted = a_recipe({"structure": "many_to_many"} | SMALL)
    network = untrained(wanted)
    inputs, targets = lessons(wanted)
    flow = GradientProbe(network, wanted, (inputs, targets)).measure("before")
    alone = GradientProbe(network, a_recipe(SMALL), (inputs, targets[:, -1:])).measure("before")
    assert flow.verdict == "vanishing"
    assert flow.loss == pytest.approx(alone.loss, rel=1e-4)
    assert flow.norm != pytest.approx(alone.norm, rel=0.05)  # which is of training, and so of all answers


def test_where_every_step_answers_the_last_answer_is_cut_too() -> None:
    free, cut = (measured({"structure": "many_to_many", "truncate": k}, FEW) for k in (None, 3))
    assert (cut.loss[:-3] == 0).all()
    assert cut.loss[-3:] == pytest.approx(free.loss[-3:], rel=1e-4)
    assert cut.norm != pytest.approx(free.norm, rel=1e-3)


def test_clipping_bounds_the_step_however_long_the_gradient() -> None:
    for clip in ({"clip_norm": 0.5}, {"clip_weight_norm": 0.5}, {"clip_value": 0.5}):
        flow = measured(LARGE, 30, training={"loss": "mse", "epochs": 1} | clip)
        arrays, numbers = 5, 32 + 32 * 32 + 32 + 32 + 1
        limit = {"clip_norm": 0.5, "clip_weight_norm": 0.5 * arrays**0.5, "clip_value": 0.5 * numbers**0.5}
        (key,) = clip
        assert flow.norm > 100
        assert flow.step <= 1.001 * limit[key]


def test_without_clipping_the_step_is_the_gradient() -> None:
    flow = measured(LARGE, FEW)
    assert flow.step == pytest.approx(flow.norm, rel=1e-5)


def test_a_penalty_pulls_the_spectral_radius_down() -> None:
    def trained(penalty: dict[str, float]) -> GradientFlow:
        wanted = a_recipe(
            {"cell": "rnn", "recurrent_scale": 1.5, "penalty": penalty},
            training={"loss": "mse", "epochs": 20, "learning_rate": 0.005},
        )
        network = untrained(wanted)
        taught = lessons(wanted, 320)
        fit_network(network, wanted.training, [0.5], taught, None, ProgressRecorder())
        return GradientProbe(network, wanted, taught).measure("after")

    free, penalised = trained({}), trained({"recurrent_l2": 1.0})
    assert free.radius is not None
    assert penalised.radius is not None
    assert free.radius > 1.3
    assert penalised.radius < 1
    assert penalised.ratio < free.ratio


def test_one_to_many_reads_the_window_at_once() -> None:
    flow = measured({"structure": "one_to_many"}, FEW, horizon=3)
    assert 1e-2 < flow.ratio < 1e2
    assert (flow.state, flow.radius) == (None, None)


def test_an_encoder_is_measured_and_not_the_decoder() -> None:
    flow = measured({"cell": "rnn", "structure": "encoder_decoder", "recurrent_scale": 0.5}, FEW, horizon=3)
    assert len(state_of(flow)) == FEW
    assert flow.ratio < 0.1


def test_a_reservoir_has_the_spectral_radius_asked_for() -> None:
    flow = measured({"cell": "echo_state", "units": [50]}, FEW)
    assert flow.radius == pytest.approx(0.9, abs=1e-3)


# The measure


def jacobians(network: keras.Model, window: F32) -> list[F64]:
    """(U, U) of ∂h_T/∂h_t of a plain network, by hand, for each step of one window."""
    kernel, recurrent, bias = (np.asarray(each, dtype=np.float64) for each in network.layers[0].get_weights())
    states, state = [], np.zeros(recurrent.shape[0])
    for x in window:
        state = np.tanh(x @ kernel + state @ recurrent + bias)
        states.append(state)
    found = [np.eye(len(state))]
    for each in reversed(states[1:]):
        found.append(found[-1] @ (np.diag(1 - each**2) @ recurrent.T))
    return found[::-1]


def test_the_state_gradient_is_that_of_the_product_of_all_steps() -> None:
    wanted = a_recipe({"cell": "rnn", "recurrent_scale": 0.9})
    network = untrained(wanted, FEW)
    inputs, targets = lessons(wanted, 64, FEW)
    found = state_of(GradientProbe(network, wanted, (inputs, targets)).measure("before"))
    each = [[np.sum(matrix**2) for matrix in jacobians(network, window)] for window in inputs]
    expected = np.sqrt(np.mean(each, axis=0) / 32)
    assert found == pytest.approx(expected, rel=0.15)  # random ways of 32


def test_the_loss_gradient_is_that_of_finite_differences() -> None:
    wanted = a_recipe({"cell": "gru", "units": [5]})
    network = untrained(wanted, FEW)
    inputs, targets = lessons(wanted, 64, FEW)
    found = GradientProbe(network, wanted, (inputs, targets)).measure("before").loss
    for step in (FEW - 1, FEW - 4):
        nudged = []
        for way in (-1e-2, 1e-2):
            moved = inputs.copy()
            moved[:, step] += way
            nudged.append((np.asarray(network(moved), dtype=np.float64) - targets)[:, 0] ** 2)
        assert found[step] == pytest.approx(np.mean(np.abs(nudged[1] - nudged[0])) / 2e-2, rel=1e-2)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_measuring_changes_nothing(cell: str) -> None:
    """Nor the states of what draws for dropout: the same is dropped afterwards as would have been."""
    wanted = a_recipe({"cell": cell, "units": [6, 5], "dropout": 0.1, "recurrent_dropout": 0.1, "truncate": 3})
    network = untrained(wanted, FEW)
    assert len(network.variables) > len(network.weights)
    before = [keras.ops.convert_to_numpy(each.value) for each in network.variables]
    gauge = GradientProbe(network, wanted, lessons(wanted, 64, FEW))
    first = gauge.measure("before")
    after = [keras.ops.convert_to_numpy(each.value) for each in network.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    again = gauge.measure("again")
    assert state_of(again) == pytest.approx(state_of(first))
    assert again.loss == pytest.approx(first.loss)


def test_fewer_windows_are_enough() -> None:
    wanted = a_recipe(SMALL)
    flow = GradientProbe(untrained(wanted, FEW), wanted, lessons(wanted, 3, FEW)).measure("before")
    assert 1e-4 < flow.ratio < 0.1


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        ([0.0, 0.0, 2.0, 1.0], "cut"),
        ([0.0, 1e-30, 1e-20, 1.0], "vanishing"),
        ([0.5, 0.5, 1.0], "stable"),
        ([1e4, 1.0, 1.0], "exploding"),
        ([1.0, 1.0, 0.0], "exploding"),
        ([0.0, 0.0, 0.0], "vanishing"),
        ([np.nan, np.nan, np.nan], "exploding"),
        ([0.0, np.nan, 1.0], "exploding"),
        ([np.inf, np.inf, np.inf], "exploding"),
    ],
)
def test_verdicts(loss: list[float], verdict: str) -> None:
    assert GradientFlow("", np.array(loss), None, 1.0, 1.0, None).verdict == verdict


@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_a_network_that_has_diverged_explodes_and_has_no_radius(weight: float) -> None:
    wanted = a_recipe(SMALL)
    network = untrained(wanted, FEW)
    network.set_weights([np.full_like(each, weight) for each in network.get_weights()])
    flow = GradientProbe(network, wanted, lessons(wanted, 64, FEW)).measure("after")
    assert (flow.verdict, flow.radius) == ("exploding", None)
    (row,) = gradients.gradient_table({"diverged": [flow]}, {"diverged": wanted}).rows
    assert row[2:6] == ["nan", "exploding", "nan", "-"]


# The verb


def test_recipes_are_measured_before_and_while_they_train(tmp_path: Path) -> None:
    quick = recipe.load(
        str(RECIPES / "quick.toml"), data={"synthetic_paths": 0}, training={"patience": None, "epochs": 3}
    )
    plain = quick.model_copy(update={"network": quick.network.model_copy(update={"cell": "rnn"})})
    path = recipe.load(
        str(RECIPES / "quick.toml"),
        data={"synthetic_paths": 0},
        network={"structure": "one_to_many"},
        training={"patience": None},
    )
    echo = recipe.load(
        str(RECIPES / "quick.toml"),
        data={"synthetic_paths": 0},
        network={"cell": "echo_state", "head": 0},
        training={"epochs": 1, "schedule": "constant", "batch": 32, "clip_norm": None, "patience": None},
    )
    said: list[str] = []
    shown = ProgressRecorder()
    named = {"plain": plain, "path": path, "echo": echo}
    picture = gradients.compare_gradients(named, tmp_path / "out", lambda epochs: shown, said.append)
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = [line.split() for line in said[-1].splitlines() if line.split()[:1] and line.split()[0] in named]
    moments = ["before", "epoch", "epoch"]
    assert [row[:2] for row in rows] == [
        *([name, moment] for name in ("plain", "path") for moment in moments),
        ["echo", "before"],
        ["echo", "epoch"],
    ]
    assert "unused" in said[-1]
    assert shown.batches
    assert [told[0] for told in shown.epochs] == [0, 1, 2, 0, 1, 0]


def watched(wanted: Recipe, monkeypatch: pytest.MonkeyPatch) -> tuple[list[GradientFlow], list[list[F32]]]:
    """What was measured, and the weights that training began and ended with."""
    weights = []

    def spy(network: keras.Model, *how: Any) -> Curve:
        weights.append(network.get_weights())
        curve = fit_network(network, *how)
        weights.append(network.get_weights())
        return curve

    monkeypatch.setattr(gradients, "fit_network", spy)
    return gradients.probe_training(wanted, ProgressRecorder(), lambda _: None), weights


def test_what_is_watched_is_trained_as_if_it_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same readout of zeros, and dropping the same: to the last digit."""
    wanted = recipe.load(
        str(RECIPES / "quick.toml"), data={"synthetic_paths": 0}, network={"dropout": 0.2, "recurrent_dropout": 0.2}
    )
    flows, (start, end) = watched(wanted, monkeypatch)
    assert flows[0].ratio > 0
    keras.utils.set_random_seed(wanted.seed)
    made = prepare_training(wanted, lambda _: None)
    network = made.network(wanted)
    assert all(np.array_equal(a, b) for a, b in zip(start, network.get_weights(), strict=True))
    fit_network(network, wanted.training, wanted.quantiles, made.train, made.validation, ProgressRecorder())
    assert all(np.array_equal(a, b) for a, b in zip(end, network.get_weights(), strict=True))


@pytest.mark.parametrize(("best", "moments"), [(0, ["before", "epoch 1"]), (2, ["before", "epoch 1", "epoch 3"])])
def test_the_last_measurement_is_of_the_weights_that_are_kept(
    best: int, moments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(network: keras.Model, *how: Any) -> Curve:
        *_, show = how
        for epoch in range(4):
            show.epoch(epoch, 9, 1.0, None)
        network.set_weights([np.full_like(each, 0.01) for each in network.get_weights()])
        return Curve(loss=[1.0] * 4, validation=[1.0] * 4, best=best)

    monkeypatch.setattr(gradients, "fit_network", stopped)
    wanted = recipe.load(str(RECIPES / "quick.toml"), data={"synthetic_paths": 0}, network={"cell": "rnn"})
    recorder = ProgressRecorder()
    recorder.open = True
    flows = gradients.probe_training(wanted, recorder, lambda _: None)
    assert [flow.moment for flow in flows] == moments
    if best:
        assert flows[-1].radius == pytest.approx(4 * 0.01)


def test_a_readout_of_zeros_is_drawn_and_another_left() -> None:
    network = architectures.build_network(a_recipe(SMALL).network, (STEPS, 1), 3, np.arange(3.0))
    gradient_probe.draw_readout(network)
    kernel, bias = network.layers[-1].get_weights()
    assert kernel.all()
    assert bias.tolist() == [0, 1, 2]
    gradient_probe.draw_readout(network)
    assert np.array_equal(network.layers[-1].get_weights()[0], kernel)
