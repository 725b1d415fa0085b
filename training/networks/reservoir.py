"""Echo state networks (Jaeger, 2001): a fixed random reservoir, and a readout solved in closed form.

A leaky reservoir, s ← (1 − leak)·s + leak·tanh(W·x + U·s), is a GRU whose gates are constant: the update gate is
1 − leak and the reset gate is 1. As a GRU layer, it works in Keras, in ONNX and in every engine without further code.
"""

import math

import keras
import numpy as np
from keras import layers

from app.artifact.arrays import F32, F64
from training.data.split import EncodedSamples
from training.recipe import Recipe, ReservoirConfig

SATURATING_BIAS = 40.0  # its sigmoid is 1 in float32
CHUNK_WINDOWS = 512  # number of windows whose states are in memory at the same time


def reservoir_layer(config: ReservoirConfig, units: int) -> layers.GRU:
    """Create one layer for `config.count` reservoirs of `units` units each. It is not built and has no weights yet."""
    return layers.GRU(config.count * units, reset_after=True, trainable=False, name="reservoir")


def draw_reservoir(gru: layers.GRU, config: ReservoirConfig) -> None:
    """Draw the weights of a built reservoir layer at random. Keras's global seed determines them."""
    rng = np.random.default_rng(int(keras.random.randint((), 0, 2**31 - 1)))
    kernel, recurrent, bias = (np.zeros(each.shape) for each in gru.get_weights())
    total = gru.units
    units = total // config.count
    kernel[:, 2 * total :] = rng.uniform(-config.input_scale, config.input_scale, (len(kernel), total))
    for start in range(0, total, units):
        rows = slice(start, start + units)
        recurrent[rows, 2 * total + start : 2 * total + start + units] = _draw_recurrent(rng, units, config)
    update_gate = 1 - config.leak
    bias[0, :total] = math.log(update_gate / config.leak) if update_gate else -SATURATING_BIAS
    bias[0, total : 2 * total] = SATURATING_BIAS
    gru.set_weights([kernel, recurrent, bias])


def _draw_recurrent(rng: np.random.Generator, units: int, config: ReservoirConfig) -> F64:
    """Draw (U, U) recurrent weights with the configured sparsity and spectral radius."""
    while True:
        weights = rng.uniform(-1, 1, (units, units)) * (rng.random((units, units)) >= config.sparsity)
        radius = spectral_radius(weights)
        if radius > 1e-6:  # a very sparse matrix may have no cycle, and then its spectral radius is 0
            scaled: F64 = weights * (config.spectral_radius / radius)
            return scaled


def spectral_radius(weights: F64) -> float:
    """Return the largest absolute eigenvalue of a square matrix."""
    return float(np.abs(np.linalg.eigvals(weights)).max())


def solve_readout(network: keras.Model, recipe: Recipe, train: EncodedSamples) -> F64:
    """Fit the readout by ridge regression on the states of the reservoirs.

    `many_to_one` uses the last state of each window, and `many_to_many` uses every state after the washout. The
    regression estimates means. With the pinball loss, the quantiles of the residuals are added to the means.

    Args:
        network: Echo state network. Its readout is changed in place.
        recipe: Recipe of the network.
        train: Inputs (N, T, F), and targets (N, H) or, in `many_to_many`, (N, T·H).

    Returns:
        (N, H·Q) outputs of the fitted network for the inputs.
    """
    *_, gru, readout = network.layers
    window = keras.Input(network.input_shape[1:])
    states = keras.Model(window, layers.RNN(gru.cell, return_sequences=True)(window))
    inputs, targets = train
    config = recipe.network.reservoir_or_default
    futures = targets.reshape(len(targets), -1, recipe.horizon)  # (N, 1 or T, H)
    kernel, bias, last_states = _solve_ridge(states, inputs, futures[:, config.washout :], config)
    means = last_states @ kernel + bias  # (N, H)
    spread = np.zeros((recipe.horizon, len(recipe.quantiles)))
    if recipe.training.loss == "pinball":
        spread = np.quantile(futures[:, -1] - means, recipe.quantiles, axis=0).T
    readout.set_weights([np.repeat(kernel, len(recipe.quantiles), axis=1), (bias[:, None] + spread).reshape(-1)])
    return (means[:, :, None] + spread).reshape(len(means), -1)


def _solve_ridge(states: keras.Model, inputs: F32, futures: F64, config: ReservoirConfig) -> tuple[F64, F64, F64]:
    """Solve one ridge regression with intercept for each reservoir, and average their predictions.

    Args:
        states: Model from inputs to the (N, T, U) states after each step.
        inputs: (N, T, F) inputs.
        futures: (N, S, H) targets of the last S steps of each window.
        config: Ridge penalty and number of reservoirs.

    Returns:
        The (U, H) kernel, the (H,) bias, and the (N, U) states after the last step.
    """
    horizon = futures.shape[2]
    sums, products, count, last_states = 0.0, 0.0, 0, []
    for start in range(0, len(inputs), CHUNK_WINDOWS):
        batch = inputs[start : start + CHUNK_WINDOWS]
        all_states = np.asarray(states.predict_on_batch(batch), dtype=np.float64)  # (n, T, U)
        regressors = all_states[:, -futures.shape[1] :]  # (n, S, U)
        targets = futures[start : start + CHUNK_WINDOWS]
        joint = np.concatenate([regressors, targets], axis=2).reshape(-1, regressors.shape[2] + horizon)
        sums, products, count = sums + joint.sum(axis=0), products + joint.T @ joint, count + len(joint)
        last_states.append(all_states[:, -1].copy())  # a view would keep all states of every chunk in memory
    mean = np.asarray(sums) / count
    covariance = np.asarray(products) / count - np.outer(mean, mean)  # (U + H, U + H)
    kernel = np.zeros((len(mean) - horizon, horizon))
    units = len(kernel) // config.count
    for start in range(0, len(kernel), units):
        rows = slice(start, start + units)
        penalized = covariance[rows, rows] + config.ridge * np.eye(units)
        kernel[rows] = np.linalg.solve(penalized, covariance[rows, -horizon:]) / config.count
    return kernel, mean[-horizon:] - mean[:-horizon] @ kernel, np.concatenate(last_states)
