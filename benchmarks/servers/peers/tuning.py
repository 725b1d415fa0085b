"""Tuning parameters of a peer. The benchmark passes them to the server in environment variables."""

import os
from dataclasses import asdict, dataclass

PREFIX = "TUNED_"


@dataclass(frozen=True)
class Tuning:
    """Parameters that every batching server has in some form.

    Attributes:
        workers: Number of processes or instances that run the network.
        threads: Number of ONNX Runtime threads in each worker.
        batch: Maximum batch size, in requests or in windows, whichever the peer counts.
        wait_ms: Time that an incomplete batch waits for more requests, in milliseconds.
    """

    workers: int = 1
    threads: int = 1
    batch: int = 64
    wait_ms: float = 0

    def to_env(self) -> dict[str, str]:
        """Return environment variables that `from_env` reads."""
        return {PREFIX + name.upper(): str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_env(cls) -> "Tuning":
        """Read the tuning from environment variables."""
        return cls(
            workers=int(os.environ[PREFIX + "WORKERS"]),
            threads=int(os.environ[PREFIX + "THREADS"]),
            batch=int(os.environ[PREFIX + "BATCH"]),
            wait_ms=float(os.environ[PREFIX + "WAIT_MS"]),
        )
