"""Pricecast and the upper bounds as servers to measure. Peers are in `peer_catalog`."""

from typing import Any

from app.artifact.arrays import F64
from benchmarks.processes import PYTHON
from benchmarks.servers.spec import RequestFormat, ServerSpec
from benchmarks.windows import MODELS


def _encode_single(prices: F64) -> Any:
    return {"prices": prices[0].tolist()}


def _encode_batch(prices: F64) -> Any:
    return {"series": [{"prices": window} for window in prices.tolist()]}


def _decode_single(response: Any) -> list[float]:
    return [response["forecast"][0]]


def _decode_batch(response: Any) -> list[float]:
    return [each["forecast"][0] for each in response["forecasts"]]


PREDICT = RequestFormat("/predict", _encode_single, _decode_single)
PREDICT_BATCH = RequestFormat("/predict/batch", _encode_batch, _decode_batch)


def pricecast(processes: int) -> ServerSpec:
    """Describe Pricecast with a number of server processes."""
    settings = {"PRICECAST_DEFAULT_MODEL": "tutorial", "PRICECAST_MODELS_DIR": str(MODELS)}
    if processes > 1:
        settings["PRICECAST_WORKERS"] = str(processes)
    return ServerSpec(
        name="pricecast" if processes == 1 else f"pricecast-{processes}",
        label="Pricecast",
        kind="pricecast",
        # The port is a setting too, but it is known only when the server starts.
        command=lambda port: ["env", f"PRICECAST_PORT={port}", str(PYTHON), "-m", "app"],
        single_format=PREDICT,
        batch_format=PREDICT_BATCH,
        processes=processes,
        distributions=("fastapi", "onnxruntime", "uvicorn"),
        environment=settings,
    )


def upper_bound(name: str, label: str, application: str, processes: int = 1) -> ServerSpec:
    """Describe a server that returns a constant response.

    Args:
        name: Name of the server.
        label: Name in reports.
        application: Name of the ASGI application in `upper_bounds`.
        processes: Number of server processes.
    """
    options = ["--no-access-log", "--log-level", "warning", "--workers", str(processes)]
    target = f"benchmarks.servers.upper_bounds:{application}"
    return ServerSpec(
        name=name,
        label=label,
        kind="upper bound",
        command=lambda port: [str(PYTHON), "-m", "uvicorn", "--port", str(port), *options, target],
        single_format=PREDICT,
        processes=processes,
        distributions=("fastapi", "uvicorn"),
        is_forecasting=False,
        is_batching=False,
        scenarios=("1", "64"),  # the goals use no others, and each adds to the duration of a run
    )


def own_servers() -> list[ServerSpec]:
    """Return Pricecast, with one process and with two, and the upper bounds."""
    return [
        pricecast(1),
        pricecast(2),
        upper_bound("uvicorn", "uvicorn alone, constant answer", "bare"),
        upper_bound("fastapi-echo", "FastAPI with validation, constant answer", "echo"),
        upper_bound("fastapi-echo-2", "FastAPI with validation, constant answer", "echo", processes=2),
    ]
