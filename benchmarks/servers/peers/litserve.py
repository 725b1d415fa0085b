"""LitServe: a FastAPI process in front of worker processes, which collect the batches."""

import os
from typing import Any

import litserve

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()


class Forecaster(litserve.LitAPI):
    """The model, with the hooks that LitServe calls."""

    def setup(self, device: str) -> None:
        """Load the network, once in each worker."""
        self._network = Network(TUNING.threads)

    def decode_request(self, request: dict[str, Any]) -> list[list[float]]:
        """Return the windows of a request."""
        return request["windows"]

    def batch(self, inputs: list[list[list[float]]]) -> list[list[list[float]]]:
        """Return the requests as they are. Their sizes differ, so `predict` joins their windows."""
        return inputs

    def predict(self, requests: list[list[list[float]]]) -> list[list[float]]:
        """Forecast a batch of requests."""
        return self._network.forecast_requests(requests)

    def unbatch(self, forecasts: list[list[float]]) -> list[list[float]]:
        """Return the forecasts, which are separated by request already."""
        return forecasts

    def encode_response(self, forecasts: list[float]) -> dict[str, Any]:
        """Return the content of a response."""
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
