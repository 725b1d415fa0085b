"""PyTriton: HTTP and dynamic batching of the Triton server, in front of a Python function."""

import os
import signal
import sysconfig
import threading
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.servers.peers.network import Network
from benchmarks.servers.peers.tuning import Tuning

TUNING = Tuning.from_env()


def load_forecaster() -> Any:
    """Load the network, and return the function that Triton calls with a batch."""
    network = Network(TUNING.threads)

    @batch
    def predict(windows: Any) -> dict[str, Any]:
        return {"forecasts": network(windows)[:, None]}

    return predict


def main() -> None:
    """Serve until terminated."""
    # Makes the Triton process load this interpreter's libpython rather than the system's.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(os.environ["PORT"]), allow_grpc=False, allow_metrics=False,
        allow_gpu_metrics=False, log_verbose=0,
    )  # fmt: skip
    with Triton(config=config) as triton:
        triton.bind(
            model_name="tutorial",
            infer_func=[load_forecaster() for _ in range(TUNING.workers)],
            inputs=[Tensor(name="windows", dtype=np.float64, shape=(60,))],
            outputs=[Tensor(name="forecasts", dtype=np.float64, shape=(1,))],
            config=ModelConfig(
                max_batch_size=TUNING.batch,
                batcher=DynamicBatcher(max_queue_delay_microseconds=round(TUNING.wait_ms * 1000)),
            ),
            strict=False,
        )
        terminated = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: terminated.set())
        triton.run()
        terminated.wait()


if __name__ == "__main__":
    main()
