"""The CPU engine: ONNX Runtime."""

import math
import os
from pathlib import Path

import onnxruntime as ort

from app.inference.engines.base import F32


class OnnxEngine:
    """One session of one thread, called from one thread per core.

    Recurrent layers hardly split over threads, so that two calls side by side do more than one call on two threads;
    and a session may be run from several threads at once.
    """

    name = "onnx"
    batch_windows = 64  # a core does as much per second from 6 on, but few calls are less work for the event loop
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
        self.concurrent_calls = _cores()

    @property
    def steps_and_features(self) -> tuple[int, int]:
        _, steps, features = self._input.shape
        return steps, features

    def run(self, inputs: F32) -> F32:
        outputs: F32 = self._session.run(None, {self._input.name: inputs})[0]
        return outputs.reshape(len(inputs), -1)


def _cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use, which in a container are often fewer than the machine has.

    Args:
        quota: what Linux's control groups, version 2, allow: microseconds of processor time, or max, in so many.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time_us, period_us = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(time_us) / int(period_us))))
    except (OSError, ValueError):  # no control groups, or no limit
        return allowed
