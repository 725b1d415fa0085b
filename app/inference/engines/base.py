"""The engine interface."""

from typing import Protocol

from app.artifact.arrays import F32


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
        """Default maximum number of windows in a call."""

    @property
    def is_on_device(self) -> bool:
        """Whether the engine is made for an accelerator: a call then runs in an engine thread from start to end.

        True for Keras even if it computes on the CPU.
        """

    @property
    def steps_and_features(self) -> tuple[int, int]:
        """The network's input shape (T, F), without the batch axis."""

    def run(self, inputs: F32) -> F32:
        """Compute (B, outputs) from (B, T, F), for any B ≥ 1.

        A row's outputs do not depend on the rest of the batch, except for rounding.
        """
