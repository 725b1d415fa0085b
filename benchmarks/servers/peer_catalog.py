"""Specifications of the peers: start commands, request formats and tuning.

Each tuning is the fastest of those that `benchmarks.scenarios.tune_peer` tried, at 64 connections on two cores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.artifact.arrays import F64
from benchmarks.processes import PYTHON, ROOT, free_port
from benchmarks.servers.peers.tuning import Tuning
from benchmarks.servers.spec import RequestFormat, ServerSpec
from benchmarks.windows import tutorial_scaler

ENVIRONMENTS = ROOT / ".peers"
PACKAGE = "benchmarks.servers.peers"

# Disables the telemetry of all peers, keeps Ray from listening to other machines, and reduces TensorFlow's logging.
COMMON_ENVIRONMENT = {
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _encode_windows(prices: F64) -> Any:
    return {"windows": prices.tolist()}


def _decode_forecasts(response: Any) -> list[float]:
    forecasts: list[float] = response["forecasts"]
    return forecasts


def _encode_tensor(prices: F64) -> Any:
    data = prices.ravel().tolist()
    return {"inputs": [{"name": "windows", "shape": list(prices.shape), "datatype": "FP64", "data": data}]}


def _decode_tensor(response: Any) -> list[float]:
    data: list[float] = response["outputs"][0]["data"]
    return data


JSON = RequestFormat("/predict", _encode_windows, _decode_forecasts)
BENTOML = RequestFormat("/predict", _encode_windows, list)
OPEN_INFERENCE = RequestFormat("/v2/models/tutorial/infer", _encode_tensor, _decode_tensor)


@dataclass(frozen=True)
class Peer:
    """The parts of a server's specification that differ between peers.

    Attributes:
        label: Name in reports.
        command: Returns the start command for an interpreter, a port and a tuning.
        tuning: Its tuning parameters.
        distributions: Distributions whose versions are reported.
        environment_name: Directory of its environment in `.peers/`. None if it runs in Pricecast's environment.
        single_format: Requests of one window.
        batch_format: Requests of several windows. None if it does not take them.
        options: Further fields of its `ServerSpec`.
    """

    label: str
    command: Callable[[Path, int, Tuning], list[str]]
    tuning: Tuning
    distributions: tuple[str, ...]
    environment_name: str | None = None
    single_format: RequestFormat = JSON
    batch_format: RequestFormat | None = JSON
    options: Mapping[str, Any] = field(default_factory=dict)

    def server(self, name: str) -> ServerSpec:
        """Return the peer's specification under this name."""
        in_own_environment = self.environment_name is not None
        python = ENVIRONMENTS / str(self.environment_name) / "bin" / "python" if in_own_environment else PYTHON
        scaler = tutorial_scaler()
        scaler_environment = {"SCALER_SCALE": repr(scaler.scale), "SCALER_OFFSET": repr(scaler.offset)}
        return ServerSpec(
            name=name,
            label=self.label,
            kind="peer",
            command=lambda port: self.command(python, port, self.tuning),
            single_format=self.single_format,
            batch_format=self.batch_format,
            processes=max(1, self.tuning.workers),
            python=python,
            distributions=self.distributions,
            environment=COMMON_ENVIRONMENT | scaler_environment | self.tuning.to_env(),
            unavailable=self._explain_unavailable(),
            **self.options,
        )

    def _explain_unavailable(self) -> str | None:
        """Return why the peer cannot run on this machine, or None if it can."""
        if self.environment_name is None or (ENVIRONMENTS / self.environment_name / "ready").exists():
            return None
        log = ENVIRONMENTS / self.environment_name / "install.log"
        lines = log.read_text().strip().splitlines() if log.exists() else []
        return f"not installed: {lines[-1] if lines else f'make .peers/{self.environment_name}/ready'}"


def _run_module(name: str) -> Callable[[Path, int, Tuning], list[str]]:
    def command(python: Path, port: int, tuning: Tuning) -> list[str]:
        return ["env", f"PORT={port}", f"GRPC_PORT={free_port()}", str(python), "-m", f"{PACKAGE}.{name}"]

    return command


def _run_uvicorn(name: str) -> Callable[[Path, int, Tuning], list[str]]:
    def command(python: Path, port: int, tuning: Tuning) -> list[str]:
        options = ["--no-access-log", "--log-level", "warning", "--workers", str(tuning.workers)]
        return [str(python), "-m", "uvicorn", "--port", str(port), *options, f"{PACKAGE}.{name}:app"]

    return command


def _run_mosec(python: Path, port: int, tuning: Tuning) -> list[str]:
    options = ["--address", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    return [str(python), "-m", f"{PACKAGE}.mosec", *options]


def _run_bentoml(python: Path, port: int, tuning: Tuning) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--quiet"]
    return [str(python), "-m", "bentoml", "serve", *options, f"{PACKAGE}.bentoml:Forecaster"]


_MOSEC = Peer("mosec", _run_mosec, Tuning(batch=32, wait_ms=1), ("mosec", "onnxruntime"), "mosec")

_PLAIN_ENDPOINT = Peer(
    "FastAPI, a plain endpoint", _run_uvicorn("plain_endpoint"), Tuning(), ("fastapi", "onnxruntime"),
    single_format=RequestFormat(
        "/predict", lambda prices: {"prices": prices[0].tolist()}, lambda response: response["forecast"]
    ),
    batch_format=RequestFormat("/predict/batch", _encode_windows, _decode_forecasts),
    options={"is_batching": False},
)  # fmt: skip

PEERS = {
    "mosec": _MOSEC,
    "mosec-tuned": replace(_MOSEC, label="mosec, tuned", tuning=Tuning(workers=2, batch=16, wait_ms=1)),
    "pytriton": Peer(
        "PyTriton", _run_module("pytriton"), Tuning(batch=256, wait_ms=0), ("nvidia-pytriton", "onnxruntime"),
        "pytriton", OPEN_INFERENCE, OPEN_INFERENCE,
    ),
    "bentoml": Peer(
        "BentoML", _run_bentoml, Tuning(workers=2, batch=64, wait_ms=1000), ("bentoml", "onnxruntime"),
        "bentoml", BENTOML, BENTOML,
    ),
    "litserve": Peer(
        "LitServe", _run_module("litserve"), Tuning(batch=16, wait_ms=1), ("litserve", "onnxruntime"),
        "litserve",
    ),
    "mlserver": Peer(
        "MLServer", _run_module("mlserver"), Tuning(batch=64, wait_ms=1), ("mlserver", "onnxruntime"),
        "mlserver", OPEN_INFERENCE, OPEN_INFERENCE,
    ),
    "ray": Peer(
        "Ray Serve", _run_module("ray"), Tuning(workers=1, threads=1, batch=64, wait_ms=5), ("ray", "onnxruntime"),
        "ray", options={"start_timeout_s": 90.0, "request_timeout_s": 30.0},
    ),
    "batched": Peer(
        "FastAPI and batched", _run_uvicorn("batched"), Tuning(workers=2, batch=64, wait_ms=1),
        ("batched", "fastapi", "onnxruntime"), "batched",
    ),
    "sync": _PLAIN_ENDPOINT,
    "sync-2": replace(_PLAIN_ENDPOINT, tuning=Tuning(workers=2)),
    "tutorial": Peer(
        "FastAPI and Keras, as in tutorials", _run_uvicorn("tutorial"), Tuning(),
        ("fastapi", "keras", "tensorflow-cpu"),
        options={
            "is_batching": False, "request_timeout_s": 60.0, "start_timeout_s": 60.0, "min_load_s": 8.0,
            "checked_windows": 8, "skipped": {"256": "256 concurrent requests take longer than the whole load"},
        },
    ),
}  # fmt: skip


def peer_servers() -> list[ServerSpec]:
    """Return all peers, including those that are not installed, so that reports mention them."""
    return [peer.server(name) for name, peer in PEERS.items()]
