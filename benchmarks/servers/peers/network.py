"""The network as every peer serves it: scaled, computed by ONNX Runtime, and scaled back.

Runs in each peer's own environment, and so needs numpy and ONNX Runtime only.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

TUTORIAL = Path(__file__).parents[3] / "models" / "tutorial"
MODEL = TUTORIAL / (TUTORIAL / "current").read_text(encoding="utf-8").strip() / "model.onnx"


class Network:
    """(B, 60) prices to (B,) forecasts. May be called from several threads."""

    def __init__(self, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        # The fitted scaler is affine; what it does is told by the benchmark, so that no peer needs scikit-learn.
        self._scale = float(os.environ["SCALER_SCALE"])
        self._offset = float(os.environ["SCALER_OFFSET"])

    def __call__(self, prices: Any) -> Any:
        scaled = (np.asarray(prices, dtype=np.float64) * self._scale + self._offset).astype(np.float32)
        outputs = self._session.run(None, {self._input: scaled[:, :, None]})[0]
        return (outputs.reshape(-1).astype(np.float64) - self._offset) / self._scale

    def of_requests(self, requests: Sequence[list[list[float]]]) -> list[list[float]]:
        """The forecasts of each of several requests of some windows each, computed in one call."""
        forecasts = self([window for windows in requests for window in windows]).tolist()
        ends = np.cumsum([len(windows) for windows in requests]).tolist()
        return [forecasts[end - len(windows) : end] for windows, end in zip(requests, ends, strict=True)]
