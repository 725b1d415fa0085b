"""Echo state networks: the reservoir's weights and memory, and the ridge regression of the readout."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from app.artifact.arrays import F32, F64
from tests.training.fitting.progress_recorder import ProgressRecorder
from training.fitting.training_loop import solve_echo_state
from training.networks import architectures, reservoir
from training.recipe import Recipe, ReservoirConfig

pytestmark = pytest.mark.slow

STEPS, UNITS = 40, 30


def make_reservoir(units: int = UNITS, features: int = 1, seed: int = 1, **settings: Any) -> layers.GRU:
    keras.utils.set_random_seed(seed)
    config = ReservoirConfig.model_validate(settings)
    gru = reservoir.reservoir_layer(config, units)
    gru.build((None, STEPS, features))
    reservoir.draw_reservoir(gru, config)
    return gru


def recurrent(gru: layers.GRU) -> F64:
    """(U, U) recurrent weights of the candidate. Those of the gates are 0."""
    return np.asarray(gru.get_weights()[1][:, 2 * gru.units :], dtype=np.float64)


def random_windows(rows: int = 5, features: int = 1, steps: int = STEPS) -> F32:
    return np.random.default_rng(3).normal(size=(rows, steps, features)).astype(np.float32)


# The reservoir


@pytest.mark.parametrize("units", [1, 10, 100])
@pytest.mark.parametrize("radius", [0.3, 0.9, 1.25])
def test_draw_reservoir_spectral_radius(radius: float, units: int) -> None:
    weights = recurrent(make_reservoir(units, spectral_radius=radius))
    assert reservoir.spectral_radius(weights) == pytest.approx(radius, abs=1e-3)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_draw_reservoir_sparsity(sparsity: float) -> None:
    assert np.mean(recurrent(make_reservoir(100, sparsity=sparsity)) == 0) == pytest.approx(sparsity, abs=0.02)


def test_draw_reservoir_input_scale() -> None:
    kernel = make_reservoir(150, features=3, input_scale=0.2).get_weights()[0][:, 300:]
    assert 0.19 < kernel.max() <= 0.2
    assert -0.2 <= kernel.min() < -0.19


@pytest.mark.parametrize("leak", [0.05, 0.3, 1.0])
def test_reservoir_layer_computes_a_leaky_reservoir(leak: float) -> None:
    gru = make_reservoir(features=2, leak=leak, spectral_radius=1.1)
    kernel, matrix = (np.asarray(each[:, 2 * UNITS :], dtype=np.float64) for each in gru.get_weights()[:2])
    window = random_windows(features=2)
    state = np.zeros((len(window), UNITS))
    for t in range(STEPS):
        state = (1 - leak) * state + leak * np.tanh(window[:, t] @ kernel + state @ matrix)
    assert np.asarray(gru(window)) == pytest.approx(state, abs=1e-5)
    assert np.ptp(state) > 0.1


def test_reservoir_forgets_its_initial_state() -> None:
    """The echo state property: equal inputs lead to the same state from any initial state."""
    gru, window = make_reservoir(100, spectral_radius=0.9), random_windows(1, steps=200)
    starts = np.random.default_rng(1).uniform(-1, 1, (2, 1, 100)).astype(np.float32)
    ends = [[np.asarray(gru(window[:, :steps], initial_state=[start])) for start in starts] for steps in (1, 60, 200)]
    apart = [float(np.abs(a - b).max()) for a, b in ends]
    assert apart[0] > 0.1
    assert apart[1] < 1e-2 * apart[0]
    assert apart[2] < 1e-5


def test_reservoir_large_spectral_radius_does_not_forget() -> None:
    gru, silence = make_reservoir(100, spectral_radius=2.0), np.zeros((1, 200, 1), dtype=np.float32)
    starts = np.random.default_rng(1).uniform(-1, 1, (2, 1, 100)).astype(np.float32)
    a, b = (np.asarray(gru(silence, initial_state=[start])) for start in starts)
    assert np.abs(a - b).max() > 0.1


def test_draw_reservoir_several_are_independent() -> None:
    matrix = recurrent(make_reservoir(10, count=3, sparsity=0.0))
    blocks = [matrix[i : i + 10, i : i + 10] for i in (0, 10, 20)]
    assert sum(np.count_nonzero(block) for block in blocks) == np.count_nonzero(matrix) == 300
    assert not np.array_equal(blocks[0], blocks[1])
    assert [reservoir.spectral_radius(block) for block in blocks] == pytest.approx([0.9] * 3, abs=1e-3)


def test_draw_reservoir_seed_determines_the_weights() -> None:
    one, two, other = (recurrent(make_reservoir(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


# The readout


def make_recipe(units: int = UNITS, **content: Any) -> Recipe:
    whole: dict[str, Any] = {
        "description": "echo state",
        "window": STEPS + 1,
        "horizon": 2,
        "data": {"stocks": ["AAPL"]},
        "transform": {"kind": "log_return"},
        "network": {"cell": "echo_state", "units": [units]},
        "training": {"loss": "mse", "epochs": 1},
    }
    return Recipe.model_validate(whole | content)


QUANTILES: dict[str, Any] = {
    "training": {"loss": "pinball", "epochs": 1},
    "levels": [80],
    "split": {"calibration": 0.2, "test": 0.2},
}


def solved(recipe: Recipe, inputs: F32, targets: F64, validation: tuple[F32, F64] | None = None) -> keras.Model:
    keras.utils.set_random_seed(1)
    outputs = recipe.horizon * len(recipe.quantiles)
    network = architectures.build_network(recipe.network, inputs.shape[1:], outputs)
    solve_echo_state(network, recipe, (inputs, targets), validation, ProgressRecorder())
    return network


def recall_samples(rows: int = 300) -> tuple[F32, F64]:
    """Windows, and their values one and two steps before the end as targets."""
    window = random_windows(rows)
    return window, window[:, [-2, -3], 0].astype(np.float64)


def test_solve_echo_state_recalls_earlier_inputs() -> None:
    inputs, targets = recall_samples(600)
    network = solved(make_recipe(100), inputs[:400], targets[:400])
    outputs = np.asarray(network(inputs[400:]))
    assert np.mean((outputs - targets[400:]) ** 2) < 0.05 * targets.var()


def test_solve_echo_state_readout_is_ridge_regression() -> None:
    inputs, targets = recall_samples()
    recipe = make_recipe(network={"cell": "echo_state", "units": [8], "reservoir": {"ridge": 0.01}})
    network = solved(recipe, inputs, targets)
    states = np.asarray(network.layers[0](inputs), dtype=np.float64)
    centered, centered_targets = states - states.mean(axis=0), targets - targets.mean(axis=0)
    kernel = np.linalg.solve(centered.T @ centered + len(inputs) * 0.01 * np.eye(8), centered.T @ centered_targets)
    found, bias = network.layers[-1].get_weights()
    assert found == pytest.approx(kernel, rel=1e-3, abs=1e-5)
    assert bias == pytest.approx(targets.mean(axis=0) - states.mean(axis=0) @ kernel, abs=1e-5)


def test_solve_echo_state_averages_several_reservoirs() -> None:
    inputs, targets = recall_samples()
    two = make_recipe(network={"cell": "echo_state", "units": [8], "reservoir": {"count": 2}})
    network = solved(two, inputs, targets)
    states = np.asarray(network.layers[0](inputs), dtype=np.float64)  # (N, 16)
    outputs = []
    for part in (states[:, :8], states[:, 8:]):
        centered = part - part.mean(axis=0)
        gram = centered.T @ centered + len(inputs) * two.network.reservoir_or_default.ridge * np.eye(8)
        outputs.append(targets.mean(axis=0) + centered @ np.linalg.solve(gram, centered.T @ targets))
    assert np.asarray(network(inputs)) == pytest.approx(np.mean(outputs, axis=0), abs=1e-4)


def test_solve_echo_state_many_to_many_skips_the_washout() -> None:
    """Targets before the washout are meaningless, and the last steps alone are too few for the readout's fit."""
    inputs, _ = recall_samples(100)
    per_step = np.zeros((100, STEPS, 2))
    per_step[:, 1:, 0] = inputs[:, :-1, 0]
    per_step[:, :10] = 1e6
    network = {"cell": "echo_state", "units": [60], "structure": "many_to_many", "reservoir": {"washout": 10}}
    outputs = np.asarray(solved(make_recipe(network=network), inputs, per_step.reshape(100, -1))(inputs))
    assert np.mean((outputs - per_step[:, -1]) ** 2) < 0.05


def test_solve_echo_state_adds_residual_quantiles() -> None:
    inputs, targets = recall_samples()
    targets = targets + np.random.default_rng(4).normal(size=targets.shape)
    recipe = make_recipe(**QUANTILES)
    outputs = np.asarray(solved(recipe, inputs, targets)(inputs)).reshape(-1, 2, 3)
    below = np.mean(targets[:, :, None] < outputs, axis=0)
    assert below == pytest.approx(np.array([recipe.quantiles] * 2), abs=0.01)


@pytest.mark.parametrize("structure", ["many_to_one", "many_to_many"])
def test_solve_readout_runs_the_reservoir_once(structure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = recall_samples()
    if structure == "many_to_many":
        targets = np.tile(targets[:, None], (1, STEPS, 1)).reshape(len(targets), -1)
    keras.utils.set_random_seed(1)
    recipe = make_recipe(network={"cell": "echo_state", "units": [8], "structure": structure}, **QUANTILES)
    network = architectures.build_network(recipe.network, (STEPS, 1), 6)
    batches = []
    predict = keras.Model.predict_on_batch

    def spy(model: keras.Model, batch: F32) -> Any:
        batches.append(len(batch))
        return predict(model, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", spy)
    monkeypatch.setattr(reservoir, "CHUNK_WINDOWS", 128)
    found = reservoir.solve_readout(network, recipe, (inputs, targets))
    assert batches == [128, 128, 44]
    outputs = np.asarray(network(inputs), dtype=np.float64)
    assert found == pytest.approx(outputs, abs=1e-5)
    curve = solve_echo_state(network, recipe, (inputs, targets), None, ProgressRecorder())
    assert curve.loss[0] == pytest.approx(pinball(outputs.reshape(-1, 2, 3), targets[:, -2:], recipe), rel=1e-4)
    assert curve.validation == []


def pinball(outputs: F64, targets: F64, recipe: Recipe) -> float:
    error = targets[:, :, None] - outputs
    quantiles = np.array(recipe.quantiles)
    return float(np.maximum(quantiles * error, (quantiles - 1) * error).mean())


def test_solve_echo_state_reports_one_epoch_and_keeps_weights() -> None:
    inputs, targets = recall_samples(400)
    progress = ProgressRecorder()
    keras.utils.set_random_seed(1)
    recipe = make_recipe(**QUANTILES)
    network = architectures.build_network(recipe.network, (STEPS, 1), 6)
    frozen = network.layers[0].get_weights()
    curve = solve_echo_state(network, recipe, (inputs[:300], targets[:300]), (inputs[300:], targets[300:]), progress)
    assert progress.epochs == [(0, 1, curve.loss[0], curve.validation[0])]
    assert curve.best == 0
    assert all(np.array_equal(a, b) for a, b in zip(frozen, network.layers[0].get_weights(), strict=True))
    assert network.layers[0].trainable is False
