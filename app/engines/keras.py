"""The GPU engine: Keras 3 on any of its backends. Importing this module imports Keras."""

from pathlib import Path

import keras
import numpy as np

from app.engines.base import F32


class KerasEngine:
    """The saved network itself, its batches padded to a few fixed sizes so that each is traced once."""

    name = "keras"
    lanes = 1  # one device: calls queue there anyway

    def __init__(self, path: Path, sizes: tuple[int, ...] = (1, 8, 64, 512)) -> None:
        """
        Args:
            path: model.keras, loaded in safe mode: no code in it is run.
            sizes: the batch sizes to pad to, rising; a larger batch is cut into pieces of the last.

        Raises:
            Exception: Keras's own, where the model cannot be loaded.
        """
        self._model = keras.saving.load_model(path, compile=False, safe_mode=True)
        self._sizes = sizes
        _, steps, features = self._model.input_shape
        self.steps_and_features = (steps, features)
        for size in sizes:
            self.run(np.zeros((size, steps, features), dtype=np.float32))

    def run(self, inputs: F32) -> F32:
        largest = self._sizes[-1]
        return np.concatenate([self._run_padded(inputs[i : i + largest]) for i in range(0, len(inputs), largest)])

    def _run_padded(self, inputs: F32) -> F32:
        size = next(size for size in self._sizes if size >= len(inputs))
        padded = np.zeros((size, *inputs.shape[1:]), dtype=np.float32)
        padded[: len(inputs)] = inputs
        outputs: F32 = np.asarray(self._model.predict_on_batch(padded))
        return outputs[: len(inputs)].reshape(len(inputs), -1)
