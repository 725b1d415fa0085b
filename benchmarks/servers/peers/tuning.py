"""How a peer is tuned: chosen by the benchmark, read by the server."""

import os
from dataclasses import asdict, dataclass

PREFIX = "TUNED_"


@dataclass(frozen=True)
class Tuning:
    """What every server that batches lets one choose."""

    workers: int = 1  # processes, or instances, that run the network
    threads: int = 1  # of ONNX Runtime, in each of them
    batch: int = 64  # requests (or windows, where the peer counts those) in one call at most
    wait_ms: float = 0  # of a batch that is not full

    def environment(self) -> dict[str, str]:
        return {PREFIX + name.upper(): str(value) for name, value in asdict(self).items()}

    @classmethod
    def told(cls) -> "Tuning":
        """The tuning that the environment tells of."""
        return cls(
            workers=int(os.environ[PREFIX + "WORKERS"]),
            threads=int(os.environ[PREFIX + "THREADS"]),
            batch=int(os.environ[PREFIX + "BATCH"]),
            wait_ms=float(os.environ[PREFIX + "WAIT_MS"]),
        )
