"""mosec: HTTP and batching in Rust, workers in Python processes. It parses `--address` and `--port` itself."""

from typing import Any

from mosec import Server, Worker

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()


class Forecaster(Worker):
    """A worker."""

    def __init__(self) -> None:
        """Load the network."""
        self._network = Network(TUNING.threads)

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Forecast a batch of requests."""
        forecasts = self._network.forecast_requests([request["windows"] for request in data])
        return [{"forecasts": each} for each in forecasts]


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Forecaster,
        num=TUNING.workers,
        max_batch_size=TUNING.batch,
        max_wait_time=max(1, round(TUNING.wait_ms)),  # mosec reads 0 as its default of 10 ms
        route="/predict",
    )
    server.run()
