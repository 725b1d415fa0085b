"""Builds the Keras network of a recipe, with Keras alone, so that every backend can train and serve it."""

from itertools import pairwise
from typing import Any

import keras
from keras import layers

from app.artifact.arrays import F64
from training.networks import reservoir
from training.recipe import NetworkConfig
from training.signals import defer_signals

_CELLS = {"rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}
_INITIALIZERS = {"glorot": "glorot_uniform", "he": "he_normal", "orthogonal": "orthogonal", "identity": "identity"}


@defer_signals()
def build_network(
    config: NetworkConfig, shape: tuple[int, int], outputs: int, initial_outputs: F64 | None = None, horizon: int = 1
) -> keras.Model:
    """Build the network to serve: a sequential model from (B, T, F) inputs to (B, outputs).

    `many_to_one` and `many_to_many` compute all outputs from the state after the last step of the window. The other two
    structures run recurrent layers over the steps of the horizon. In `encoder_decoder`, the input of each step is that
    last state. In `one_to_many`, it is a dense encoding of the whole window.

    Args:
        config: The network's part of the recipe.
        shape: The steps T and features F of the input.
        outputs: The number of outputs, H·Q.
        initial_outputs: (H·Q,) outputs of the untrained network for every input. If the steps of the horizon share one
            output layer, each step gets the mean over the steps. None draws the output layer's weights at random.
        horizon: The number of steps ahead, H. Only `encoder_decoder` and `one_to_many` use it.
    """
    network = keras.Sequential([keras.Input(shape, name="window")], name="network")
    is_unrolled = config.structure in ("encoder_decoder", "one_to_many")
    if config.structure == "one_to_many":
        network.add(layers.Flatten())
        network.add(layers.Dense(config.units[0], activation="tanh"))
        network.add(layers.RepeatVector(horizon))
    for i, units in enumerate(config.units):
        is_last = i == len(config.units) - 1
        _add_recurrent(network, config, units, return_sequences=not is_last or config.structure == "one_to_many")
    if config.structure == "encoder_decoder":
        network.add(layers.RepeatVector(horizon))
        _add_recurrent(network, config, config.units[-1], return_sequences=True)
    if config.head:
        network.add(layers.Dense(config.head, activation="relu"))
    initializer = "glorot_uniform" if initial_outputs is None else "zeros"
    readout = layers.Dense(outputs // horizon if is_unrolled else outputs, kernel_initializer=initializer)
    network.add(readout)
    if initial_outputs is not None:
        readout.bias.assign(initial_outputs.reshape(horizon, -1).mean(axis=0) if is_unrolled else initial_outputs)
    if is_unrolled:
        network.add(layers.Flatten())  # (B, H, Q) to (B, H·Q)
    return network


def _add_recurrent(network: keras.Model, config: NetworkConfig, units: int, return_sequences: bool) -> None:
    """Add a recurrent layer with its initial weights, and the layers for its activity penalty and dropout."""
    if config.cell == "echo_state":
        network.add(reservoir.reservoir_layer(config.reservoir_or_default, units))
        reservoir.draw_reservoir(network.layers[-1], config.reservoir_or_default)
        return
    penalty = config.penalty
    layer = _CELLS[config.cell](
        units,
        activation=config.activation,
        return_sequences=return_sequences,
        recurrent_dropout=config.recurrent_dropout,
        kernel_initializer=_INITIALIZERS[config.kernel],
        recurrent_initializer=_INITIALIZERS[config.recurrent],
        kernel_regularizer=_regularizer(penalty.kernel_l1, penalty.kernel_l2),
        recurrent_regularizer=_regularizer(penalty.recurrent_l1, penalty.recurrent_l2),
    )
    network.add(layer)
    kernel, recurrent, bias = layer.get_weights()
    if config.forget_bias is not None:
        bias[units : 2 * units] = config.forget_bias  # Keras orders the gates input, forget, cell, output
    layer.set_weights([kernel, config.recurrent_scale * recurrent, bias])
    if penalty.activity_l1 or penalty.activity_l2:  # SimpleRNN ignores activity_regularizer
        network.add(layers.ActivityRegularization(penalty.activity_l1, penalty.activity_l2))
    if config.dropout:
        network.add(layers.Dropout(config.dropout))


def _regularizer(l1: float, l2: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


@defer_signals()
def training_graph(network: keras.Model, config: NetworkConfig) -> keras.Model:
    """Return the model to train. It shares its weights with `network`, so that training it also trains `network`.

    With `truncate`, gradients flow back at most that many steps (Williams & Peng, 1990). In `many_to_many`, every step
    has outputs, so that a window of T steps has T training targets instead of one. With both, gradients stop at fixed
    steps that are `truncate` apart. With neither, the result is `network` itself.

    Returns:
        A model from (B, T, F) inputs to (B, H·Q) outputs or, in `many_to_many`, (B, T·H·Q) outputs.
    """
    has_output_per_step = config.has_output_per_step
    if not (config.truncate or has_output_per_step):
        return network
    tensor = window = keras.Input(network.input_shape[1:], name="window")
    is_in_window = True  # False after RepeatVector, because its steps are those of the horizon
    for layer in network.layers:
        if is_in_window and isinstance(layer, layers.RNN):
            tensor = _unroll_in_segments(layer, tensor, config.truncate, has_output_per_step)
        else:
            is_in_window = is_in_window and not isinstance(layer, layers.RepeatVector)
            tensor = layer(tensor)
    return keras.Model(window, layers.Flatten()(tensor) if has_output_per_step else tensor, name="training_graph")


def _unroll_in_segments(layer: layers.RNN, tensor: Any, truncate: int | None, has_output_per_step: bool) -> Any:
    """Apply a recurrent layer to (B, T, F) segment by segment. Gradients do not flow between segments."""
    return_sequences = has_output_per_step or layer.return_sequences
    segment_layer = layers.RNN(
        layer.cell, return_sequences=return_sequences, return_state=True
    )  # shares the layer's weights
    steps = tensor.shape[1]
    cuts = list(range(steps - truncate, 0, -truncate))[::-1] if truncate else []
    outputs, state = [], None
    for start, stop in pairwise([0, *(cuts if has_output_per_step else cuts[-1:]), steps]):
        output, *state = segment_layer(tensor[:, start:stop], initial_state=state)
        state = [keras.ops.stop_gradient(each) for each in state]
        outputs.append(output)
    return keras.ops.concatenate(outputs, axis=1) if return_sequences else outputs[-1]


def inference_copy(network: keras.Model) -> keras.Model:
    """Copy the network without its loss and optimizer, so that it can be loaded without the classes of this package."""
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy
