"""MLServer: Open Inference Protocol and adaptive batching, with a custom runtime."""

import os

import uvloop
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()


class Forecaster(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Load the network, once in each worker."""
        self._network = Network(TUNING.threads)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Forecast a batch of windows from several requests."""
        windows = NumpyCodec.decode_input(payload.inputs[0])
        forecasts = self._network(windows)
        output = NumpyCodec.encode_output("forecasts", forecasts[:, None])
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=[output])


async def main() -> None:
    """Serve until terminated."""
    port = int(os.environ["PORT"])
    settings = Settings(
        debug=False, host="127.0.0.1", http_port=port, grpc_port=int(os.environ["GRPC_PORT"]), metrics_endpoint=None,
        parallel_workers=TUNING.workers, gzip_enabled=False, load_models_at_startup=False,
        environments_dir=os.environ["TMPDIR"], metrics_dir=os.environ["TMPDIR"],
    )  # fmt: skip
    model = ModelSettings(
        name="tutorial", implementation=Forecaster, parameters=ModelParameters(version="1"),
        max_batch_size=TUNING.batch, max_batch_time=TUNING.wait_ms / 1000,
    )  # fmt: skip
    await MLServer(settings).start([model])  # constructed here: it starts its workers on the running event loop


if __name__ == "__main__":
    uvloop.run(main())  # MLServer's own command uses uvloop too
