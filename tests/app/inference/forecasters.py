"""An engine with fixed outputs, and forecasters around it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from app.artifact.affine import Affine
from app.artifact.arrays import F32
from app.artifact.manifest import Calibration, LogReturnParameters, MinMaxPriceParameters, TrainingRange
from app.artifact.transform import LogReturn, MinMaxPrice, Transform
from app.inference.forecaster import Forecaster
from tests.strategies import F64, WINDOW

QUANTILES = [0.1, 0.25, 0.5, 0.75, 0.9]
LOG_RETURN = LogReturn(LogReturnParameters(), Affine(1.0, 0.0))
MINMAX_PRICE = MinMaxPrice(MinMaxPriceParameters(), Affine(0.01, -1.0))  # scales 100..200 to 0..1
UNLIMITED_RANGES = [
    TrainingRange(quantity="volatility", low=0.0, high=1e9),
    TrainingRange(quantity="last step", low=-1e9, high=1e9),
]
PRICES: F64 = 100 * np.exp(0.01 * (np.arange(WINDOW)[None, ::-1] % 2))  # (1, W); volatility 1%, last price 100


@dataclass
class FakeEngine:
    """Returns the same (H, Q) outputs for every row."""

    outputs: list[list[float]]
    name: str = "fake"
    concurrent_calls: int = 1
    preferred_batch_windows: int = 1
    is_on_device: bool = False
    steps_and_features: tuple[int, int] = (WINDOW - 1, 1)
    calls: list[F32] = field(default_factory=list)  # the inputs of each call

    def run(self, inputs: F32) -> F32:
        self.calls.append(inputs)
        return np.tile(np.asarray(self.outputs, dtype=np.float32).reshape(1, -1), (len(inputs), 1))


def fake_forecaster(
    outputs: list[list[float]],
    offsets: list[list[float]],
    center: Literal["network", "last_price"] = "network",
    transform: Transform = LOG_RETURN,
    training_ranges: Sequence[TrainingRange] = UNLIMITED_RANGES,
) -> Forecaster:
    """Return a forecaster whose network always returns `outputs` (H, Q), calibrated by `offsets` (H, L)."""
    levels = len(offsets[0])
    quantiles = QUANTILES if levels == 2 else [0.25, 0.5, 0.75] if levels == 1 else [0.5]
    calibration = Calibration(center=center, offsets=offsets)
    return Forecaster(transform, FakeEngine(outputs), calibration, quantiles, training_ranges)
