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

from app.inference.engines.base import F32

TIMED_CALLS = 3  # of each size, once it is compiled


class KerasEngine:
    """The saved network itself, compiled for a few batch sizes and for no others.

    A batch is cut into pieces of these sizes and the last piece padded. How, is decided by what a call of each size was
    measured to take here: a GPU goes through the steps of a window one after the other, however many windows go
    abreast, so that 65 cost it less as one padded 512 than as 64 and 1; a CPU pays for every row.
    """

    name = "keras"
    is_on_device = True
    batch_windows = 512
    concurrent_calls = 2  # so that the device computes one batch while NumPy encodes or decodes another

    def __init__(self, path: Path, sizes: tuple[int, ...] = (1, 8, 64, 512, 4096)) -> None:
        """Returns when every size is compiled, and has been run.

        Args:
            path: model.keras, loaded in safe mode: no code in it is run.
            sizes: the batch sizes to compile for, rising.

        Raises:
            Exception: Keras's own, where the model cannot be loaded.
        """
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
        _, steps, features = network.input_shape
        self.steps_and_features = (steps, features)
        library = importlib.import_module(keras.backend.backend())  # which has the name that Keras gives the backend
        self._network = compiled(network, library)
        cost_s = {size: self._time(np.zeros((size, steps, features), dtype=np.float32)) for size in sizes}
        self._pieces = functools.cache(functools.partial(pieces, cost_s=cost_s))

    def run(self, inputs: F32) -> F32:
        started, start = [], 0
        for size in self._pieces(len(inputs)):  # all of them, before the first is waited for
            started.append(self._network(_padded(inputs[start : start + size], size)))
            start += size
        outputs: F32 = np.concatenate([keras.ops.convert_to_numpy(each) for each in started])
        return outputs[: len(inputs)].reshape(len(inputs), -1)

    def _time(self, inputs: F32) -> float:
        """Seconds that a call takes, at best."""
        seconds = []
        for _ in range(1 + TIMED_CALLS):
            began = time.perf_counter()
            keras.ops.convert_to_numpy(self._network(inputs))
            seconds.append(time.perf_counter() - began)
        return min(seconds[1:])


def device() -> str:
    """The device that Keras computes on, as its backend calls it, such as `cpu`, `cuda:0` or `…/device:GPU:0`.

    Raises:
        Exception: the backend's own, where the device cannot multiply.
    """
    ones = keras.ops.ones((8, 8))
    product = keras.ops.matmul(ones, ones)
    keras.ops.convert_to_numpy(product)
    return str(product.device)


def compiled(network: keras.Model, library: ModuleType) -> Callable[[F32], Any]:
    """The network without its training, compiled anew for each batch size it meets. May return before it has computed.

    Not `predict_on_batch`: that waits for the answer, and on JAX it takes the weights out of the network for as long as
    it runs, so that there could be one lane only.

    On a GPU, all backends would round float32 factors to 10 bits (TF32), in products or in recurrent layers; the golden
    forecasts are not met then, so this process is told to compute in full.

    Args:
        library: the backend: jax, tensorflow or torch.

    Raises:
        ValueError: another backend.
    """
    forward = functools.partial(network, training=False)
    run: Callable[[F32], Any]
    match library.__name__:
        case "jax":
            library.config.update("jax_default_matmul_precision", "highest")
            run = library.jit(forward)
        case "tensorflow":
            library.config.experimental.enable_tensor_float_32_execution(False)
            run = library.function(forward)
        case "torch":
            library.backends.cuda.matmul.allow_tf32 = False
            library.backends.cudnn.allow_tf32 = False
            run = library.inference_mode()(forward)
        case other:
            raise ValueError(f"no engine for Keras's backend {other!r}; KERAS_BACKEND may be jax, tensorflow or torch")
    return run


def pieces(rows: int, cost_s: Mapping[int, float]) -> tuple[int, ...]:
    """The sizes to cut `rows` into, of which the last may be padded.

    As many of the largest size that fits as do fit, and the rest likewise; or, from any point on, the smallest size
    that takes in all that is left, where this costs less.

    Args:
        cost_s: by size, what a call costs.
    """
    plans: list[tuple[int, ...]] = []
    whole: tuple[int, ...] = ()
    while rows > 0:
        if holding := [size for size in cost_s if size >= rows]:
            plans.append((*whole, min(holding)))
        fitting = [size for size in cost_s if size <= rows]
        if not fitting:
            break
        whole += (max(fitting),)
        rows -= max(fitting)
    return min(plans, key=lambda plan: sum(cost_s[size] for size in plan))


def _padded(inputs: F32, size: int) -> F32:
    """(B, T, F) to (size, T, F), with zeros below."""
    if len(inputs) == size:
        return inputs
    padded = np.zeros((size, *inputs.shape[1:]), dtype=np.float32)
    padded[: len(inputs)] = inputs
    return padded
