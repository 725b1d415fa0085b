"""What an engine is."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class Engine(Protocol):
    """One loaded network. Safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """As in the setting PRICECAST_ENGINE: `onnx` or `keras`."""

    @property
    def concurrent_calls(self) -> int:
        """Calls that may run at once with profit, if nothing else has to be done."""

    @property
    def batch_windows(self) -> int:
        """The most windows in a call that still add to what it does per second."""

    @property
    def is_on_device(self) -> bool:
        """Whether it computes elsewhere than on the cores that everything else needs too."""

    @property
    def steps_and_features(self) -> tuple[int, int]:
        """(T, F) that the network takes."""

    def run(self, inputs: F32) -> F32:
        """(B, T, F) to (B, outputs), any B ≥ 1; the same row gives the same answer in any batch, to rounding."""
