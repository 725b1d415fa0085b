"""The engine interface."""

from typing import Protocol

from app.artifact.arrays import F32 as F32


class Engine(Protocol):
    """One loaded network. Its methods are thread-safe."""

    @property
    def name(self) -> str:
        """The engine's name in the setting PRICECAST_ENGINE: `onnx` or `keras`."""

    @property
    def concurrent_calls(self) -> int:
        """Number of concurrent calls that gives the highest throughput on otherwise idle hardware."""

    @property
    def preferred_batch_windows(self) -> int:
        """Number of windows in a call above which throughput no longer improves."""

    @property
    def is_on_device(self) -> bool:
        """Whether the network runs on an accelerator, not on the CPU cores that the server itself needs."""

    @property
    def steps_and_features(self) -> tuple[int, int]:
        """The network's input shape (T, F), without the batch axis."""

    def run(self, inputs: F32) -> F32:
        """Compute (B, outputs) from (B, T, F), for any B ≥ 1.

        A row's outputs do not depend on the rest of the batch, except for rounding.
        """
