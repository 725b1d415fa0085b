"""LitServe: FastAPI in front, workers in processes of their own, batches made by the worker."""

import os
from typing import Any

import litserve

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.told()


class Forecaster(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._network = Network(TUNING.threads)

    def decode_request(self, request: dict[str, Any]) -> list[list[float]]:
        return request["windows"]

    def batch(self, inputs: list[list[list[float]]]) -> list[list[list[float]]]:
        return inputs  # requests of many windows are of different sizes: the network's side joins them

    def predict(self, requests: list[list[list[float]]]) -> list[list[float]]:
        return self._network.of_requests(requests)

    def unbatch(self, forecasts: list[list[float]]) -> list[list[float]]:
        return forecasts

    def encode_response(self, forecasts: list[float]) -> dict[str, Any]:
        return {"forecasts": forecasts}


if __name__ == "__main__":
    api = Forecaster(max_batch_size=TUNING.batch, batch_timeout=TUNING.wait_ms / 1000)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=TUNING.workers,
        fast_queue=True,
        disable_openapi_url=True,
        track_requests=False,
    )
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), num_api_servers=1,
        generate_client_file=False, log_level="warning",
    )  # fmt: skip
