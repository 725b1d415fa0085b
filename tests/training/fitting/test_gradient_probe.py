"""The gradient probe, and what it shows: gradients vanish, explode or are preserved, as the tutorial says."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from app.artifact.arrays import F32, F64
from tests.training.fitting.progress_recorder import ProgressRecorder
from training.fitting import gradient_probe
from training.fitting.gradient_probe import GradientFlow, GradientProbe, first_to_last_ratio
from training.fitting.training_loop import fit_network
from training.networks import architectures
from training.recipe import Recipe

pytestmark = pytest.mark.slow

STEPS = 59
FEW_STEPS = 8  # for tests in which the distance does not matter


def make_recipe(network: dict[str, Any], **changes: Any) -> Recipe:
    content: dict[str, Any] = {
        "description": "probe",
        "data": {"stocks": ["GOOG"]},
        "transform": {"kind": "log_return"},
        "network": {"units": [32]} | network,
        "training": {"loss": "mse", "epochs": 1},
    }
    return Recipe.model_validate(content | changes)


def random_samples(recipe: Recipe, rows: int = 64, steps: int = STEPS) -> tuple[F32, F64]:
    rng = np.random.default_rng(1)
    targets = recipe.horizon * (steps if recipe.network.has_output_per_step else 1)
    return rng.normal(size=(rows, steps, 1)).astype(np.float32), rng.normal(size=(rows, targets))


def untrained(recipe: Recipe, steps: int = STEPS) -> keras.Model:
    keras.utils.set_random_seed(1)
    return architectures.build_network(recipe.network, (steps, 1), recipe.horizon, horizon=recipe.horizon)


def measured(network: dict[str, Any], steps: int = STEPS, **changes: Any) -> GradientFlow:
    recipe = make_recipe(network, **changes)
    return GradientProbe(untrained(recipe, steps), recipe, random_samples(recipe, steps=steps)).measure("before")


def state_gradients(flow: GradientFlow) -> F64:
    assert flow.state_gradients is not None
    return flow.state_gradients


SMALL_WEIGHTS = {"cell": "rnn", "recurrent_scale": 0.5}
LARGE_WEIGHTS = {"cell": "rnn", "recurrent_scale": 2.5}

# Findings


def test_gradients_vanish_with_small_recurrent_weights() -> None:
    flow = measured(SMALL_WEIGHTS)
    assert 0 < flow.ratio < 1e-6
    assert 0 < first_to_last_ratio(state_gradients(flow)) < 1e-6
    assert flow.verdict == "vanishing"


def test_gradients_explode_with_large_recurrent_weights() -> None:
    flow = measured(LARGE_WEIGHTS)
    assert flow.ratio > 1e3
    assert first_to_last_ratio(state_gradients(flow)) > 1e3
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
def test_gradients_are_preserved_by_initialization_and_gates(remedy: dict[str, Any]) -> None:
    flow = measured(remedy)
    assert 1e-2 < flow.ratio < 1e2
    assert 1e-2 < first_to_last_ratio(state_gradients(flow)) < 1e2
    assert flow.verdict == "stable"


def test_state_gradients_need_an_open_forget_gate() -> None:
    open_gate, default_gate = (
        first_to_last_ratio(state_gradients(measured({"forget_bias": bias}, 30))) for bias in (3.0, 1.0)
    )
    assert default_gate < 0.05 * open_gate


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("units", "truncate"), [([8], 1), ([8, 6], 3)])
def test_truncation_cuts_gradients_at_the_configured_step(cell: str, units: list[int], truncate: int) -> None:
    flow = measured({"cell": cell, "units": units, "truncate": truncate}, FEW_STEPS)
    assert (flow.loss_gradients[:-truncate] == 0).all()
    assert (flow.loss_gradients[-truncate:] > 0).all()
    assert flow.ratio == 0


def test_truncation_replaces_an_explosion_by_a_cut() -> None:
    flow, free = measured(LARGE_WEIGHTS | {"truncate": 10}), measured(LARGE_WEIGHTS)
    assert flow.verdict == "cut"
    assert flow.loss_gradients[-10:] == pytest.approx(free.loss_gradients[-10:], rel=1e-4)
    assert flow.gradient_norm < 1e-3 * free.gradient_norm


def test_loss_gradients_many_to_many_use_the_last_output_only() -> None:
    """With the loss of all outputs, every input would matter at least for the output of its own step."""
    recipe = make_recipe({"structure": "many_to_many"} | SMALL_WEIGHTS)
    network = untrained(recipe)
    inputs, targets = random_samples(recipe)
    flow = GradientProbe(network, recipe, (inputs, targets)).measure("before")
    alone = GradientProbe(network, make_recipe(SMALL_WEIGHTS), (inputs, targets[:, -1:])).measure("before")
    assert flow.verdict == "vanishing"
    assert flow.loss_gradients == pytest.approx(alone.loss_gradients, rel=1e-4)
    # The norm is that of training, which uses all outputs.
    assert flow.gradient_norm != pytest.approx(alone.gradient_norm, rel=0.05)


def test_loss_gradients_many_to_many_truncated_are_cut() -> None:
    free, cut = (measured({"structure": "many_to_many", "truncate": k}, FEW_STEPS) for k in (None, 3))
    assert (cut.loss_gradients[:-3] == 0).all()
    assert cut.loss_gradients[-3:] == pytest.approx(free.loss_gradients[-3:], rel=1e-4)
    assert cut.gradient_norm != pytest.approx(free.gradient_norm, rel=1e-3)


def test_step_norm_is_bounded_by_clipping() -> None:
    for clip in ({"clip_norm": 0.5}, {"clip_weight_norm": 0.5}, {"clip_value": 0.5}):
        flow = measured(LARGE_WEIGHTS, 30, training={"loss": "mse", "epochs": 1} | clip)
        arrays, numbers = 5, 32 + 32 * 32 + 32 + 32 + 1
        limit = {"clip_norm": 0.5, "clip_weight_norm": 0.5 * arrays**0.5, "clip_value": 0.5 * numbers**0.5}
        (key,) = clip
        assert flow.gradient_norm > 100
        assert flow.step_norm <= 1.001 * limit[key]


def test_step_norm_without_clipping_is_the_gradient_norm() -> None:
    flow = measured(LARGE_WEIGHTS, FEW_STEPS)
    assert flow.step_norm == pytest.approx(flow.gradient_norm, rel=1e-5)


def test_penalty_reduces_the_spectral_radius() -> None:
    def trained(penalty: dict[str, float]) -> GradientFlow:
        recipe = make_recipe(
            {"cell": "rnn", "recurrent_scale": 1.5, "penalty": penalty},
            training={"loss": "mse", "batch": 64, "epochs": 10, "learning_rate": 0.1},
        )
        network = untrained(recipe, FEW_STEPS)
        network.compile = partial(network.compile, run_eagerly=True)  # faster than tracing a graph for ten steps
        samples = random_samples(recipe, 64, FEW_STEPS)
        fit_network(network, recipe.training, [0.5], samples, None, ProgressRecorder())
        return GradientProbe(network, recipe, samples).measure("after")

    free, penalized = trained({}), trained({"recurrent_l2": 1.0})
    assert free.spectral_radius is not None
    assert penalized.spectral_radius is not None
    assert free.spectral_radius > 1.3
    assert penalized.spectral_radius < 1
    assert penalized.ratio < free.ratio


def test_measure_one_to_many_has_no_state_gradients() -> None:
    flow = measured({"structure": "one_to_many"}, FEW_STEPS, horizon=3)
    assert 1e-2 < flow.ratio < 1e2
    assert (flow.state_gradients, flow.spectral_radius) == (None, None)


def test_measure_encoder_decoder_probes_the_encoder() -> None:
    flow = measured({"cell": "rnn", "structure": "encoder_decoder", "recurrent_scale": 0.5}, FEW_STEPS, horizon=3)
    assert len(state_gradients(flow)) == FEW_STEPS
    assert flow.ratio < 0.1


def test_measure_reservoir_has_its_spectral_radius() -> None:
    flow = measured({"cell": "echo_state", "units": [50]}, FEW_STEPS)
    assert flow.spectral_radius == pytest.approx(0.9, abs=1e-3)


# Accuracy of the measurement


def jacobians(network: keras.Model, window: F32) -> list[F64]:
    """The Jacobians ∂h_T/∂h_t (U, U) of a plain network for each step of one window, computed with NumPy."""
    kernel, recurrent, bias = (np.asarray(each, dtype=np.float64) for each in network.layers[0].get_weights())
    states, state = [], np.zeros(recurrent.shape[0])
    for x in window:
        state = np.tanh(x @ kernel + state @ recurrent + bias)
        states.append(state)
    products = [np.eye(len(state))]
    for each in reversed(states[1:]):
        products.append(products[-1] @ (np.diag(1 - each**2) @ recurrent.T))
    return products[::-1]


def test_state_gradients_match_the_product_of_jacobians() -> None:
    recipe = make_recipe({"cell": "rnn", "recurrent_scale": 0.9})
    network = untrained(recipe, FEW_STEPS)
    inputs, targets = random_samples(recipe, 64, FEW_STEPS)
    found = state_gradients(GradientProbe(network, recipe, (inputs, targets)).measure("before"))
    each = [[np.sum(matrix**2) for matrix in jacobians(network, window)] for window in inputs]
    expected = np.sqrt(np.mean(each, axis=0) / 32)
    assert found == pytest.approx(expected, rel=0.15)  # 64 windows with one random direction each, in 32 dimensions


def test_loss_gradients_match_finite_differences() -> None:
    recipe = make_recipe({"cell": "gru", "units": [5]})
    network = untrained(recipe, FEW_STEPS)
    inputs, targets = random_samples(recipe, 64, FEW_STEPS)
    found = GradientProbe(network, recipe, (inputs, targets)).measure("before").loss_gradients
    for step in (FEW_STEPS - 1, FEW_STEPS - 4):
        losses = []
        for change in (-1e-2, 1e-2):
            moved = inputs.copy()
            moved[:, step] += change
            losses.append((np.asarray(network(moved), dtype=np.float64) - targets)[:, 0] ** 2)
        assert found[step] == pytest.approx(np.mean(np.abs(losses[1] - losses[0])) / 2e-2, rel=1e-2)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_measure_leaves_the_network_unchanged(cell: str) -> None:
    """The random generators of dropout are unchanged too, so that later training is the same."""
    recipe = make_recipe({"cell": cell, "units": [6, 5], "dropout": 0.1, "recurrent_dropout": 0.1, "truncate": 3})
    network = untrained(recipe, FEW_STEPS)
    assert len(network.variables) > len(network.weights)
    before = [keras.ops.convert_to_numpy(each.value) for each in network.variables]
    probe = GradientProbe(network, recipe, random_samples(recipe, 64, FEW_STEPS))
    first = probe.measure("before")
    after = [keras.ops.convert_to_numpy(each.value) for each in network.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    again = probe.measure("again")
    assert state_gradients(again) == pytest.approx(state_gradients(first))
    assert again.loss_gradients == pytest.approx(first.loss_gradients)


def test_measure_accepts_few_windows() -> None:
    recipe = make_recipe(SMALL_WEIGHTS)
    flow = GradientProbe(untrained(recipe, FEW_STEPS), recipe, random_samples(recipe, 3, FEW_STEPS)).measure("before")
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
def test_gradient_flow_verdict(loss: list[float], verdict: str) -> None:
    assert GradientFlow("", np.array(loss), None, 1.0, 1.0, None).verdict == verdict


@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_measure_diverged_network_explodes_without_radius(weight: float) -> None:
    recipe = make_recipe(SMALL_WEIGHTS)
    network = untrained(recipe, FEW_STEPS)
    network.set_weights([np.full_like(each, weight) for each in network.get_weights()])
    flow = GradientProbe(network, recipe, random_samples(recipe, 64, FEW_STEPS)).measure("after")
    assert (flow.verdict, flow.spectral_radius) == ("exploding", None)
    assert np.isnan([flow.ratio, first_to_last_ratio(state_gradients(flow))]).all()


def test_randomize_zero_readout_changes_only_zeros() -> None:
    network = architectures.build_network(make_recipe(SMALL_WEIGHTS).network, (STEPS, 1), 3, np.arange(3.0))
    gradient_probe.randomize_zero_readout(network)
    kernel, bias = network.layers[-1].get_weights()
    assert kernel.all()
    assert bias.tolist() == [0, 1, 2]
    gradient_probe.randomize_zero_readout(network)
    assert np.array_equal(network.layers[-1].get_weights()[0], kernel)
