"""The network as all peers but `tutorial` serve it: scale the prices, run ONNX Runtime, scale back.

Runs in each peer's environment, so it imports only NumPy and ONNX Runtime.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

MODEL_DIR = Path(__file__).parents[3] / "models" / "tutorial"
MODEL = MODEL_DIR / (MODEL_DIR / "current").read_text(encoding="utf-8").strip() / "model.onnx"


class Network:
    """Forecasts one step ahead. Thread-safe."""

    def __init__(self, threads: int) -> None:
        """Load the network, and read the scaler from SCALER_SCALE and SCALER_OFFSET.

        Args:
            threads: Number of threads that ONNX Runtime uses within a call.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        # The fitted scaler is affine. The benchmark passes its two numbers, so that no peer needs scikit-learn.
        self._scale = float(os.environ["SCALER_SCALE"])
        self._offset = float(os.environ["SCALER_OFFSET"])

    def __call__(self, prices: Any) -> Any:
        """Compute forecasts (B,) of prices (B, 60)."""
        scaled = (np.asarray(prices, dtype=np.float64) * self._scale + self._offset).astype(np.float32)
        outputs = self._session.run(None, {self._input: scaled[:, :, None]})[0]
        return (outputs.reshape(-1).astype(np.float64) - self._offset) / self._scale

    def forecast_requests(self, requests: Sequence[list[list[float]]]) -> list[list[float]]:
        """Compute the forecasts of several requests in one call. Each request has one or more windows."""
        forecasts = self([window for windows in requests for window in windows]).tolist()
        ends = np.cumsum([len(windows) for windows in requests]).tolist()
        return [forecasts[end - len(windows) : end] for windows, end in zip(requests, ends, strict=True)]
