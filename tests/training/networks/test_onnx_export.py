"""ONNX export: the model has the same outputs as the network, or an error names the layer."""

from collections.abc import Sequence
from typing import get_args

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from app.artifact.arrays import F32
from app.inference.engines.onnx import OnnxEngine
from training.networks.architectures import build_network
from training.networks.onnx_export import OPSET, ExportError, to_onnx
from training.recipe import NetworkConfig

pytestmark = pytest.mark.slow

STEPS = 9
ROWS = 257


def randomized(network: keras.Model, seed: int = 1) -> keras.Model:
    """The network with all weights and biases random. Zeros and ones could hide a mix-up of gates."""
    rng = np.random.default_rng(seed)
    network.set_weights([rng.normal(0, 0.7, weight.shape) for weight in network.get_weights()])
    return network


def inputs(rows: int = ROWS, features: int = 1) -> F32:
    return np.random.default_rng(2).normal(0, 2, (rows, STEPS, features)).astype(np.float32)


def stack(*stacked: keras.layers.Layer, features: int = 1) -> keras.Model:
    return randomized(keras.Sequential([keras.Input((STEPS, features)), *stacked]))


def largest_difference(network: keras.Model, rows: F32) -> float:
    return float(np.max(np.abs(OnnxEngine(to_onnx(network)).run(rows) - np.asarray(network(rows)))))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("units", [[6], [5, 7], [4, 3, 5], [3, 4, 5, 6]])
def test_to_onnx_outputs_match_for_any_batch_size(units: Sequence[int], dropout: float) -> None:
    network = randomized(build_network(NetworkConfig(units=list(units), dropout=dropout), (STEPS, 1), 4))
    engine = OnnxEngine(to_onnx(network))
    assert engine.steps_and_features == (STEPS, 1)
    rows = inputs()
    expected = np.asarray(network(rows))
    assert np.ptp(expected) > 0.1  # the outputs depend on the inputs
    for size in (1, 2, 8, 33, ROWS):
        found = engine.run(rows[:size])
        assert found.shape == (size, 4)
        assert np.max(np.abs(found - expected[:size])) < 1e-5


RECURRENT = [
    {"cell": cell, "structure": structure, "units": [5, 6], "head": head}
    for cell, head in (("rnn", 0), ("gru", 4), ("lstm", 4))
    for structure in get_args(NetworkConfig.model_fields["structure"].annotation)
]
ECHO_STATE = [
    {"cell": "echo_state", "structure": structure, "units": [6], "reservoir": {"leak": 0.7, "count": 2}}
    for structure in ("many_to_one", "many_to_many")
]


@pytest.mark.parametrize("content", [*RECURRENT, *ECHO_STATE], ids=lambda content: " ".join(map(str, content.values())))
def test_to_onnx_outputs_match_for_every_cell_and_structure(content: dict[str, object]) -> None:
    config = NetworkConfig.model_validate(content)
    network = build_network(config, (STEPS, 2), 6, horizon=3)
    if config.cell != "echo_state":  # the gates of an echo state network must stay constant
        randomized(network)
    rows = inputs(features=2)
    assert np.ptp(np.asarray(network(rows)), axis=0).min() > 0.1
    assert OnnxEngine(to_onnx(network)).run(rows[:1]).shape == (1, 6)
    assert largest_difference(network, rows) < 1e-5


@pytest.mark.parametrize(
    "layer",
    [
        layers.SimpleRNN(4, use_bias=False),
        layers.SimpleRNN(4, "relu", return_sequences=True),
        layers.GRU(4, use_bias=False),
        layers.GRU(4, reset_after=False),
        layers.GRU(4, reset_after=False, use_bias=False),
    ],
    ids=["no bias", "relu", "GRU, no bias", "GRU, reset before", "GRU, reset before, no bias"],
)
def test_to_onnx_cell_variants(layer: keras.layers.Layer) -> None:
    network = stack(layer, layers.Flatten(), layers.Dense(2), features=2)
    assert largest_difference(network, 0.3 * inputs(features=2)) < 1e-5


def test_to_onnx_several_features() -> None:
    network = stack(layers.LSTM(4), layers.Dense(2), features=3)
    assert largest_difference(network, inputs(features=3)) < 1e-5


def test_to_onnx_layers_without_bias() -> None:
    network = stack(layers.LSTM(4, use_bias=False), layers.Dense(2, use_bias=False))
    assert len(network.get_weights()) == 3
    assert largest_difference(network, inputs()) < 1e-5


def test_to_onnx_several_dense_layers() -> None:
    assert largest_difference(stack(layers.LSTM(4), layers.Dense(3), layers.Dense(2)), inputs()) < 1e-5


@pytest.mark.parametrize("features", [1, 2])
def test_to_onnx_head(features: int) -> None:
    network = randomized(build_network(NetworkConfig(units=[6, 5], head=7), (STEPS, features), 4))
    rows = inputs(features=features)
    assert np.ptp(np.asarray(network(rows))) > 0.1
    assert largest_difference(network, rows) < 1e-5


def test_to_onnx_relu_in_any_dense_layer() -> None:
    """The middle layer has no bias. The last layer has one, and about half of its outputs are 0."""
    network = stack(layers.LSTM(4), layers.Dense(6, "relu", use_bias=False), layers.Dense(5, "relu"))
    assert 0.1 < np.mean(OnnxEngine(to_onnx(network)).run(inputs()) == 0) < 0.9
    assert largest_difference(network, inputs()) < 1e-5


def test_to_onnx_ignores_dropout_in_recurrent_layers() -> None:
    network = stack(layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5), layers.Dense(1))
    assert largest_difference(network, inputs()) < 1e-5


def test_to_onnx_ignores_penalties() -> None:
    config = NetworkConfig.model_validate({"units": [4], "penalty": {"activity_l1": 1.0, "kernel_l2": 1.0}})
    assert largest_difference(randomized(build_network(config, (STEPS, 1), 1)), inputs()) < 1e-5


def test_to_onnx_model_is_valid_small_and_of_the_opset() -> None:
    network = build_network(NetworkConfig(units=[5], head=4), (STEPS, 2), 3)
    content = to_onnx(network)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert [each.name for each in model.graph.input] == ["window"]
    assert [each.name for each in model.graph.output] == ["outputs"]
    assert len(content) < 4 * network.count_params() + 2000


@pytest.mark.parametrize(
    "layer",
    [
        layers.Bidirectional(layers.LSTM(3), name="unsupported"),
        layers.GlobalMaxPooling1D(name="unsupported"),
        layers.Conv1D(2, 3, name="unsupported"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_to_onnx_unsupported_layer_is_named(layer: keras.layers.Layer) -> None:
    with pytest.raises(ExportError, match=rf"^unsupported: cannot export a {type(layer).__name__} layer to ONNX$"):
        to_onnx(stack(layer))


def test_to_onnx_unsupported_layer_after_others_is_named() -> None:
    with pytest.raises(ExportError, match=r"^unsupported: cannot export a BatchNormalization layer to ONNX$"):
        to_onnx(stack(layers.LSTM(3), layers.Dense(2), layers.BatchNormalization(name="unsupported")))


@pytest.mark.parametrize(
    "variant",
    [
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"go_backwards": True},
        {"return_state": True},
    ],
    ids=lambda variant: next(iter(variant)),
)
def test_to_onnx_unsupported_lstm_option_is_named(variant: dict[str, object]) -> None:
    network = keras.Sequential([keras.Input((STEPS, 1)), layers.LSTM(3, name="unsupported", **variant)])
    requirement = "it must use tanh and sigmoid and none of go_backwards, stateful, return_state"
    with pytest.raises(ExportError, match=rf"^unsupported: cannot export this LSTM layer; {requirement}$"):
        to_onnx(network)


@pytest.mark.parametrize(
    ("layer", "requirement"),
    [
        (layers.GRU(3, activation="relu", name="unsupported"), "GRU layer; it must use tanh and sigmoid"),
        (layers.GRU(3, go_backwards=True, name="unsupported"), "GRU layer; it must use tanh and sigmoid"),
        (layers.SimpleRNN(3, activation="sigmoid", name="unsupported"), "SimpleRNN layer; it must use tanh or relu"),
        (layers.SimpleRNN(3, go_backwards=True, name="unsupported"), "SimpleRNN layer; it must use tanh or relu"),
    ],
    ids=["GRU, relu", "GRU, backwards", "SimpleRNN, sigmoid", "SimpleRNN, backwards"],
)
def test_to_onnx_unsupported_cell_option_is_named(layer: keras.layers.Layer, requirement: str) -> None:
    with pytest.raises(
        ExportError,
        match=rf"^unsupported: cannot export this {requirement} and none of go_backwards, stateful, return_state$",
    ):
        to_onnx(stack(layer))


def test_to_onnx_stateful_lstm_is_named() -> None:
    network = keras.Sequential(
        [keras.Input((STEPS, 1), batch_size=2), layers.LSTM(3, stateful=True, name="unsupported"), layers.Dense(1)]
    )
    with pytest.raises(ExportError, match=r"^unsupported: cannot export this LSTM layer; "):
        to_onnx(network)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "leaky_relu"])
def test_to_onnx_unsupported_dense_activation_is_named(activation: str) -> None:
    with pytest.raises(
        ExportError, match=r"^unsupported: cannot export this Dense layer; it must be linear or use relu or tanh$"
    ):
        to_onnx(stack(layers.LSTM(3), layers.Dense(2, activation=activation, name="unsupported")))
