"""Networks: what a recipe describes, in Keras 3. Pure Keras, so that every backend can train and serve them."""

from itertools import pairwise
from typing import Any

import keras
from keras import layers

from app.artifact.transform import F64
from training.networks import reservoir
from training.recipe import Network
from training.signals import defer_signals

_CELLS = {"rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}
_STARTS = {"glorot": "glorot_uniform", "he": "he_normal", "orthogonal": "orthogonal", "identity": "identity"}


@defer_signals()
def build_network(
    recipe: Network, shape: tuple[int, int], outputs: int, start_at: F64 | None = None, horizon: int = 1
) -> keras.Model:
    """A network from (B, T, F) to (B, outputs), of plain layers one after the other: what is served.

    `many_to_one` and `many_to_many` answer by the state after the last step. `encoder_decoder` repeats that state as
    the input of `horizon` steps of one more recurrent layer, which answers at each. `one_to_many` does so with a state
    that a dense layer makes of the whole window at once.

    Args:
        shape: (T, F), steps and features.
        outputs: H·Q.
        start_at: (outputs,) what the untrained network answers to everything; drawn at random unless given. A path
            starts at the mean over its steps, which share their readout.
        horizon: H, needed for a path.
    """
    network = keras.Sequential([keras.Input(shape, name="window")], name="network")
    path = recipe.structure in ("encoder_decoder", "one_to_many")
    if recipe.structure == "one_to_many":
        for layer in (layers.Flatten(), layers.Dense(recipe.units[0], activation="tanh"), layers.RepeatVector(horizon)):
            network.add(layer)
    for i, units in enumerate(recipe.units):
        last = i == len(recipe.units) - 1
        _add_recurrent(network, recipe, units, sequences=not last or recipe.structure == "one_to_many")
    if recipe.structure == "encoder_decoder":
        network.add(layers.RepeatVector(horizon))
        _add_recurrent(network, recipe, recipe.units[-1], sequences=True)
    if recipe.head:
        network.add(layers.Dense(recipe.head, activation="relu"))
    starts = "glorot_uniform" if start_at is None else "zeros"
    readout = layers.Dense(outputs // horizon if path else outputs, kernel_initializer=starts)
    network.add(readout)
    if start_at is not None:
        readout.bias.assign(start_at.reshape(horizon, -1).mean(axis=0) if path else start_at)
    if path:
        network.add(layers.Flatten())  # (B, H, Q) to (B, H·Q)
    return network


def _add_recurrent(network: keras.Model, recipe: Network, units: int, sequences: bool) -> None:
    if recipe.cell == "echo_state":
        network.add(reservoir.reservoir_layer(recipe.echo, units))
        reservoir.draw_reservoir(network.layers[-1], recipe.echo)
        return
    penalty = recipe.penalty
    layer = _CELLS[recipe.cell](
        units,
        activation=recipe.activation,
        return_sequences=sequences,
        recurrent_dropout=recipe.recurrent_dropout,
        kernel_initializer=_STARTS[recipe.kernel],
        recurrent_initializer=_STARTS[recipe.recurrent],
        kernel_regularizer=_regularizer(penalty.kernel_l1, penalty.kernel_l2),
        recurrent_regularizer=_regularizer(penalty.recurrent_l1, penalty.recurrent_l2),
    )
    network.add(layer)
    kernel, recurrent, bias = layer.get_weights()
    if recipe.forget_bias is not None:
        bias[units : 2 * units] = recipe.forget_bias  # the gates are input, forget, cell, output
    layer.set_weights([kernel, recipe.recurrent_scale * recurrent, bias])
    if penalty.activity_l1 or penalty.activity_l2:  # not the layer's own: SimpleRNN would ignore it
        network.add(layers.ActivityRegularization(penalty.activity_l1, penalty.activity_l2))
    if recipe.dropout:
        network.add(layers.Dropout(recipe.dropout))


def _regularizer(l1: float, l2: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


@defer_signals()
def training_graph(network: keras.Model, recipe: Network) -> keras.Model:
    """The network as it is trained: the same weights, so that training one trains the other.

    With `truncate` no gradient goes back further than so many steps (Williams & Peng, 1990). In `many_to_many` every
    step answers, so that the outputs are (B, T·H·Q): a window of T steps gives T lessons instead of one; and where it
    is truncated, a step is at most so many steps after the last place at which gradients stop.
    """
    every = recipe.every_step
    if not (recipe.truncate or every):
        return network
    flow = window = keras.Input(network.input_shape[1:], name="window")
    reads = True  # the window still, rather than what was made of it
    for layer in network.layers:
        if reads and isinstance(layer, layers.RNN):
            flow = _through_time(layer, flow, recipe.truncate, every)
        else:
            reads = reads and not isinstance(layer, layers.RepeatVector)
            flow = layer(flow)
    return keras.Model(window, layers.Flatten()(flow) if every else flow, name="arranged")


def _through_time(layer: layers.RNN, flow: Any, truncate: int | None, every: bool) -> Any:
    """What a recurrent layer says of (B, T, F), its state passed on without gradient where it is cut."""
    sequences = every or layer.return_sequences
    twin = layers.RNN(layer.cell, return_sequences=sequences, return_state=True)  # its cell: the weights themselves
    steps = flow.shape[1]
    cuts = list(range(steps - truncate, 0, -truncate))[::-1] if truncate else []
    said, state = [], None
    for start, stop in pairwise([0, *(cuts if every else cuts[-1:]), steps]):
        out, *state = twin(flow[:, start:stop], initial_state=state)
        state = [keras.ops.stop_gradient(each) for each in state]
        said.append(out)
    return keras.ops.concatenate(said, axis=1) if sequences else said[-1]


def inference_copy(network: keras.Model) -> keras.Model:
    """The network without its loss and the optimizer's state: what serving needs, and what any Keras can load."""
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy
