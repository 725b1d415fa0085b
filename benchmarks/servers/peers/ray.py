"""Ray Serve: a proxy in front of replicas, and @serve.batch in each."""

import os
import signal
import threading
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.told()
NO_ACCESS_LOG = {"enable_access_log": False}


# A replica asks for half a core only so that Ray, which counts cores, places every process that is wanted.
@serve.deployment(
    num_replicas=TUNING.workers,
    max_ongoing_requests=1024,
    ray_actor_options={"num_cpus": 0.5},
    logging_config=NO_ACCESS_LOG,
)
class Forecaster:
    def __init__(self) -> None:
        self._network = Network(TUNING.threads)

    @serve.batch(max_batch_size=TUNING.batch, batch_wait_timeout_s=TUNING.wait_ms / 1000)
    async def forecasts(self, requests: list[list[list[float]]]) -> list[list[float]]:
        return self._network.of_requests(requests)

    async def __call__(self, request: Request) -> dict[str, Any]:
        windows = (await request.json())["windows"]
        return {"forecasts": await self.forecasts(windows)}


def main() -> None:
    ray.init(
        num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
        object_store_memory=256 * 2**20,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])}, logging_config=NO_ACCESS_LOG)
    serve.run(
        Forecaster.bind(),  # type: ignore[attr-defined]  # serve.deployment adds it
        route_prefix="/predict",
    )
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    leaving.wait()
    ray.shutdown()


if __name__ == "__main__":
    main()
