"""Ray Serve: a proxy in front of replicas, each batching with `@serve.batch`."""

import os
import signal
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()
NO_ACCESS_LOG = {"enable_access_log": False}


# Ray places no more replicas than fit its count of cores. Half a core each leaves room for all of them.
@serve.deployment(
    num_replicas=TUNING.workers,
    max_ongoing_requests=1024,
    ray_actor_options={"num_cpus": 0.5},
    logging_config=NO_ACCESS_LOG,
)
class Forecaster:
    """The deployment."""

    def __init__(self) -> None:
        """Load the network, once in each replica."""
        self._network = Network(TUNING.threads)

    @serve.batch(max_batch_size=TUNING.batch, batch_wait_timeout_s=TUNING.wait_ms / 1000)
    async def forecast(self, requests: list[list[list[float]]]) -> list[list[float]]:
        """Forecast a batch of requests."""
        return self._network.forecast_requests(requests)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Handle one request."""
        windows = (await request.json())["windows"]
        return {"forecasts": await self.forecast(windows)}


def main() -> None:
    """Serve until terminated."""
    ray.init(
        num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
        object_store_memory=256 * 2**20,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])}, logging_config=NO_ACCESS_LOG)
    serve.run(
        Forecaster.bind(),  # type: ignore[attr-defined]  # serve.deployment adds it
        route_prefix="/predict",
    )
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    terminated.wait()
    ray.shutdown()


if __name__ == "__main__":
    main()
