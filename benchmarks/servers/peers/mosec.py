"""mosec: HTTP and batching in Rust, workers in Python processes. It reads its own options: `--address`, `--port`."""

from typing import Any

from mosec import Server, Worker

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.told()


class Forecaster(Worker):
    def __init__(self) -> None:
        self._network = Network(TUNING.threads)

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        forecasts = self._network.of_requests([request["windows"] for request in data])
        return [{"forecasts": each} for each in forecasts]


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Forecaster,
        num=TUNING.workers,
        max_batch_size=TUNING.batch,
        max_wait_time=max(1, round(TUNING.wait_ms)),  # 0 would be its default, which is 10
        route="/predict",
    )
    server.run()
