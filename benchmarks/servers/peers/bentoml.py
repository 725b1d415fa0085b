"""BentoML: adaptive batching in front of a service's workers. Started by `bentoml serve`, with address and port."""

import bentoml

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.told()


@bentoml.service(
    workers=TUNING.workers,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Forecaster:
    def __init__(self) -> None:
        self._network = Network(TUNING.threads)

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=TUNING.batch, max_latency_ms=round(TUNING.wait_ms))
    def predict(self, windows: list[list[float]]) -> list[float]:
        return self._network(windows).tolist()
