"""The CPU engine: ONNX Runtime."""

import math
import os
from pathlib import Path

import onnxruntime as ort

from app.artifact.arrays import F32


class OnnxEngine:
    """A single-threaded ONNX Runtime session, called from several engine threads.

    Recurrent layers hardly parallelize within a call: two concurrent single-threaded calls do more work than one call
    with two threads. A session may run in several threads at once.
    """

    name = "onnx"
    # A core reaches its full throughput at 6 windows. Larger batches mean fewer calls for the event loop to handle.
    preferred_batch_windows = 64
    is_on_device = False

    def __init__(self, model: bytes) -> None:
        """Create the session.

        Args:
            model: Content of model.onnx.

        Raises:
            Exception: Raised by ONNX Runtime if the model cannot be loaded.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self.concurrent_calls = _cores()

    @property
    def steps_and_features(self) -> tuple[int, int]:
        """The network's input shape (T, F)."""
        _, steps, features = self._input.shape
        return steps, features

    def run(self, inputs: F32) -> F32:
        """Compute (B, outputs) from (B, T, F)."""
        outputs: F32 = self._session.run(None, {self._input.name: inputs})[0]
        return outputs.reshape(len(inputs), -1)


def _cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the number of cores available to this process. In a container they may be fewer than the machine has.

    Args:
        cpu_max: The CPU limit of Linux control groups v2: a quota and a period in microseconds. The quota may be `max`.
    """
    # macOS has no sched_getaffinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota_us, period_us = cpu_max.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(quota_us) / int(period_us))))
    except (OSError, ValueError):  # there is no control group, or no limit
        return allowed
