"""Echo state networks (Jaeger, 2001): a fixed random reservoir, and a readout solved in closed form.

A leaky reservoir, s ← (1 − leak)·s + leak·tanh(W·x + U·s), is a GRU whose gates see nothing: an update gate that stands
at 1 − leak and a reset gate that stands at 1. So it is a layer that Keras, ONNX and every engine know already.
"""

import math

import keras
import numpy as np
from keras import layers

from app.artifact.transform import F32, F64
from training.data.blocks import EncodedSamples
from training.recipe import Recipe, Reservoir

SATURATED = 40.0  # of which a sigmoid is 1 in float32
CHUNK = 512  # windows whose states are in memory at once


def reservoir_layer(recipe: Reservoir, units: int) -> layers.GRU:
    """`count` reservoirs of `units` side by side in one layer, without weights yet."""
    return layers.GRU(recipe.count * units, reset_after=True, trainable=False, name="reservoir")


def draw_reservoir(gru: layers.GRU, recipe: Reservoir) -> None:
    """Gives a built layer its weights, at random by the seed that Keras was given."""
    rng = np.random.default_rng(int(keras.random.randint((), 0, 2**31 - 1)))
    kernel, recurrent, bias = (np.zeros(each.shape) for each in gru.get_weights())
    total = gru.units
    units = total // recipe.count
    kernel[:, 2 * total :] = rng.uniform(-recipe.input_scale, recipe.input_scale, (len(kernel), total))
    for start in range(0, total, units):
        one = slice(start, start + units)
        recurrent[one, 2 * total + start : 2 * total + start + units] = _recurrent(rng, units, recipe)
    keep = 1 - recipe.leak
    bias[0, :total] = math.log(keep / recipe.leak) if keep else -SATURATED
    bias[0, total : 2 * total] = SATURATED
    gru.set_weights([kernel, recurrent, bias])


def _recurrent(rng: np.random.Generator, units: int, recipe: Reservoir) -> F64:
    """(U, U) of the wanted sparsity and spectral radius."""
    while True:
        weights = rng.uniform(-1, 1, (units, units)) * (rng.random((units, units)) >= recipe.sparsity)
        radius = spectral_radius(weights)
        if radius > 1e-6:  # some are so sparse that nothing comes back to where it was
            scaled: F64 = weights * (recipe.spectral_radius / radius)
            return scaled


def spectral_radius(weights: F64) -> float:
    """The largest absolute eigenvalue of a square matrix."""
    return float(np.abs(np.linalg.eigvals(weights)).max())


def solve_readout(network: keras.Model, recipe: Recipe, train: EncodedSamples) -> F64:
    """Sets the readout by ridge regression on the states: of every step after the washout, or of the last alone.

    A regression gives means. Where quantiles are asked for, those of the residuals are added to it.

    Args:
        train: inputs (N, T, F), and targets (N, H), or (N, T·H) in `many_to_many`.

    Returns:
        (N, H·Q) what the network now answers to the inputs.
    """
    *_, gru, readout = network.layers
    window = keras.Input(network.input_shape[1:])
    states = keras.Model(window, layers.RNN(gru.cell, return_sequences=True)(window))
    inputs, targets = train
    futures = targets.reshape(len(targets), -1, recipe.horizon)  # (N, 1 or T, H)
    kernel, bias, last = _ridge(states, inputs, futures[:, recipe.network.echo.washout :], recipe.network.echo)
    means = last @ kernel + bias  # (N, H)
    spread = np.zeros((recipe.horizon, len(recipe.quantiles)))
    if recipe.training.loss == "pinball":
        spread = np.quantile(futures[:, -1] - means, recipe.quantiles, axis=0).T
    readout.set_weights([np.repeat(kernel, len(recipe.quantiles), axis=1), (bias[:, None] + spread).reshape(-1)])
    return (means[:, :, None] + spread).reshape(len(means), -1)


def _ridge(states: keras.Model, inputs: F32, futures: F64, recipe: Reservoir) -> tuple[F64, F64, F64]:
    """(U, H) and (H,): the mean over reservoirs of the readouts that each has for itself, with an intercept.

    And (N, U): the state after the last step of each window.

    Args:
        futures: (N, S, H) of the last S steps.
    """
    horizon = futures.shape[2]
    total, products, count, last = 0.0, 0.0, 0, []
    for start in range(0, len(inputs), CHUNK):
        every = np.asarray(states.predict_on_batch(inputs[start : start + CHUNK]), dtype=np.float64)  # (n, T, U)
        said = every[:, -futures.shape[1] :]  # (n, S, U)
        came = futures[start : start + CHUNK]
        both = np.concatenate([said, came], axis=2).reshape(-1, said.shape[2] + horizon)
        total, products, count = total + both.sum(axis=0), products + both.T @ both, count + len(both)
        last.append(every[:, -1].copy())  # a view would keep every step of every chunk
    mean = np.asarray(total) / count
    covariance = np.asarray(products) / count - np.outer(mean, mean)  # (U + H, U + H)
    kernel = np.zeros((len(mean) - horizon, horizon))
    units = len(kernel) // recipe.count
    for start in range(0, len(kernel), units):
        one = slice(start, start + units)
        penalised = covariance[one, one] + recipe.ridge * np.eye(units)
        kernel[one] = np.linalg.solve(penalised, covariance[one, -horizon:]) / recipe.count
    return kernel, mean[-horizon:] - mean[:-horizon] @ kernel, np.concatenate(last)
