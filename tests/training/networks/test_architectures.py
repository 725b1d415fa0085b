"""Networks: their shapes, their initial weights and outputs, and the models that are trained and served."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from training.fitting.losses import PinballLoss
from training.networks.architectures import build_network, inference_copy, training_graph
from training.recipe import NetworkConfig, PenaltyConfig
from training.recipe_files import load_recipe

pytestmark = pytest.mark.slow


def network_config(content: dict[str, Any]) -> NetworkConfig:
    return NetworkConfig.model_validate(content)


def network_of(content: dict[str, Any], features: int = 1) -> keras.Model:
    return build_network(network_config(content), (6, features), 1)


def lstm_parameters(inputs: int, units: int) -> int:
    """The parameters of four gates, each with weights of the input and of the state, and a bias."""
    return 4 * (inputs * units + units * units + units)


@pytest.mark.parametrize("units", [[3], [5, 2], [2, 3, 4]])
@pytest.mark.parametrize("outputs", [1, 6])
@pytest.mark.parametrize("features", [1, 2])
def test_build_network_has_the_configured_shapes(units: list[int], outputs: int, features: int) -> None:
    network = build_network(NetworkConfig(units=units), (7, features), outputs)
    assert network.input_shape == (None, 7, features)
    assert network.output_shape == (None, outputs)
    recurrent = [layer for layer in network.layers if isinstance(layer, layers.LSTM)]
    assert [layer.units for layer in recurrent] == units
    assert [layer.return_sequences for layer in recurrent] == [True] * (len(units) - 1) + [False]
    expected = sum(lstm_parameters(before, after) for before, after in zip([features, *units], units, strict=False))
    assert network.count_params() == expected + (units[-1] + 1) * outputs
    assert np.asarray(network(np.zeros((4, 7, features), dtype=np.float32))).shape == (4, outputs)


def test_build_network_tutorial_has_the_known_parameter_count() -> None:
    tutorial = load_recipe("tutorial")
    network = build_network(tutorial.network, (tutorial.window, 1), 1)
    assert network.count_params() == lstm_parameters(1, 50) + 3 * lstm_parameters(50, 50) + 51 == 71_051
    assert network.input_shape == (None, 60, 1)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Dropout"] * 4 + ["Dense"]
    assert {layer.rate for layer in network.layers if isinstance(layer, layers.Dropout)} == {0.2}


def test_build_network_without_dropout_has_no_dropout_layer() -> None:
    network = build_network(NetworkConfig(units=[2, 2]), (5, 1), 1)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "LSTM", "Dense"]


def test_build_network_head_is_a_relu_layer_before_the_outputs() -> None:
    network = build_network(NetworkConfig(units=[4, 3], dropout=0.1, head=5), (6, 2), 7)
    assert [type(layer).__name__ for layer in network.layers] == ["LSTM", "Dropout"] * 2 + ["Dense", "Dense"]
    head, outputs = network.layers[-2:]
    assert (head.units, head.get_config()["activation"]) == (5, "relu")
    assert (outputs.units, outputs.get_config()["activation"]) == (7, "linear")
    expected = lstm_parameters(2, 4) + lstm_parameters(4, 3) + (3 + 1) * 5 + (5 + 1) * 7
    assert network.count_params() == expected


@pytest.mark.parametrize("head", [0, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_build_network_initial_outputs_hold_for_every_input(dropout: float, head: int) -> None:
    initial_outputs = np.array([-1.3, -0.25, 0.0, 0.1, 2.7])
    network = build_network(NetworkConfig(units=[4, 3], dropout=dropout, head=head), (6, 1), 5, initial_outputs)
    inputs = np.random.default_rng(1).normal(0, 5, (20, 6, 1)).astype(np.float32)
    for training in (False, True):
        outputs = np.asarray(network(inputs, training=training))
        assert (outputs == initial_outputs.astype(np.float32)).all()


def test_build_network_seed_determines_the_weights() -> None:
    inputs = np.ones((1, 6, 1), dtype=np.float32)
    outputs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        outputs.append(float(np.asarray(build_network(NetworkConfig(units=[3]), (6, 1), 1)(inputs))[0, 0]))
    assert outputs[0] == outputs[1] != outputs[2]


def test_build_network_dropout_acts_only_during_training() -> None:
    network = build_network(NetworkConfig(units=[30], dropout=0.5), (6, 1), 1)
    inputs = np.random.default_rng(1).normal(size=(1, 6, 1)).astype(np.float32)
    inference = [float(np.asarray(network(inputs))[0, 0]) for _ in range(3)]
    training = [float(np.asarray(network(inputs, training=True))[0, 0]) for _ in range(3)]
    assert len(set(inference)) == 1
    assert len(set(training)) > 1


# Cells, structures and initial weights


@pytest.mark.parametrize(
    ("cell", "layer", "gates"), [("rnn", layers.SimpleRNN, 1), ("gru", layers.GRU, 3), ("lstm", layers.LSTM, 4)]
)
def test_build_network_uses_the_configured_cell(cell: str, layer: type[layers.Layer], gates: int) -> None:
    recurrent = network_of({"cell": cell, "units": [5]}).layers[0]
    assert type(recurrent) is layer
    assert recurrent.get_weights()[1].shape == (5, gates * 5)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("structure", ["encoder_decoder", "one_to_many"])
def test_build_network_unrolled_steps_share_one_readout(structure: str, start: bool) -> None:
    initial_outputs = np.arange(12.0) if start else None  # (H·Q,) of 4 steps and 3 quantiles
    network = build_network(
        network_config({"structure": structure, "units": [5], "head": 3}), (6, 2), 12, initial_outputs, 4
    )
    assert network.output_shape == (None, 12)
    readout = network.layers[-2]
    assert readout.units == 3
    inputs = np.random.default_rng(1).normal(size=(2, 6, 2)).astype(np.float32)
    outputs = np.asarray(network(inputs)).reshape(2, 4, 3)
    if start:
        assert (outputs == [4.5, 5.5, 6.5]).all()
    else:
        assert np.ptp(outputs, axis=1).min() > 0  # the outputs differ between steps
        assert np.ptp(outputs, axis=0).min() > 0


def test_build_network_encoder_decoder_shapes() -> None:
    network = build_network(network_config({"structure": "encoder_decoder", "units": [3, 5]}), (6, 1), 4, horizon=2)
    assert [layer.output.shape[1:] for layer in network.layers] == [(6, 3), (5,), (2, 5), (2, 5), (2, 2), (4,)]


def test_build_network_one_to_many_shapes() -> None:
    network = build_network(network_config({"structure": "one_to_many", "units": [3, 5]}), (6, 2), 4, horizon=2)
    assert [layer.output.shape[1:] for layer in network.layers] == [(12,), (3,), (2, 3), (2, 3), (2, 5), (2, 2), (4,)]


@pytest.mark.parametrize("recurrent", ["orthogonal", "glorot", "he", "identity"])
def test_build_network_recurrent_initializers(recurrent: str) -> None:
    keras.utils.set_random_seed(1)
    settings = {"cell": "rnn", "units": [64], "recurrent": recurrent, "recurrent_scale": 0.5}
    weights = network_of(settings).layers[0].get_weights()[1]
    gram = weights.T @ weights
    if recurrent in ("orthogonal", "identity"):
        assert gram == pytest.approx(0.25 * np.eye(64), abs=1e-5)
        assert (weights == 0.5 * np.eye(64)).all() == (recurrent == "identity")
    else:
        variance = {"glorot": 2 / 128, "he": 2 / 64}[recurrent]
        assert weights.var() == pytest.approx(0.25 * variance, rel=0.1)


@pytest.mark.parametrize(("kernel", "variance"), [("glorot", 2 / (4 + 200)), ("he", 2 / 4)])
def test_build_network_kernel_initializers(kernel: str, variance: float) -> None:
    keras.utils.set_random_seed(1)
    weights = network_of({"cell": "rnn", "units": [200], "kernel": kernel}, features=4).layers[0].get_weights()[0]
    assert weights.var() == pytest.approx(variance, rel=0.2)


def test_build_network_kernel_orthogonal() -> None:
    weights = network_of({"cell": "gru", "units": [5], "kernel": "orthogonal"}, features=4).layers[0].get_weights()[0]
    assert weights @ weights.T == pytest.approx(np.eye(4), abs=1e-5)


@pytest.mark.parametrize(("forget_bias", "starts_at"), [(None, 1.0), (3.0, 3.0), (-1.0, -1.0)])
def test_build_network_forget_bias(forget_bias: float | None, starts_at: float) -> None:
    bias = network_of({"units": [3], "forget_bias": forget_bias}).layers[0].get_weights()[2]
    assert bias.tolist() == [0] * 3 + [starts_at] * 3 + [0] * 6


def test_build_network_recurrent_dropout_only_in_training() -> None:
    network = network_of({"cell": "rnn", "units": [30], "recurrent_dropout": 0.5})
    inputs = np.random.default_rng(1).normal(size=(1, 6, 1)).astype(np.float32)
    assert len({float(np.asarray(network(inputs))[0, 0]) for _ in range(3)}) == 1
    assert len({float(np.asarray(network(inputs, training=True))[0, 0]) for _ in range(3)}) > 1


@pytest.mark.parametrize(
    ("key", "truncate"), [*((key, None) for key in PenaltyConfig.model_fields), ("recurrent_l2", 2), ("activity_l1", 2)]
)
def test_training_graph_penalty_is_added_to_the_loss(key: str, truncate: int | None) -> None:
    """All weights are 2, and the layer's outputs are 1, because large states saturate."""
    config = network_config({"cell": "rnn", "units": [3], "penalty": {key: 0.5}, "truncate": truncate})
    network = build_network(config, (6, 1), 1)
    network.set_weights([np.full_like(weight, 2.0) for weight in network.get_weights()])
    trained = training_graph(network, config)
    trained.compile("sgd", "mean_squared_error", run_eagerly=True)
    inputs = np.full((4, 6, 1), 50.0, dtype=np.float32)
    outputs = np.asarray(network(inputs))
    loss = trained.train_on_batch(inputs, outputs)
    squares = {"kernel": 3 * 4.0, "recurrent": 9 * 4.0, "activity": 3.0}
    absolute = {"kernel": 3 * 2.0, "recurrent": 9 * 2.0, "activity": 3.0}
    target, norm = key.split("_")
    assert loss == pytest.approx(0.5 * {"l1": absolute, "l2": squares}[norm][target], rel=1e-5)


def test_training_graph_by_default_is_the_network_itself() -> None:
    config = network_config({"units": [3]})
    network = build_network(config, (6, 1), 1)
    assert training_graph(network, config) is network


@pytest.mark.parametrize(("cell", "units"), [("rnn", [5]), ("gru", [5, 4]), ("lstm", [5, 4])])
def test_training_graph_truncated_has_equal_outputs_and_weights(cell: str, units: list[int]) -> None:
    config = network_config({"cell": cell, "units": units, "truncate": 3})
    network = build_network(config, (8, 2), 3)
    trained = training_graph(network, config)
    inputs = np.random.default_rng(1).normal(size=(4, 8, 2)).astype(np.float32)
    assert np.asarray(trained(inputs)) == pytest.approx(np.asarray(network(inputs)), abs=1e-6)
    network.set_weights([weight + 1 for weight in network.get_weights()])
    assert np.asarray(trained(inputs)) == pytest.approx(np.asarray(network(inputs)), abs=1e-6)
    assert len(trained.trainable_weights) == len(network.trainable_weights)


@pytest.mark.parametrize(("truncate", "head"), [(None, 4), (3, 0)])
def test_training_graph_many_to_many_has_outputs_per_step(truncate: int | None, head: int) -> None:
    config = network_config({"structure": "many_to_many", "units": [5, 4], "head": head, "truncate": truncate})
    network = build_network(config, (8, 2), 3)
    trained = training_graph(network, config)
    inputs = np.random.default_rng(1).normal(size=(4, 8, 2)).astype(np.float32)
    per_step = np.asarray(trained(inputs)).reshape(4, 8, 3)
    assert per_step[:, -1] == pytest.approx(np.asarray(network(inputs)), abs=1e-6)
    shorter = build_network(config, (6, 2), 3)
    shorter.set_weights(network.get_weights())
    assert per_step[:, 5] == pytest.approx(np.asarray(shorter(inputs[:, :6])), abs=1e-6)


@pytest.mark.parametrize(
    ("cell", "structure"), [("rnn", "many_to_many"), ("gru", "encoder_decoder"), ("lstm", "one_to_many")]
)
def test_inference_copy_loads_without_our_classes(cell: str, structure: str, tmp_path: Path) -> None:
    penalty = {"recurrent_l2": 0.1, "activity_l1": 0.1}
    config = network_config(
        {"cell": cell, "structure": structure, "units": [4], "recurrent_dropout": 0.2, "penalty": penalty}
    )
    network = build_network(config, (6, 1), 4, horizon=2)
    inputs = np.random.default_rng(1).normal(size=(4, 6, 1)).astype(np.float32)
    inference_copy(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.asarray(loaded(inputs)) == pytest.approx(np.asarray(network(inputs)), abs=1e-6)


def test_inference_copy_has_equal_outputs_and_is_not_compiled(tmp_path: Path) -> None:
    network = build_network(NetworkConfig(units=[4], head=3), (9, 1), 3)
    network.compile("adam", PinballLoss([0.1, 0.5, 0.9]))
    inputs = np.random.default_rng(1).standard_normal((5, 9, 1)).astype(np.float32)
    inference_copy(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # without custom_objects
    assert not loaded.compiled
    np.testing.assert_allclose(loaded.predict(inputs, verbose=0), network.predict(inputs, verbose=0), rtol=1e-6)
