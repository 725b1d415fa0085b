"""How gradients flow back through time: what the loss, and the last state, owe to each step of the window.

A plain recurrent network multiplies its gradient by nearly the same matrix at every step back, so that it vanishes or
explodes with the distance (Bengio, Simard & Frasconi, 1994; Pascanu, Mikolov & Bengio, 2013).

Keras names no derivative that all of its backends know. But it descends gradients on all of them: a weight of 0 that is
added to an input, or to a state, has become minus the gradient after one step at rate 1.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import keras
import numpy as np
from keras import layers

from app.artifact.transform import F32, F64
from training.data.blocks import EncodedSamples
from training.fitting.losses import loss_of
from training.fitting.training_loop import clipping
from training.networks import architectures, reservoir
from training.recipe import Recipe
from training.signals import defer_signals

WINDOWS = 64  # that a gradient is measured on
VANISHING, EXPLODING = 1e-2, 30.0  # first over last; a window that matters a hundred times less at its start is lost

Verdict = Literal["vanishing", "stable", "exploding", "cut"]


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The gradients of a network at one moment, oldest step first."""

    moment: str
    loss: F64  # (T,) |∂loss/∂x_t| of the last answer's loss, in the mean over windows
    state: F64 | None  # (T,) |∂h_T/∂h_t| over |∂h_T/∂h_T|, as root mean square; none where no layer reads the window
    norm: float  # of the gradient of all weights
    step: float  # the same, as far as clipping lets it through
    radius: float | None  # spectral radius of the recurrent weights; none where there are none, or no numbers any more

    @property
    def ratio(self) -> float:
        """Of the first step to the last."""
        return first_over_last(self.loss)

    @property
    def verdict(self) -> Verdict:
        if not np.isfinite(self.loss).all():
            return "exploding"
        if self.ratio == 0 and self.loss[-1] > 0 and self.loss[np.argmax(self.loss > 0)] > VANISHING * self.loss[-1]:
            return "cut"
        return "vanishing" if self.ratio < VANISHING else "exploding" if self.ratio > EXPLODING else "stable"


def first_over_last(gradients: F64) -> float:
    if not gradients[-1]:
        return float("inf") if gradients[0] else 0.0
    return float(gradients[0]) / float(gradients[-1])


def draw_readout(network: keras.Model) -> None:
    """Draws the weights of the last dense layer at random where they are 0: nothing would flow back through them."""
    *_, readout = (layer for layer in network.layers if isinstance(layer, layers.Dense))
    kernel, bias = readout.get_weights()
    if not kernel.any():
        drawn = keras.initializers.GlorotUniform(seed=1)(kernel.shape)
        readout.set_weights([keras.ops.convert_to_numpy(drawn), bias])


class GradientProbe:
    """Measures one network, as often as asked; leaves it as it is, its dropout's random numbers too."""

    def __init__(self, network: keras.Model, recipe: Recipe, lessons: EncodedSamples) -> None:
        """
        Args:
            lessons: inputs (N, T, F) and their targets, as in training.
        """
        chosen = np.unique(np.linspace(0, len(lessons[0]) - 1, WINDOWS).astype(int))
        self._inputs, self._targets = lessons[0][chosen], lessons[1][chosen]
        self._network = network
        self._recipe = recipe
        self._trained = architectures.training_graph(network, recipe.network)
        self._reader = _reader(network)

    @defer_signals()
    @np.errstate(invalid="ignore")  # of infinite weights
    def measure(self, moment: str) -> GradientFlow:
        count = len(self._inputs)
        loss = loss_of(self._recipe.training, self._recipe.quantiles)
        window = keras.Input(batch_shape=self._inputs.shape)
        whole = keras.Model(window, self._trained(window))
        free = clipped = self._descend(whole, self._inputs, self._targets, loss)
        if self._recipe.training.clips:
            clipped = self._descend(whole, self._inputs, self._targets, loss, **clipping(self._recipe.training))
        nudge = _Nudge()
        horizon = self._recipe.horizon  # of the last answer alone: each earlier step matters to its own
        last = keras.Model(window, self._trained(nudge(window))[:, -horizon * len(self._recipe.quantiles) :])
        self._descend(last, self._inputs, self._targets[:, -horizon:], loss)
        by_input = count * np.linalg.norm(_numbers(nudge), axis=2)  # (N, T); the loss is a mean over windows
        return GradientFlow(
            moment=moment,
            loss=by_input.mean(axis=0),
            state=None if self._reader is None else self._state(self._reader),
            norm=free,
            step=clipped,
            radius=None if self._reader is None else radius(self._reader),
        )

    def _state(self, reader: layers.RNN) -> F64:
        """Root mean squares of gradients of random projections: those of the Jacobian's entries (Hutchinson, 1990)."""
        inputs: Any = self._inputs
        for layer in takewhile(lambda layer: layer is not reader, self._network.layers):
            if isinstance(layer, layers.RNN):  # what is between them acts only while training
                with _kept(layer):  # it draws for dropout all the same
                    inputs = layer(inputs, training=False)
        inputs = keras.ops.convert_to_numpy(inputs)  # (N, T, ·)
        window = keras.Input(batch_shape=inputs.shape)
        nudge = _StateNudge(sum(_sizes(reader.cell)))
        last = layers.RNN(_NudgedCell(reader.cell))(nudge(window))
        ways = np.random.default_rng(1).standard_normal(last.shape).astype(np.float32)
        self._descend(keras.Model(window, last), inputs, ways, _along)
        size = np.sqrt(np.mean(np.sum(_numbers(nudge) ** 2, axis=2), axis=0))  # (T,)
        found: F64 = size / size[-1]
        return found

    def _descend(self, model: keras.Model, inputs: F32, targets: Any, loss: Any, **clip: float | None) -> float:
        """One step of plain gradient descent at rate 1, undone but for nudges; the norm of what it did to weights."""
        before = self._network.get_weights()
        with _kept(self._network):
            model.compile(keras.optimizers.SGD(1.0, **clip), loss, run_eagerly=True)
            model.train_on_batch(inputs, targets)
            moved = [after - start for after, start in zip(self._network.get_weights(), before, strict=True)]
        return float(np.sqrt(sum(np.sum(each.astype(np.float64) ** 2) for each in moved)))


@contextmanager
def _kept(layer: layers.Layer) -> Iterator[None]:
    """Gives all variables back their values in the end: weights, and the states of what draws for dropout."""
    before = [keras.ops.copy(each.value) for each in layer.variables]
    try:
        yield
    finally:
        for variable, value in zip(layer.variables, before, strict=True):
            variable.assign(value)


def _reader(network: keras.Model) -> layers.RNN | None:
    """The last recurrent layer that goes through the window."""
    found = None
    for layer in network.layers:
        if isinstance(layer, layers.RNN):
            found = layer
        if isinstance(layer, layers.RepeatVector):  # beyond it, what is made of the window is gone through
            return found
    return found


def radius(layer: layers.RNN) -> float | None:
    """The spectral radius of the recurrent weights, in a cell with gates of those that make its candidate."""
    recurrent = np.asarray(layer.cell.get_weights()[1], dtype=np.float64)  # (U, G·U)
    if not np.isfinite(recurrent).all():
        return None
    gate = 2 if recurrent.shape[1] > layer.units else 0
    return reservoir.spectral_radius(recurrent[:, gate * layer.units : (gate + 1) * layer.units])


def _numbers(nudge: layers.Layer) -> F64:
    """(N, T, ·): how far it was moved."""
    moved: F64 = keras.ops.convert_to_numpy(nudge.moved).astype(np.float64)
    return moved


def _along(ways: Any, state: Any) -> Any:
    return keras.ops.sum(ways * state, axis=-1)


def _sizes(cell: layers.Layer) -> list[int]:
    """Of each array that a cell hands on: the state, and the memory of an LSTM."""
    return list(cell.state_size) if isinstance(cell.state_size, Sequence) else [cell.state_size]


class _Nudge(layers.Layer):  # type: ignore[misc]  # Keras has no type hints
    """Adds a weight of the shape of one batch, which is 0."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.moved = self.add_weight(shape=shape, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return inputs + self.moved


class _StateNudge(layers.Layer):  # type: ignore[misc]
    """Appends to each step what is to be added to its state: a weight, which is 0."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def build(self, shape: tuple[int, ...]) -> None:
        self.moved = self.add_weight(shape=(*shape[:2], self._size), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        return keras.ops.concatenate([inputs, self.moved], axis=2)


class _NudgedCell(layers.Layer):  # type: ignore[misc]
    """A cell whose state is nudged after each step, by what its input ends with."""

    def __init__(self, cell: layers.Layer) -> None:
        super().__init__()
        self.cell = cell
        self.state_size = cell.state_size
        self._sizes = _sizes(cell)

    def call(self, inputs: Any, states: Sequence[Any]) -> Any:
        places = np.cumsum(self._sizes[::-1])[::-1]
        inputs, *nudges = keras.ops.split(inputs, [int(inputs.shape[-1] - place) for place in places], axis=-1)
        _, states = self.cell(inputs, states, training=False)
        moved = [state + nudge for state, nudge in zip(states, nudges, strict=True)]
        return moved[0], moved
