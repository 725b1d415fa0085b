"""Echo state networks: a reservoir as described that forgets where it began, and the readout of least squares."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from app.artifact.transform import F32, F64
from tests.training.fitting.test_training_loop import ProgressRecorder
from training.fitting.training_loop import solve_echo_state
from training.networks import architectures, reservoir
from training.recipe import Recipe, Reservoir

pytestmark = pytest.mark.slow

STEPS, UNITS = 40, 30


def a_reservoir(units: int = UNITS, features: int = 1, seed: int = 1, **how: Any) -> layers.GRU:
    keras.utils.set_random_seed(seed)
    recipe = Reservoir.model_validate(how)
    gru = reservoir.reservoir_layer(recipe, units)
    gru.build((None, STEPS, features))
    reservoir.draw_reservoir(gru, recipe)
    return gru


def recurrent(gru: layers.GRU) -> F64:
    """(U, U) of the candidate; the gates see nothing."""
    return np.asarray(gru.get_weights()[1][:, 2 * gru.units :], dtype=np.float64)


def a_window(rows: int = 5, features: int = 1, steps: int = STEPS) -> F32:
    return np.random.default_rng(3).normal(size=(rows, steps, features)).astype(np.float32)


# The reservoir


@pytest.mark.parametrize("units", [1, 10, 100])
@pytest.mark.parametrize("radius", [0.3, 0.9, 1.25])
def test_the_spectral_radius_is_as_asked(radius: float, units: int) -> None:
    weights = recurrent(a_reservoir(units, spectral_radius=radius))
    assert reservoir.spectral_radius(weights) == pytest.approx(radius, abs=1e-3)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_so_many_recurrent_weights_are_zero(sparsity: float) -> None:
    assert np.mean(recurrent(a_reservoir(100, sparsity=sparsity)) == 0) == pytest.approx(sparsity, abs=0.02)


def test_input_weights_fill_the_range_asked_for() -> None:
    kernel = a_reservoir(150, features=3, input_scale=0.2).get_weights()[0][:, 300:]
    assert 0.19 < kernel.max() <= 0.2
    assert -0.2 <= kernel.min() < -0.19


@pytest.mark.parametrize("leak", [0.05, 0.3, 1.0])
def test_a_gru_computes_a_leaky_reservoir(leak: float) -> None:
    gru = a_reservoir(features=2, leak=leak, spectral_radius=1.1)
    kernel, matrix = (np.asarray(each[:, 2 * UNITS :], dtype=np.float64) for each in gru.get_weights()[:2])
    window = a_window(features=2)
    state = np.zeros((len(window), UNITS))
    for t in range(STEPS):
        state = (1 - leak) * state + leak * np.tanh(window[:, t] @ kernel + state @ matrix)
    assert np.asarray(gru(window)) == pytest.approx(state, abs=1e-5)
    assert np.ptp(state) > 0.1


def test_it_forgets_where_it_began() -> None:
    """The echo state property: whatever the first state, the same inputs lead to the same state."""
    gru, window = a_reservoir(100, spectral_radius=0.9), a_window(1, steps=200)
    starts = np.random.default_rng(1).uniform(-1, 1, (2, 1, 100)).astype(np.float32)
    ends = [[np.asarray(gru(window[:, :steps], initial_state=[start])) for start in starts] for steps in (1, 60, 200)]
    apart = [float(np.abs(a - b).max()) for a, b in ends]
    assert apart[0] > 0.1
    assert apart[1] < 1e-2 * apart[0]
    assert apart[2] < 1e-5


@pytest.mark.slow
def test_beyond_the_edge_it_does_not_forget() -> None:
    gru, silence = a_reservoir(100, spectral_radius=2.0), np.zeros((1, 200, 1), dtype=np.float32)
    starts = np.random.default_rng(1).uniform(-1, 1, (2, 1, 100)).astype(np.float32)
    a, b = (np.asarray(gru(silence, initial_state=[start])) for start in starts)
    assert np.abs(a - b).max() > 0.1


def test_several_reservoirs_do_not_see_each_other_and_differ() -> None:
    matrix = recurrent(a_reservoir(10, count=3, sparsity=0.0))
    blocks = [matrix[i : i + 10, i : i + 10] for i in (0, 10, 20)]
    assert sum(np.count_nonzero(block) for block in blocks) == np.count_nonzero(matrix) == 300
    assert not np.array_equal(blocks[0], blocks[1])
    assert [reservoir.spectral_radius(block) for block in blocks] == pytest.approx([0.9] * 3, abs=1e-3)


def test_a_seed_repeats_it() -> None:
    one, two, other = (recurrent(a_reservoir(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


# The readout


def a_recipe(units: int = UNITS, **content: Any) -> Recipe:
    whole: dict[str, Any] = {
        "description": "made",
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


def remembered(rows: int = 300) -> tuple[F32, F64]:
    """Windows, and what stood in them one and two steps before the end."""
    window = a_window(rows)
    return window, window[:, [-2, -3], 0].astype(np.float64)


@pytest.mark.slow
def test_it_recalls_what_it_has_seen() -> None:
    inputs, targets = remembered(600)
    network = solved(a_recipe(100), inputs[:400], targets[:400])
    said = np.asarray(network(inputs[400:]))
    assert np.mean((said - targets[400:]) ** 2) < 0.05 * targets.var()


def test_the_readout_is_that_of_ridge_regression() -> None:
    inputs, targets = remembered()
    recipe = a_recipe(network={"cell": "echo_state", "units": [8], "reservoir": {"ridge": 0.01}})
    network = solved(recipe, inputs, targets)
    states = np.asarray(network.layers[0](inputs), dtype=np.float64)
    centred, came = states - states.mean(axis=0), targets - targets.mean(axis=0)
    kernel = np.linalg.solve(centred.T @ centred + len(inputs) * 0.01 * np.eye(8), centred.T @ came)
    found, bias = network.layers[-1].get_weights()
    assert found == pytest.approx(kernel, rel=1e-3, abs=1e-5)
    assert bias == pytest.approx(targets.mean(axis=0) - states.mean(axis=0) @ kernel, abs=1e-5)


@pytest.mark.slow
def test_several_reservoirs_are_averaged() -> None:
    inputs, targets = remembered()
    two = a_recipe(network={"cell": "echo_state", "units": [8], "reservoir": {"count": 2}})
    network = solved(two, inputs, targets)
    states = np.asarray(network.layers[0](inputs), dtype=np.float64)  # (N, 16)
    answers = []
    for mine in (states[:, :8], states[:, 8:]):
        centred = mine - mine.mean(axis=0)
        gram = centred.T @ centred + len(inputs) * two.network.echo.ridge * np.eye(8)
        answers.append(targets.mean(axis=0) + centred @ np.linalg.solve(gram, centred.T @ targets))
    assert np.asarray(network(inputs)) == pytest.approx(np.mean(answers, axis=0), abs=1e-4)


@pytest.mark.slow
def test_every_step_after_the_washout_is_a_lesson() -> None:
    """Targets that are nonsense before the washout, and that no state knows in the last step alone."""
    inputs, _ = remembered(100)
    every = np.zeros((100, STEPS, 2))
    every[:, 1:, 0] = inputs[:, :-1, 0]
    every[:, :10] = 1e6
    network = {"cell": "echo_state", "units": [60], "structure": "many_to_many", "reservoir": {"washout": 10}}
    said = np.asarray(solved(a_recipe(network=network), inputs, every.reshape(100, -1))(inputs))
    assert np.mean((said - every[:, -1]) ** 2) < 0.05


def test_quantiles_are_those_of_the_residuals() -> None:
    inputs, targets = remembered()
    targets = targets + np.random.default_rng(4).normal(size=targets.shape)
    recipe = a_recipe(**QUANTILES)
    said = np.asarray(solved(recipe, inputs, targets)(inputs)).reshape(-1, 2, 3)
    below = np.mean(targets[:, :, None] < said, axis=0)
    assert below == pytest.approx(np.array([recipe.quantiles] * 2), abs=0.01)


@pytest.mark.parametrize("structure", ["many_to_one", "many_to_many"])
def test_the_reservoir_is_run_once_and_the_answers_are_the_networks(
    structure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, targets = remembered()
    if structure == "many_to_many":
        targets = np.tile(targets[:, None], (1, STEPS, 1)).reshape(len(targets), -1)
    keras.utils.set_random_seed(1)
    recipe = a_recipe(network={"cell": "echo_state", "units": [8], "structure": structure}, **QUANTILES)
    network = architectures.build_network(recipe.network, (STEPS, 1), 6)
    batches = []
    predict = keras.Model.predict_on_batch

    def spy(model: keras.Model, batch: F32) -> Any:
        batches.append(len(batch))
        return predict(model, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", spy)
    monkeypatch.setattr(reservoir, "CHUNK", 128)
    found = reservoir.solve_readout(network, recipe, (inputs, targets))
    assert batches == [128, 128, 44]
    said = np.asarray(network(inputs), dtype=np.float64)
    assert found == pytest.approx(said, abs=1e-5)
    curve = solve_echo_state(network, recipe, (inputs, targets), None, ProgressRecorder())
    assert curve.loss[0] == pytest.approx(pinball(said.reshape(-1, 2, 3), targets[:, -2:], recipe), rel=1e-4)
    assert curve.validation == []


def pinball(said: F64, came: F64, recipe: Recipe) -> float:
    error = came[:, :, None] - said
    quantiles = np.array(recipe.quantiles)
    return float(np.maximum(quantiles * error, (quantiles - 1) * error).mean())


def test_it_is_told_as_one_epoch_and_the_reservoir_stays_as_it_was() -> None:
    inputs, targets = remembered(400)
    shown = ProgressRecorder()
    keras.utils.set_random_seed(1)
    recipe = a_recipe(**QUANTILES)
    network = architectures.build_network(recipe.network, (STEPS, 1), 6)
    frozen = network.layers[0].get_weights()
    curve = solve_echo_state(network, recipe, (inputs[:300], targets[:300]), (inputs[300:], targets[300:]), shown)
    assert shown.epochs == [(0, 1, curve.loss[0], curve.validation[0])]
    assert curve.best == 0
    assert all(np.array_equal(a, b) for a, b in zip(frozen, network.layers[0].get_weights(), strict=True))
    assert network.layers[0].trainable is False
