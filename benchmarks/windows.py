"""What is sent, and what the right answers to it are."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import onnxruntime as ort

from app.artifact import store
from app.artifact.affine import Affine
from app.artifact.transform import F64

MODELS = Path(__file__).parent.parent / "models"
ARTIFACT = MODELS / "tutorial" / store.current_version(MODELS, "tutorial")
WINDOW = 60
POOL = 4096  # different windows: far more than connections, so that no two requests in flight are alike
MANY = 256  # windows in a request of many
SEED = 7
LARGEST_ERROR = 1e-4  # of an answer, relative: what float32 arithmetic in another order may cost, and no more


@cache
def affine() -> Affine:
    """The artifact's fitted scaler."""
    return Affine.from_scaler(joblib.load(ARTIFACT / "scaler.joblib"))


def random_walks(count: int, steps: int, start: float | F64 = 300.0, random: np.random.Generator | None = None) -> F64:
    """(count, steps) prices in cents, no two rows alike."""
    random = random or np.random.default_rng(SEED)
    walks: F64 = np.round(start * np.exp(np.cumsum(random.normal(0, 0.01, (count, steps)), axis=1)), 2)
    return walks


@dataclass(frozen=True)
class Windows:
    """A pool of windows, and the forecasts that are right for them."""

    prices: F64  # (POOL, WINDOW)
    forecasts: F64  # (POOL,)

    @classmethod
    def made(cls) -> "Windows":
        """Random walks in the range that the network was trained on, in cents; computed here, with nothing between."""
        random = np.random.default_rng(SEED)
        prices = random_walks(POOL, WINDOW, random.uniform(150, 600, (POOL, 1)), random)
        session = ort.InferenceSession(ARTIFACT / "model.onnx", providers=["CPUExecutionProvider"])
        inputs = affine()(prices)[:, :, None].astype(np.float32)
        outputs = session.run(None, {session.get_inputs()[0].name: inputs})[0].reshape(POOL).astype(np.float64)
        return cls(prices, affine().inverse(outputs))

    def fault(self, rows: slice, answered: list[float]) -> str | None:
        """What is wrong with the forecasts that were answered to these windows, if anything is."""
        expected = self.forecasts[rows]
        if len(answered) != len(expected):
            return f"{len(answered)} forecasts for {len(expected)} windows"
        error = np.abs(np.asarray(answered, dtype=np.float64) - expected) / expected
        if (worst := int(error.argmax())) >= 0 and not error[worst] <= LARGEST_ERROR:
            return f"a wrong forecast: {answered[worst]}, should be {expected[worst]:.4f}"
        return None
