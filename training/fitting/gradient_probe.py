"""Measures how gradients flow back through time: how much the loss and the last state depend on each earlier step.

A plain recurrent network multiplies the gradient by nearly the same matrix at each step back, so that the gradient
vanishes or explodes with the distance (Bengio, Simard & Frasconi, 1994; Pascanu, Mikolov & Bengio, 2013).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import keras
import numpy as np
from keras import layers

from app.artifact.arrays import F32, F64
from training.data.split import EncodedSamples
from training.fitting.losses import build_loss
from training.fitting.perturbation import Perturbation, PerturbedCell, StatePerturbation, gradient_of, state_sizes
from training.fitting.training_loop import clipping_arguments
from training.networks import architectures, reservoir
from training.recipe import Recipe
from training.signals import defer_signals

PROBE_WINDOWS = 64  # number of windows in a measurement

# Limits of `GradientFlow.ratio`: the gradient by the first step divided by the gradient by the last step.
VANISHING, EXPLODING = 1e-2, 30.0

Verdict = Literal["vanishing", "stable", "exploding", "cut"]


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The gradients of a network at one moment of its training, oldest step first.

    Attributes:
        moment: When they were measured, such as "before" or "epoch 1".
        loss_gradients: (T,) norms |∂loss/∂x_t|, averaged over windows, where the loss is that of the last output.
        state_gradients: (T,) root mean squares of ∂h_T/∂h_t, divided by that of ∂h_T/∂h_T. None if no recurrent layer
            reads the window.
        gradient_norm: Norm of the gradient of all weights.
        step_norm: Norm of the gradient of all weights after clipping.
        spectral_radius: Spectral radius of the recurrent weights. None if there are no recurrent weights, or if they
            are not finite.
    """

    moment: str
    loss_gradients: F64  # (T,)
    state_gradients: F64 | None  # (T,)
    gradient_norm: float
    step_norm: float
    spectral_radius: float | None

    @property
    def ratio(self) -> float:
        """The loss gradient of the first step divided by that of the last step."""
        return first_to_last_ratio(self.loss_gradients)

    @property
    def verdict(self) -> Verdict:
        """Whether gradients vanish, stay stable or explode with the distance, or are cut off by truncation."""
        gradients = self.loss_gradients
        if not np.isfinite(gradients).all():
            return "exploding"
        first_nonzero = gradients[np.argmax(gradients > 0)]
        # Truncation leaves gradients of exactly 0, and then one that is not small.
        if self.ratio == 0 and gradients[-1] > 0 and first_nonzero > VANISHING * gradients[-1]:
            return "cut"
        return "vanishing" if self.ratio < VANISHING else "exploding" if self.ratio > EXPLODING else "stable"


def first_to_last_ratio(gradients: F64) -> float:
    """Return the first of (T,) gradients divided by the last. The ratio is infinite if only the last is 0."""
    if not gradients[-1]:
        return float("inf") if gradients[0] else 0.0
    return float(gradients[0]) / float(gradients[-1])


def randomize_zero_readout(network: keras.Model) -> None:
    """Draw the weights of the output layer at random if they are all 0, which would block every gradient."""
    *_, readout = (layer for layer in network.layers if isinstance(layer, layers.Dense))
    kernel, bias = readout.get_weights()
    if not kernel.any():
        drawn = keras.initializers.GlorotUniform(seed=1)(kernel.shape)
        readout.set_weights([keras.ops.convert_to_numpy(drawn), bias])


class GradientProbe:
    """Measures the gradients of a network without changing its weights or the state of its random generators.

    Args:
        network: Network to measure.
        recipe: Recipe of the network.
        samples: Inputs (N, T, F) and their targets, as for training. Measurements use `PROBE_WINDOWS` of them.
    """

    def __init__(self, network: keras.Model, recipe: Recipe, samples: EncodedSamples) -> None:
        chosen = np.unique(np.linspace(0, len(samples[0]) - 1, PROBE_WINDOWS).astype(int))
        self._inputs, self._targets = samples[0][chosen], samples[1][chosen]
        self._network = network
        self._recipe = recipe
        self._training_graph = architectures.training_graph(network, recipe.network)
        self._probed_layer = _last_window_layer(network)

    @defer_signals()
    @np.errstate(invalid="ignore")  # the weights of a diverged network are infinite
    def measure(self, moment: str) -> GradientFlow:
        """Measure the gradients with the current weights, and label them with the moment."""
        count = len(self._inputs)
        config = self._recipe.training
        loss = build_loss(config, self._recipe.quantiles)
        window = keras.Input(batch_shape=self._inputs.shape)
        model = keras.Model(window, self._training_graph(window))
        gradient_norm = step_norm = self._take_step(model, self._inputs, self._targets, loss)
        if config.clipping_keys:
            step_norm = self._take_step(model, self._inputs, self._targets, loss, **clipping_arguments(config))
        perturbation = Perturbation()
        horizon = self._recipe.horizon
        # Only the last output counts. In many_to_many, the earlier steps have outputs too.
        outputs = self._training_graph(perturbation(window))[:, -horizon * len(self._recipe.quantiles) :]
        self._take_step(keras.Model(window, outputs), self._inputs, self._targets[:, -horizon:], loss)
        by_window = count * np.linalg.norm(gradient_of(perturbation), axis=2)  # (N, T); the loss averages over windows
        return GradientFlow(
            moment=moment,
            loss_gradients=by_window.mean(axis=0),
            state_gradients=None if self._probed_layer is None else self._state_gradients(self._probed_layer),
            gradient_norm=gradient_norm,
            step_norm=step_norm,
            spectral_radius=None if self._probed_layer is None else recurrent_spectral_radius(self._probed_layer),
        )

    def _state_gradients(self, probed_layer: layers.RNN) -> F64:
        """Estimate the (T,) relative root mean squares of ∂h_T/∂h_t from random projections (Hutchinson, 1990)."""
        inputs: Any = self._inputs
        for layer in takewhile(lambda layer: layer is not probed_layer, self._network.layers):
            if isinstance(layer, layers.RNN):  # layers between recurrent layers act only during training
                with _restored_variables(layer):  # the random generators of dropout advance even at inference
                    inputs = layer(inputs, training=False)
        inputs = keras.ops.convert_to_numpy(inputs)  # (N, T, ·)
        window = keras.Input(batch_shape=inputs.shape)
        perturbation = StatePerturbation(sum(state_sizes(probed_layer.cell)))
        last_state = layers.RNN(PerturbedCell(probed_layer.cell))(perturbation(window))
        directions = np.random.default_rng(1).standard_normal(last_state.shape).astype(np.float32)
        self._take_step(keras.Model(window, last_state), inputs, directions, _projection)
        size = np.sqrt(np.mean(np.sum(gradient_of(perturbation) ** 2, axis=2), axis=0))  # (T,)
        relative: F64 = size / size[-1]
        return relative

    def _take_step(self, model: keras.Model, inputs: F32, targets: Any, loss: Any, **clipping: float | None) -> float:
        """Take one step of gradient descent at rate 1, and restore all weights except those of perturbations.

        Returns:
            The norm of the step over all weights of the network.
        """
        before = self._network.get_weights()
        with _restored_variables(self._network):
            model.compile(keras.optimizers.SGD(1.0, **clipping), loss, run_eagerly=True)
            model.train_on_batch(inputs, targets)
            steps = [after - start for after, start in zip(self._network.get_weights(), before, strict=True)]
        return float(np.sqrt(sum(np.sum(each.astype(np.float64) ** 2) for each in steps)))


@contextmanager
def _restored_variables(layer: layers.Layer) -> Iterator[None]:
    """Restore all variables on exit: the weights, and the states of the random generators of dropout."""
    before = [keras.ops.copy(each.value) for each in layer.variables]
    try:
        yield
    finally:
        for variable, value in zip(layer.variables, before, strict=True):
            variable.assign(value)


def _last_window_layer(network: keras.Model) -> layers.RNN | None:
    """Return the last recurrent layer whose steps are those of the window, or None if there is none."""
    found = None
    for layer in network.layers:
        if isinstance(layer, layers.RNN):
            found = layer
        if isinstance(layer, layers.RepeatVector):  # the steps after it are those of the horizon
            return found
    return found


def recurrent_spectral_radius(layer: layers.RNN) -> float | None:
    """Return the spectral radius of the recurrent weights, or None if they are not finite.

    For a GRU or an LSTM, only the weights of the candidate state are used.
    """
    recurrent = np.asarray(layer.cell.get_weights()[1], dtype=np.float64)  # (U, G·U)
    if not np.isfinite(recurrent).all():
        return None
    candidate = 2 if recurrent.shape[1] > layer.units else 0  # Keras orders i, f, c, o in an LSTM and z, r, h in a GRU
    return reservoir.spectral_radius(recurrent[:, candidate * layer.units : (candidate + 1) * layer.units])


def _projection(directions: Any, state: Any) -> Any:
    """Project (N, U) states on (N, U) directions. The signature is that of a Keras loss."""
    return keras.ops.sum(directions * state, axis=-1)
