"""The ONNX form of a network: the same numbers, or a refusal that names the layer."""

from collections.abc import Sequence
from typing import get_args

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from app.artifact.transform import F32
from app.inference.engines.onnx import OnnxEngine
from training.networks.architectures import build_network
from training.networks.onnx_export import OPSET, ExportError, to_onnx
from training.recipe import Network

pytestmark = pytest.mark.slow

STEPS = 9
LARGEST = 257


def shaken(network: keras.Model, seed: int = 1) -> keras.Model:
    """The network with every weight random, the biases too: zeros and ones would hide a mix-up of gates."""
    rng = np.random.default_rng(seed)
    network.set_weights([rng.normal(0, 0.7, weight.shape) for weight in network.get_weights()])
    return network


def inputs(rows: int = LARGEST, features: int = 1) -> F32:
    return np.random.default_rng(2).normal(0, 2, (rows, STEPS, features)).astype(np.float32)


def stack(*above: keras.layers.Layer, features: int = 1) -> keras.Model:
    return shaken(keras.Sequential([keras.Input((STEPS, features)), *above]))


def largest_difference(network: keras.Model, rows: F32) -> float:
    return float(np.max(np.abs(OnnxEngine(to_onnx(network)).run(rows) - np.asarray(network(rows)))))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("units", [[6], [5, 7], [4, 3, 5], [3, 4, 5, 6]])
def test_both_forms_say_the_same_for_any_batch(units: Sequence[int], dropout: float) -> None:
    network = shaken(build_network(Network(units=list(units), dropout=dropout), (STEPS, 1), 4))
    engine = OnnxEngine(to_onnx(network))
    assert engine.steps_and_features == (STEPS, 1)
    rows = inputs()
    wanted = np.asarray(network(rows))
    assert np.ptp(wanted) > 0.1  # they do depend on what is seen
    for size in (1, 2, 8, 33, LARGEST):
        found = engine.run(rows[:size])
        assert found.shape == (size, 4)
        assert np.max(np.abs(found - wanted[:size])) < 1e-5


STEPWISE = [
    {"cell": cell, "structure": structure, "units": [5, 6], "head": head}
    for cell, head in (("rnn", 0), ("gru", 4), ("lstm", 4))
    for structure in get_args(Network.model_fields["structure"].annotation)
]
SOLVED = [
    {"cell": "echo_state", "structure": structure, "units": [6], "reservoir": {"leak": 0.7, "count": 2}}
    for structure in ("many_to_one", "many_to_many")
]


@pytest.mark.parametrize("content", [*STEPWISE, *SOLVED], ids=lambda content: " ".join(map(str, content.values())))
def test_both_forms_of_every_cell_and_structure_say_the_same(content: dict[str, object]) -> None:
    recipe = Network.model_validate(content)
    network = build_network(recipe, (STEPS, 2), 6, horizon=3)
    if recipe.cell != "echo_state":  # which has gates that must stand where they are
        shaken(network)
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
    ids=["no bias", "rectified", "GRU, no bias", "GRU of before", "GRU of before, no bias"],
)
def test_variants_of_cells_are_exported(layer: keras.layers.Layer) -> None:
    network = stack(layer, layers.Flatten(), layers.Dense(2), features=2)
    assert largest_difference(network, 0.3 * inputs(features=2)) < 1e-5


def test_several_features_are_exported() -> None:
    network = stack(layers.LSTM(4), layers.Dense(2), features=3)
    assert largest_difference(network, inputs(features=3)) < 1e-5


def test_layers_without_bias_are_exported() -> None:
    network = stack(layers.LSTM(4, use_bias=False), layers.Dense(2, use_bias=False))
    assert len(network.get_weights()) == 3
    assert largest_difference(network, inputs()) < 1e-5


def test_several_dense_layers_are_exported() -> None:
    assert largest_difference(stack(layers.LSTM(4), layers.Dense(3), layers.Dense(2)), inputs()) < 1e-5


@pytest.mark.parametrize("features", [1, 2])
def test_a_head_is_exported(features: int) -> None:
    network = shaken(build_network(Network(units=[6, 5], head=7), (STEPS, features), 4))
    rows = inputs(features=features)
    assert np.ptp(np.asarray(network(rows))) > 0.1
    assert largest_difference(network, rows) < 1e-5


def test_rectified_layers_are_rectified_wherever_they_stand() -> None:
    """Without bias, with; in the middle, and last, where half of all answers are 0."""
    network = stack(layers.LSTM(4), layers.Dense(6, "relu", use_bias=False), layers.Dense(5, "relu"))
    assert 0.1 < np.mean(OnnxEngine(to_onnx(network)).run(inputs()) == 0) < 0.9
    assert largest_difference(network, inputs()) < 1e-5


def test_dropout_inside_a_recurrent_layer_acts_only_while_training() -> None:
    network = stack(layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5), layers.Dense(1))
    assert largest_difference(network, inputs()) < 1e-5


def test_penalties_act_only_while_training() -> None:
    recipe = Network.model_validate({"units": [4], "penalty": {"activity_l1": 1.0, "kernel_l2": 1.0}})
    assert largest_difference(shaken(build_network(recipe, (STEPS, 1), 1)), inputs()) < 1e-5


def test_the_model_is_small_sound_and_of_the_declared_opset() -> None:
    network = build_network(Network(units=[5], head=4), (STEPS, 2), 3)
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
        layers.Bidirectional(layers.LSTM(3), name="odd"),
        layers.GlobalMaxPooling1D(name="odd"),
        layers.Conv1D(2, 3, name="odd"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_without_onnx_form_is_named(layer: keras.layers.Layer) -> None:
    with pytest.raises(ExportError, match=rf"^odd: there is no ONNX form of a {type(layer).__name__} layer here$"):
        to_onnx(stack(layer))


def test_a_layer_after_good_ones_is_named_too() -> None:
    with pytest.raises(ExportError, match=r"^odd: there is no ONNX form of a BatchNormalization layer here$"):
        to_onnx(stack(layers.LSTM(3), layers.Dense(2), layers.BatchNormalization(name="odd")))


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
def test_an_unusual_lstm_is_named(variant: dict[str, object]) -> None:
    network = keras.Sequential([keras.Input((STEPS, 1)), layers.LSTM(3, name="odd", **variant)])
    with pytest.raises(ExportError, match=r"^odd: only a plain LSTM with tanh and sigmoid has an ONNX form here$"):
        to_onnx(network)


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (layers.GRU(3, activation="relu", name="odd"), "GRU with tanh and sigmoid"),
        (layers.GRU(3, go_backwards=True, name="odd"), "GRU with tanh and sigmoid"),
        (layers.SimpleRNN(3, activation="sigmoid", name="odd"), "SimpleRNN with tanh or relu"),
        (layers.SimpleRNN(3, go_backwards=True, name="odd"), "SimpleRNN with tanh or relu"),
    ],
    ids=["GRU, relu", "GRU, backwards", "SimpleRNN, sigmoid", "SimpleRNN, backwards"],
)
def test_other_unusual_cells_are_named(layer: keras.layers.Layer, plain: str) -> None:
    with pytest.raises(ExportError, match=rf"^odd: only a plain {plain} has an ONNX form here$"):
        to_onnx(stack(layer))


def test_a_stateful_lstm_is_named() -> None:
    network = keras.Sequential(
        [keras.Input((STEPS, 1), batch_size=2), layers.LSTM(3, stateful=True, name="odd"), layers.Dense(1)]
    )
    with pytest.raises(ExportError, match=r"^odd: only a plain LSTM"):
        to_onnx(network)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "leaky_relu"])
def test_a_dense_layer_with_another_activation_is_named(activation: str) -> None:
    with pytest.raises(ExportError, match=r"^odd: only a dense layer that is linear, rectified or tanh has"):
        to_onnx(stack(layers.LSTM(3), layers.Dense(2, activation=activation, name="odd")))
