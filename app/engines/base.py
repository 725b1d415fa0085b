"""What an engine is."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class Engine(Protocol):
    """One loaded network. Safe to call from as many threads at once as it has lanes."""

    @property
    def name(self) -> str:
        """As in the setting PRICECAST_ENGINE: `onnx` or `keras`."""

    @property
    def lanes(self) -> int:
        """Calls that may run at once with profit."""

    @property
    def steps_and_features(self) -> tuple[int, int]:
        """(T, F) that the network takes."""

    def run(self, inputs: F32) -> F32:
        """(B, T, F) to (B, outputs), any B ≥ 1; the same row gives the same answer in any batch, to rounding."""
