"""BentoML: adaptive batching in front of worker processes. Started by `bentoml serve`, which sets address and port."""

import bentoml

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()


@bentoml.service(
    workers=TUNING.workers,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Forecaster:
    """The service."""

    def __init__(self) -> None:
        """Load the network, once in each worker."""
        self._network = Network(TUNING.threads)

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=TUNING.batch, max_latency_ms=round(TUNING.wait_ms))
    def predict(self, windows: list[list[float]]) -> list[float]:
        """Forecast a batch of windows from several requests."""
        return self._network(windows).tolist()
