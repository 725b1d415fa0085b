"""Networks: the shapes a recipe asks for, where they start from, and what they are scored by."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from app.artifact.transform import F64
from app.evaluation import scores
from training.fitting.losses import PinballLoss
from training.networks.architectures import build_network, inference_copy, training_graph
from training.recipe import Network, Penalty, load

pytestmark = pytest.mark.slow


def lstm_parameters(inputs: int, units: int) -> int:
    """Four gates, each with weights of the input, of its own state, and a bias."""
    return 4 * (inputs * units + units * units + units)


@pytest.mark.parametrize("units", [[3], [5, 2], [2, 3, 4]])
@pytest.mark.parametrize("outputs", [1, 6])
@pytest.mark.parametrize("features", [1, 2])
def test_a_network_has_the_shapes_it_was_asked_for(units: list[int], outputs: int, features: int) -> None:
    network = build_network(Network(units=units), (7, features), outputs)
    assert network.input_shape == (None, 7, features)
    assert network.output_shape == (None, outputs)
    recurrent = [layer for layer in network.layers if isinstance(layer, layers.LSTM)]
    assert [layer.units for layer in recurrent] == units
    assert [layer.return_sequences for layer in recurrent] == [True] * (len(units) - 1) + [False]
    expected = sum(lstm_parameters(before, after) for before, after in zip([features, *units], units, strict=False))
    assert network.count_params() == expected + (units[-1] + 1) * outputs
    assert np.asarray(network(np.zeros((4, 7, features), dtype=np.float32))).shape == (4, outputs)


def test_the_tutorials_network_has_as_many_parameters_as_the_tutorials() -> None:
    tutorial = load("tutorial")
    network = build_network(tutorial.network, (tutorial.window, 1), 1)
    assert network.count_params() == lstm_parameters(1, 50) + 3 * lstm_parameters(50, 50) + 51 == 71_051
    assert network.input_shape == (None, 60, 1)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Dropout"] * 4 + ["Dense"]
    assert {layer.rate for layer in network.layers if isinstance(layer, layers.Dropout)} == {0.2}


def test_without_dropout_there_is_no_dropout_layer() -> None:
    network = build_network(Network(units=[2, 2]), (5, 1), 1)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "LSTM", "Dense"]


def test_a_head_is_one_rectified_layer_before_the_outputs() -> None:
    network = build_network(Network(units=[4, 3], dropout=0.1, head=5), (6, 2), 7)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Dropout"] * 2 + ["Dense", "Dense"]
    head, outputs = network.layers[-2:]
    assert (head.units, head.get_config()["activation"]) == (5, "relu")
    assert (outputs.units, outputs.get_config()["activation"]) == (7, "linear")
    expected = lstm_parameters(2, 4) + lstm_parameters(4, 3) + (3 + 1) * 5 + (5 + 1) * 7
    assert network.count_params() == expected


@pytest.mark.parametrize("head", [0, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_untrained_network_answers_what_it_starts_at_whatever_it_sees(dropout: float, head: int) -> None:
    start_at = np.array([-1.3, -0.25, 0.0, 0.1, 2.7])
    network = build_network(Network(units=[4, 3], dropout=dropout, head=head), (6, 1), 5, start_at)
    inputs = np.random.default_rng(1).normal(0, 5, (20, 6, 1)).astype(np.float32)
    for training in (False, True):
        outputs = np.asarray(network(inputs, training=training))
        assert (outputs == start_at.astype(np.float32)).all()


def test_drawn_at_random_two_networks_differ_and_a_seed_repeats_one() -> None:
    inputs = np.ones((1, 6, 1), dtype=np.float32)
    answers = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        answers.append(float(np.asarray(build_network(Network(units=[3]), (6, 1), 1)(inputs))[0, 0]))
    assert answers[0] == answers[1] != answers[2]


def test_dropout_acts_only_while_training() -> None:
    network = build_network(Network(units=[30], dropout=0.5), (6, 1), 1)
    inputs = np.random.default_rng(1).normal(size=(1, 6, 1)).astype(np.float32)
    calm = [float(np.asarray(network(inputs))[0, 0]) for _ in range(3)]
    shaken = [float(np.asarray(network(inputs, training=True))[0, 0]) for _ in range(3)]
    assert len(set(calm)) == 1
    assert len(set(shaken)) > 1


# Cells, structures and remedies


@pytest.mark.parametrize(
    ("cell", "layer", "gates"), [("rnn", layers.SimpleRNN, 1), ("gru", layers.GRU, 3), ("lstm", layers.LSTM, 4)]
)
def test_a_recipe_names_its_cell(cell: str, layer: type[layers.Layer], gates: int) -> None:
    recurrent = a_network({"cell": cell, "units": [5]}).layers[0]
    assert type(recurrent) is layer
    assert recurrent.get_weights()[1].shape == (5, gates * 5)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("structure", ["encoder_decoder", "one_to_many"])
def test_a_path_shares_its_readout_and_is_flat(structure: str, start: bool) -> None:
    start_at = np.arange(12.0) if start else None  # (H·Q,) of 4 steps and 3 quantiles
    network = build_network(a_recipe({"structure": structure, "units": [5], "head": 3}), (6, 2), 12, start_at, 4)
    assert network.output_shape == (None, 12)
    readout = network.layers[-2]
    assert readout.units == 3
    inputs = np.random.default_rng(1).normal(size=(2, 6, 2)).astype(np.float32)
    said = np.asarray(network(inputs)).reshape(2, 4, 3)
    if start:
        assert (said == [4.5, 5.5, 6.5]).all()
    else:
        assert np.ptp(said, axis=1).min() > 0  # the steps of a path differ
        assert np.ptp(said, axis=0).min() > 0


def test_an_encoder_reads_the_window_and_a_decoder_goes_over_the_horizon() -> None:
    network = build_network(a_recipe({"structure": "encoder_decoder", "units": [3, 5]}), (6, 1), 4, horizon=2)
    assert [layer.output.shape[1:] for layer in network.layers] == [(6, 3), (5,), (2, 5), (2, 5), (2, 2), (4,)]


def test_one_state_becomes_a_path_through_every_layer() -> None:
    network = build_network(a_recipe({"structure": "one_to_many", "units": [3, 5]}), (6, 2), 4, horizon=2)
    assert [layer.output.shape[1:] for layer in network.layers] == [(12,), (3,), (2, 3), (2, 3), (2, 5), (2, 2), (4,)]


@pytest.mark.parametrize("recurrent", ["orthogonal", "glorot", "he", "identity"])
def test_recurrent_weights_start_as_asked(recurrent: str) -> None:
    keras.utils.set_random_seed(1)
    recipe = {"cell": "rnn", "units": [64], "recurrent": recurrent, "recurrent_scale": 0.5}
    weights = a_network(recipe).layers[0].get_weights()[1]
    gram = weights.T @ weights
    if recurrent in ("orthogonal", "identity"):
        assert gram == pytest.approx(0.25 * np.eye(64), abs=1e-5)
        assert (weights == 0.5 * np.eye(64)).all() == (recurrent == "identity")
    else:
        wanted = {"glorot": 2 / 128, "he": 2 / 64}[recurrent]
        assert weights.var() == pytest.approx(0.25 * wanted, rel=0.1)


@pytest.mark.parametrize(("kernel", "variance"), [("glorot", 2 / (4 + 200)), ("he", 2 / 4)])
def test_input_weights_start_as_asked(kernel: str, variance: float) -> None:
    keras.utils.set_random_seed(1)
    weights = a_network({"cell": "rnn", "units": [200], "kernel": kernel}, features=4).layers[0].get_weights()[0]
    assert weights.var() == pytest.approx(variance, rel=0.2)


def test_orthogonal_input_weights_are() -> None:
    weights = a_network({"cell": "gru", "units": [5], "kernel": "orthogonal"}, features=4).layers[0].get_weights()[0]
    assert weights @ weights.T == pytest.approx(np.eye(4), abs=1e-5)


@pytest.mark.parametrize(("forget_bias", "starts_at"), [(None, 1.0), (3.0, 3.0), (-1.0, -1.0)])
def test_the_forget_gate_starts_as_asked(forget_bias: float | None, starts_at: float) -> None:
    bias = a_network({"units": [3], "forget_bias": forget_bias}).layers[0].get_weights()[2]
    assert bias.tolist() == [0] * 3 + [starts_at] * 3 + [0] * 6


def test_state_between_steps_is_dropped_while_training_only() -> None:
    network = a_network({"cell": "rnn", "units": [30], "recurrent_dropout": 0.5})
    inputs = np.random.default_rng(1).normal(size=(1, 6, 1)).astype(np.float32)
    assert len({float(np.asarray(network(inputs))[0, 0]) for _ in range(3)}) == 1
    assert len({float(np.asarray(network(inputs, training=True))[0, 0]) for _ in range(3)}) > 1


@pytest.mark.parametrize(
    ("key", "truncate"), [*((key, None) for key in Penalty.model_fields), ("recurrent_l2", 2), ("activity_l1", 2)]
)
def test_a_penalty_is_in_the_loss_by_itself(key: str, truncate: int | None) -> None:
    """Weights of 2 everywhere, in a layer that says 1: large states saturate."""
    wanted = a_recipe({"cell": "rnn", "units": [3], "penalty": {key: 0.5}, "truncate": truncate})
    network = build_network(wanted, (6, 1), 1)
    network.set_weights([np.full_like(weight, 2.0) for weight in network.get_weights()])
    trained = training_graph(network, wanted)
    trained.compile("sgd", "mean_squared_error", run_eagerly=True)
    inputs = np.full((4, 6, 1), 50.0, dtype=np.float32)
    answers = np.asarray(network(inputs))
    loss = trained.train_on_batch(inputs, answers)
    squares = {"kernel": 3 * 4.0, "recurrent": 9 * 4.0, "activity": 3.0}
    absolute = {"kernel": 3 * 2.0, "recurrent": 9 * 2.0, "activity": 3.0}
    of, norm = key.split("_")
    assert loss == pytest.approx(0.5 * {"l1": absolute, "l2": squares}[norm][of], rel=1e-5)


def test_without_remedies_the_network_itself_is_trained() -> None:
    recipe = a_recipe({"units": [3]})
    network = build_network(recipe, (6, 1), 1)
    assert training_graph(network, recipe) is network


@pytest.mark.parametrize(("cell", "units"), [("rnn", [5]), ("gru", [5, 4]), ("lstm", [5, 4])])
def test_what_is_truncated_says_the_same_and_shares_all_weights(cell: str, units: list[int]) -> None:
    recipe = a_recipe({"cell": cell, "units": units, "truncate": 3})
    network = build_network(recipe, (8, 2), 3)
    trained = training_graph(network, recipe)
    inputs = np.random.default_rng(1).normal(size=(4, 8, 2)).astype(np.float32)
    assert np.asarray(trained(inputs)) == pytest.approx(np.asarray(network(inputs)), abs=1e-6)
    network.set_weights([weight + 1 for weight in network.get_weights()])
    assert np.asarray(trained(inputs)) == pytest.approx(np.asarray(network(inputs)), abs=1e-6)
    assert len(trained.trainable_weights) == len(network.trainable_weights)


@pytest.mark.parametrize(("truncate", "head"), [(None, 4), (3, 0)])
def test_every_step_answers_while_training_and_the_last_is_served(truncate: int | None, head: int) -> None:
    recipe = a_recipe({"structure": "many_to_many", "units": [5, 4], "head": head, "truncate": truncate})
    network = build_network(recipe, (8, 2), 3)
    trained = training_graph(network, recipe)
    inputs = np.random.default_rng(1).normal(size=(4, 8, 2)).astype(np.float32)
    every = np.asarray(trained(inputs)).reshape(4, 8, 3)
    assert every[:, -1] == pytest.approx(np.asarray(network(inputs)), abs=1e-6)
    shorter = build_network(recipe, (6, 2), 3)
    shorter.set_weights(network.get_weights())
    assert every[:, 5] == pytest.approx(np.asarray(shorter(inputs[:, :6])), abs=1e-6)


@pytest.mark.parametrize(
    ("cell", "structure"), [("rnn", "many_to_many"), ("gru", "encoder_decoder"), ("lstm", "one_to_many")]
)
def test_any_network_is_saved_without_classes_of_ours(cell: str, structure: str, tmp_path: Path) -> None:
    penalty = {"recurrent_l2": 0.1, "activity_l1": 0.1}
    recipe = a_recipe(
        {"cell": cell, "structure": structure, "units": [4], "recurrent_dropout": 0.2, "penalty": penalty}
    )
    network = build_network(recipe, (6, 1), 4, horizon=2)
    inputs = np.random.default_rng(1).normal(size=(4, 6, 1)).astype(np.float32)
    inference_copy(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.asarray(loaded(inputs)) == pytest.approx(np.asarray(network(inputs)), abs=1e-6)


def a_recipe(content: dict[str, Any]) -> Network:
    return Network.model_validate(content)


def a_network(content: dict[str, Any], features: int = 1) -> keras.Model:
    return build_network(a_recipe(content), (6, features), 1)


# PinballLoss loss


def both_ways(outcomes: F64, quantiles: F64, taus: list[float]) -> tuple[float, float]:
    """The loss in Keras, and as the mean over the horizons of the plain figure."""
    flat = quantiles.reshape(len(quantiles), -1).astype(np.float32)
    ours = float(np.asarray(PinballLoss(taus)(outcomes.astype(np.float32), flat)))
    plain = [scores.pinball(quantiles[:, h], outcomes[:, h], taus) for h in range(outcomes.shape[1])]
    return ours, float(np.mean(plain))


@pytest.mark.parametrize("taus", [[0.5], [0.1, 0.5, 0.9], [0.025, 0.1, 0.5, 0.9, 0.975]])
@pytest.mark.parametrize("horizon", [1, 4])
def test_the_loss_is_the_pinball_figure(taus: list[float], horizon: int) -> None:
    rng = np.random.default_rng(2)
    ours, plain = both_ways(rng.normal(size=(33, horizon)), rng.normal(size=(33, horizon, len(taus))), taus)
    assert ours == pytest.approx(plain, rel=1e-5)


def test_the_loss_by_hand_for_two_steps_and_three_quantiles() -> None:
    """Outcomes 1 and −1 against quantiles −1, 0, 1 at both steps."""
    quantiles = np.tile([-1.0, 0.0, 1.0], (1, 2, 1))
    first = 0.1 * 2 + 0.5 * 1 + 0.9 * 0
    second = 0.1 * 0 + 0.5 * 1 + 0.1 * 2
    ours, plain = both_ways(np.array([[1.0, -1.0]]), quantiles, [0.1, 0.5, 0.9])
    assert ours == pytest.approx((first + second) / 6, rel=1e-6)
    assert plain == pytest.approx((first + second) / 6)


def test_a_bare_network_says_the_same_and_carries_no_training(tmp_path: Path) -> None:
    network = build_network(Network(units=[4], head=3), (9, 1), 3)
    network.compile("adam", PinballLoss([0.1, 0.5, 0.9]))
    inputs = np.random.default_rng(1).standard_normal((5, 9, 1)).astype(np.float32)
    inference_copy(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # with all defaults, and no class of this project
    assert not loaded.compiled
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0), network.predict(inputs, verbose=0), rtol=1e-6)
