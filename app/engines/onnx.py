"""The CPU engine: ONNX Runtime."""

import os

import onnxruntime as ort

from app.engines.base import F32


class OnnxEngine:
    """One session of one thread, called from one thread per core.

    Recurrent layers hardly split over threads, so that two calls side by side do more than one call on two threads;
    and a session may be run from several threads at once.
    """

    name = "onnx"
    batch_windows = 32  # a core does as much per second from 6 on; more at once only keep callers waiting
    is_on_device = False

    def __init__(self, model: bytes) -> None:
        """
        Raises:
            Exception: ONNX Runtime's own, where the model cannot be loaded.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self.lanes = _cores()

    @property
    def steps_and_features(self) -> tuple[int, int]:
        _, steps, features = self._input.shape
        return steps, features

    def run(self, inputs: F32) -> F32:
        outputs: F32 = self._session.run(None, {self._input.name: inputs})[0]
        return outputs.reshape(len(inputs), -1)


def _cores() -> int:
    """Cores that this process may use, which in a container are often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
