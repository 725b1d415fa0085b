"""Price windows that benchmarks send, and the forecasts they expect."""

from dataclasses import dataclass
from functools import cache

import joblib
import numpy as np
import onnxruntime as ort

from app.artifact import store
from app.artifact.affine import Affine
from app.artifact.arrays import F64
from benchmarks.processes import ROOT

MODELS = ROOT / "models"
ARTIFACT = MODELS / "tutorial" / store.current_version(MODELS, "tutorial")
WINDOW = 60
POOL_WINDOWS = 4096  # far more than connections, so that no two requests in flight contain the same window
BATCH_WINDOWS = 256  # windows in one batch request
SEED = 7
MAX_RELATIVE_ERROR = 1e-4  # of a forecast; float32 sums differ by less when computed in another order


@cache
def tutorial_scaler() -> Affine:
    """Return the fitted scaler of the `tutorial` artifact."""
    return Affine.from_scaler(joblib.load(ARTIFACT / "scaler.joblib"))


def random_walks(count: int, steps: int, start: float | F64 = 300.0, random: np.random.Generator | None = None) -> F64:
    """Simulate geometric random walks, rounded to cents.

    Args:
        count: Number of walks; no two are equal.
        steps: Prices in each.
        start: Price that a walk starts from: one for all, or an array (count, 1).
        random: Source of randomness; seeded with SEED if omitted.

    Returns:
        Prices (count, steps).
    """
    random = random or np.random.default_rng(SEED)
    walks: F64 = np.round(start * np.exp(np.cumsum(random.normal(0, 0.01, (count, steps)), axis=1)), 2)
    return walks


@dataclass(frozen=True)
class WindowPool:
    """Windows to send, and the correct forecast of each.

    Attributes:
        prices: (POOL_WINDOWS, WINDOW).
        forecasts: (POOL_WINDOWS,), one step ahead.
    """

    prices: F64
    forecasts: F64

    @classmethod
    def generate(cls) -> "WindowPool":
        """Simulate windows in the training range of `tutorial`, and run its network on them directly."""
        random = np.random.default_rng(SEED)
        prices = random_walks(POOL_WINDOWS, WINDOW, random.uniform(150, 600, (POOL_WINDOWS, 1)), random)
        session = ort.InferenceSession(ARTIFACT / "model.onnx", providers=["CPUExecutionProvider"])
        inputs = tutorial_scaler()(prices)[:, :, None].astype(np.float32)
        outputs = session.run(None, {session.get_inputs()[0].name: inputs})[0]
        return cls(prices, tutorial_scaler().inverse(outputs.reshape(POOL_WINDOWS).astype(np.float64)))

    def find_error(self, rows: slice, received: list[float]) -> str | None:
        """Compare received forecasts with the correct ones.

        Args:
            rows: Windows that were sent.
            received: Forecasts that the server returned.

        Returns:
            A description of the worst error, or None if all forecasts are correct.
        """
        expected = self.forecasts[rows]
        if len(received) != len(expected):
            return f"{len(received)} forecasts for {len(expected)} windows"
        error = np.abs(np.asarray(received, dtype=np.float64) - expected) / expected
        if (worst := int(error.argmax())) >= 0 and not error[worst] <= MAX_RELATIVE_ERROR:
            return f"wrong forecast: {received[worst]} instead of {expected[worst]:.4f}"
        return None
