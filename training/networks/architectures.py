"""Builds the Keras network of a recipe. Uses Keras alone, so that every backend can train and serve the network."""

from itertools import pairwise
from typing import Any

import keras
from keras import layers

from app.artifact.transform import F64
from training.networks import reservoir
from training.recipe import NetworkConfig
from training.signals import defer_signals

_CELLS = {"rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}
_INITIALIZERS = {"glorot": "glorot_uniform", "he": "he_normal", "orthogonal": "orthogonal", "identity": "identity"}


@defer_signals()
def build_network(
    config: NetworkConfig, shape: tuple[int, int], outputs: int, start_at: F64 | None = None, horizon: int = 1
) -> keras.Model:
    """Build the network to serve, a sequential model from (B, T, F) to (B, outputs).

    `many_to_one` and `many_to_many` compute all outputs from the state after the last step. The other two structures
    have outputs at each step of the horizon: `encoder_decoder` repeats that last state as the input of one more
    recurrent layer, and `one_to_many` repeats a dense encoding of the whole window as the input of its recurrent
    layers.

    Args:
        config: The network's part of the recipe.
        shape: (T, F), the steps and the features of the input.
        outputs: H·Q.
        start_at: (outputs,) Outputs of the untrained network for every input. If the steps of the horizon share one
            output layer, they start at the mean over the steps. None draws the output layer's weights at random.
        horizon: H, used by `encoder_decoder` and `one_to_many`.
    """
    network = keras.Sequential([keras.Input(shape, name="window")], name="network")
    is_unrolled = config.structure in ("encoder_decoder", "one_to_many")
    if config.structure == "one_to_many":
        network.add(layers.Flatten())
        network.add(layers.Dense(config.units[0], activation="tanh"))
        network.add(layers.RepeatVector(horizon))
    for i, units in enumerate(config.units):
        is_last = i == len(config.units) - 1
        _add_recurrent(network, config, units, has_sequences=not is_last or config.structure == "one_to_many")
    if config.structure == "encoder_decoder":
        network.add(layers.RepeatVector(horizon))
        _add_recurrent(network, config, config.units[-1], has_sequences=True)
    if config.head:
        network.add(layers.Dense(config.head, activation="relu"))
    initializer = "glorot_uniform" if start_at is None else "zeros"
    readout = layers.Dense(outputs // horizon if is_unrolled else outputs, kernel_initializer=initializer)
    network.add(readout)
    if start_at is not None:
        readout.bias.assign(start_at.reshape(horizon, -1).mean(axis=0) if is_unrolled else start_at)
    if is_unrolled:
        network.add(layers.Flatten())  # (B, H, Q) to (B, H·Q)
    return network


def _add_recurrent(network: keras.Model, config: NetworkConfig, units: int, has_sequences: bool) -> None:
    if config.cell == "echo_state":
        network.add(reservoir.reservoir_layer(config.reservoir_or_default, units))
        reservoir.draw_reservoir(network.layers[-1], config.reservoir_or_default)
        return
    penalty = config.penalty
    layer = _CELLS[config.cell](
        units,
        activation=config.activation,
        return_sequences=has_sequences,
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
    if penalty.activity_l1 or penalty.activity_l2:  # a separate layer, because SimpleRNN ignores activity_regularizer
        network.add(layers.ActivityRegularization(penalty.activity_l1, penalty.activity_l2))
    if config.dropout:
        network.add(layers.Dropout(config.dropout))


def _regularizer(l1: float, l2: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


@defer_signals()
def training_graph(network: keras.Model, config: NetworkConfig) -> keras.Model:
    """Return the model to train. It shares all weights with `network`, so training it trains `network`.

    With `truncate`, gradients flow back at most that many steps (Williams & Peng, 1990). In `many_to_many`, every step
    has outputs, (B, T·H·Q) in all, so that a window of T steps gives T training targets instead of one. With both,
    gradients stop at fixed steps that are `truncate` apart.

    Without either, the result is `network` itself.
    """
    has_output_per_step = config.has_output_per_step
    if not (config.truncate or has_output_per_step):
        return network
    flow = window = keras.Input(network.input_shape[1:], name="window")
    is_in_window = True  # False after RepeatVector, where the steps are those of the horizon
    for layer in network.layers:
        if is_in_window and isinstance(layer, layers.RNN):
            flow = _unroll_in_segments(layer, flow, config.truncate, has_output_per_step)
        else:
            is_in_window = is_in_window and not isinstance(layer, layers.RepeatVector)
            flow = layer(flow)
    return keras.Model(window, layers.Flatten()(flow) if has_output_per_step else flow, name="training_graph")


def _unroll_in_segments(layer: layers.RNN, flow: Any, truncate: int | None, has_output_per_step: bool) -> Any:
    """Apply a recurrent layer to (B, T, F) segment by segment. Gradients do not flow between segments."""
    has_sequences = has_output_per_step or layer.return_sequences
    twin = layers.RNN(layer.cell, return_sequences=has_sequences, return_state=True)  # shares the cell's weights
    steps = flow.shape[1]
    cuts = list(range(steps - truncate, 0, -truncate))[::-1] if truncate else []
    outputs, state = [], None
    for start, stop in pairwise([0, *(cuts if has_output_per_step else cuts[-1:]), steps]):
        output, *state = twin(flow[:, start:stop], initial_state=state)
        state = [keras.ops.stop_gradient(each) for each in state]
        outputs.append(output)
    return keras.ops.concatenate(outputs, axis=1) if has_sequences else outputs[-1]


def inference_copy(network: keras.Model) -> keras.Model:
    """Copy the network without its loss and optimizer, so that it can be loaded without this package's classes."""
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy
