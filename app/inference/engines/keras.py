"""The GPU engine: Keras 3 on any of its backends. Importing this module imports Keras."""

import functools
import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from app.artifact.arrays import F32

TIMED_CALLS = 3  # for each batch size, after the call that compiles it


class KerasEngine:
    """The saved Keras network, compiled for a few fixed batch sizes.

    A batch is cut into pieces of these sizes, and the last piece is padded with zeros. The cheapest cut is chosen from
    the time that one call of each size took at startup. On a GPU the time depends mostly on the number of steps, not
    of windows: one padded call of 512 computes 65 windows faster than a call of 64 and a call of 1. A CPU pays for
    every row.
    """

    name = "keras"
    is_on_device = True
    preferred_batch_windows = 512
    concurrent_calls = 2  # the device computes one batch while NumPy encodes or decodes the other

    def __init__(self, path: Path, sizes: tuple[int, ...] = (1, 8, 64, 512, 4096)) -> None:
        """Load the network, then compile and time it for every batch size.

        Args:
            path: Path of model.keras. It is loaded in safe mode, which runs no code from the file.
            sizes: The batch sizes to compile for, in increasing order.

        Raises:
            Exception: Raised by Keras if the model cannot be loaded.
        """
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
        _, steps, features = network.input_shape
        self.steps_and_features = (steps, features)
        backend = importlib.import_module(keras.backend.backend())  # Keras names a backend after its package
        self._network = compile_network(network, backend)
        cost_s = {size: self._time_call(np.zeros((size, steps, features), dtype=np.float32)) for size in sizes}
        self._plan_pieces = functools.cache(functools.partial(plan_pieces, cost_s=cost_s))

    def run(self, inputs: F32) -> F32:
        """Compute (B, outputs) from (B, T, F)."""
        pending, start = [], 0
        for size in self._plan_pieces(len(inputs)):  # start every piece before waiting for the first
            pending.append(self._network(_pad(inputs[start : start + size], size)))
            start += size
        outputs: F32 = np.concatenate([keras.ops.convert_to_numpy(each) for each in pending])
        return outputs[: len(inputs)].reshape(len(inputs), -1)

    def _time_call(self, inputs: F32) -> float:
        """Return the shortest time of a call in seconds, without the first call, which compiles the network."""
        durations_s = []
        for _ in range(1 + TIMED_CALLS):
            began_s = time.perf_counter()
            keras.ops.convert_to_numpy(self._network(inputs))
            durations_s.append(time.perf_counter() - began_s)
        return min(durations_s[1:])


def compute_device() -> str:
    """Return the name of the device that Keras computes on, such as `cpu`, `cuda:0` or `…/device:GPU:0`.

    Raises:
        Exception: Raised by the backend if the device fails to multiply two matrices.
    """
    ones = keras.ops.ones((8, 8))
    product = keras.ops.matmul(ones, ones)
    keras.ops.convert_to_numpy(product)
    return str(product.device)


def compile_network(network: keras.Model, backend: ModuleType) -> Callable[[F32], Any]:
    """Return the network's forward pass in inference mode, compiled once per batch size.

    The compiled function may return before the device has finished.

    `predict_on_batch` is not used because it waits for the result. On JAX it also detaches the network's weights during
    the call, which rules out concurrent calls.

    On a GPU, every backend may round float32 factors to 10 bits (TF32) in products or recurrent layers. The golden
    forecasts would then not be reproduced, so this function turns TF32 off for the whole process.

    Args:
        network: The network, callable with `training=False`.
        backend: The module of the Keras backend: jax, tensorflow or torch.

    Raises:
        ValueError: The backend is another one.
    """
    forward = functools.partial(network, training=False)
    run: Callable[[F32], Any]
    match backend.__name__:
        case "jax":
            backend.config.update("jax_default_matmul_precision", "highest")
            run = backend.jit(forward)
        case "tensorflow":
            backend.config.experimental.enable_tensor_float_32_execution(False)
            run = backend.function(forward)
        case "torch":
            backend.backends.cuda.matmul.allow_tf32 = False
            backend.backends.cudnn.allow_tf32 = False
            run = backend.inference_mode()(forward)
        case other:
            raise ValueError(f"Keras backend {other!r} is not supported; set KERAS_BACKEND to jax, tensorflow or torch")
    return run


def plan_pieces(rows: int, cost_s: Mapping[int, float]) -> tuple[int, ...]:
    """Return the cheapest sizes to cut `rows` into. Only the last piece may need padding.

    Each candidate plan takes the largest size that fits, again and again. At any point it may stop and put all that is
    left into the smallest size that holds it.

    Args:
        rows: Number of rows, at least 1.
        cost_s: Seconds that one call takes, by size.
    """
    plans: list[tuple[int, ...]] = []
    full_pieces: tuple[int, ...] = ()
    while rows > 0:
        if large_enough := [size for size in cost_s if size >= rows]:
            plans.append((*full_pieces, min(large_enough)))
        fitting = [size for size in cost_s if size <= rows]
        if not fitting:
            break
        full_pieces += (max(fitting),)
        rows -= max(fitting)
    return min(plans, key=lambda plan: sum(cost_s[size] for size in plan))


def _pad(inputs: F32, size: int) -> F32:
    """Append rows of zeros to (B, T, F), up to (size, T, F)."""
    if len(inputs) == size:
        return inputs
    padded = np.zeros((size, *inputs.shape[1:]), dtype=np.float32)
    padded[: len(inputs)] = inputs
    return padded
