"""The peers as subjects: how each is started, asked and tuned.

A tuning is what was fastest at 64 connections on two cores among those that `python -m benchmarks.scenarios.tune_peer` tried.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.artifact.transform import F64
from benchmarks.processes import free_port
from benchmarks.servers.peers.tuning import Tuning
from benchmarks.servers.spec import PYTHON, ROOT, Request, Subject
from benchmarks.windows import affine

ENVIRONMENTS = ROOT / ".peers"

# What keeps every peer from reporting to its makers, Ray from listening to other machines, and TensorFlow from talking.
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on those systems the loopback address is its default
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _windows(prices: F64) -> Any:
    return {"windows": prices.tolist()}


def _forecasts(answer: Any) -> list[float]:
    forecasts: list[float] = answer["forecasts"]
    return forecasts


def _tensor(prices: F64) -> Any:
    data = prices.ravel().tolist()
    return {"inputs": [{"name": "windows", "shape": list(prices.shape), "datatype": "FP64", "data": data}]}


def _tensor_data(answer: Any) -> list[float]:
    data: list[float] = answer["outputs"][0]["data"]
    return data


JSON = Request("/predict", _windows, _forecasts)
BENTOML = Request("/predict", _windows, list)
OPEN_INFERENCE = Request("/v2/models/tutorial/infer", _tensor, _tensor_data)


@dataclass(frozen=True)
class Peer:
    """What is particular to one peer."""

    label: str
    command: Callable[[Path, int, Tuning], list[str]]  # its interpreter, the port, its tuning
    tuning: Tuning
    distributions: tuple[str, ...]
    directory: str | None = None  # of its environment in .peers/; None: it runs in Pricecast's own
    single: Request = JSON
    many: Request | None = JSON
    subject: Mapping[str, Any] = field(default_factory=dict)  # whatever else its subject has otherwise than most

    def subject_named(self, name: str) -> Subject:
        python = PYTHON if self.directory is None else ENVIRONMENTS / self.directory / "bin" / "python"
        scales = affine()
        scaler = {"SCALER_SCALE": repr(scales.scale), "SCALER_OFFSET": repr(scales.offset)}
        return Subject(
            name=name,
            label=self.label,
            kind="peer",
            command=lambda port: self.command(python, port, self.tuning),
            single=self.single,
            many=self.many,
            processes=max(1, self.tuning.workers),
            python=python,
            distributions=self.distributions,
            environment=QUIET | scaler | self.tuning.environment(),
            absent=self._absent(),
            **self.subject,
        )

    def _absent(self) -> str | None:
        """Why it cannot run here, if so."""
        if self.directory is None or (ENVIRONMENTS / self.directory / "ready").exists():
            return None
        log = ENVIRONMENTS / self.directory / "install.log"
        said = log.read_text().strip().splitlines() if log.exists() else []
        return f"not installed: {said[-1] if said else f'make .peers/{self.directory}/ready'}"


def _module(name: str) -> Callable[[Path, int, Tuning], list[str]]:
    def command(python: Path, port: int, tuning: Tuning) -> list[str]:
        return [
            "env",
            f"PORT={port}",
            f"GRPC_PORT={free_port()}",
            str(python),
            "-m",
            f"benchmarks.servers.peers.{name}",
        ]

    return command


def _uvicorn(name: str) -> Callable[[Path, int, Tuning], list[str]]:
    def command(python: Path, port: int, tuning: Tuning) -> list[str]:
        options = ["--no-access-log", "--log-level", "warning", "--workers", str(tuning.workers)]
        return [str(python), "-m", "uvicorn", "--port", str(port), *options, f"benchmarks.servers.peers.{name}:app"]

    return command


def _mosec(python: Path, port: int, tuning: Tuning) -> list[str]:
    options = ["--address", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    return [str(python), "-m", "benchmarks.servers.peers.mosec", *options]


def _bentoml(python: Path, port: int, tuning: Tuning) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--quiet"]
    return [str(python), "-m", "bentoml", "serve", *options, "benchmarks.servers.peers.bentoml:Forecaster"]


_MOSEC = Peer("mosec", _mosec, Tuning(batch=32, wait_ms=1), ("mosec", "onnxruntime"), "mosec")

_SYNC = Peer(
    "FastAPI, a plain endpoint", _uvicorn("plain_endpoint"), Tuning(), ("fastapi", "onnxruntime"),
    single=Request("/predict", lambda prices: {"prices": prices[0].tolist()}, lambda answer: answer["forecast"]),
    many=Request("/predict/batch", _windows, _forecasts), subject={"batches": False},
)  # fmt: skip

PEERS = {
    "mosec": _MOSEC,
    "mosec-tuned": replace(_MOSEC, label="mosec, tuned", tuning=Tuning(workers=2, batch=16, wait_ms=1)),
    "pytriton": Peer(
        "PyTriton", _module("pytriton"), Tuning(batch=256, wait_ms=0), ("nvidia-pytriton", "onnxruntime"),
        "pytriton", OPEN_INFERENCE, OPEN_INFERENCE,
    ),
    "bentoml": Peer(
        "BentoML", _bentoml, Tuning(workers=2, batch=64, wait_ms=1000), ("bentoml", "onnxruntime"),
        "bentoml", BENTOML, BENTOML,
    ),
    "litserve": Peer(
        "LitServe", _module("litserve"), Tuning(batch=16, wait_ms=1), ("litserve", "onnxruntime"),
        "litserve",
    ),
    "mlserver": Peer(
        "MLServer", _module("mlserver"), Tuning(batch=64, wait_ms=1), ("mlserver", "onnxruntime"),
        "mlserver", OPEN_INFERENCE, OPEN_INFERENCE,
    ),
    "ray": Peer(
        "Ray Serve", _module("ray"), Tuning(workers=1, threads=1, batch=64, wait_ms=5), ("ray", "onnxruntime"), "ray",
        subject={"start_limit_s": 90.0, "timeout_s": 30.0},
    ),
    "batched": Peer(
        "FastAPI and batched", _uvicorn("batched"), Tuning(workers=2, batch=64, wait_ms=1),
        ("batched", "fastapi", "onnxruntime"), "batched",
    ),
    "sync": _SYNC,
    "sync-2": replace(_SYNC, tuning=Tuning(workers=2)),
    "tutorial": Peer(
        "FastAPI and Keras, as in tutorials", _uvicorn("tutorial"), Tuning(), ("fastapi", "keras", "tensorflow-cpu"),
        subject={
            "batches": False, "timeout_s": 60.0, "start_limit_s": 60.0, "least_seconds": 8.0, "checked_windows": 8,
            "left_out": {"256": "256 requests in flight take it longer than the whole cell"},
        },
    ),
}  # fmt: skip


def peers() -> list[Subject]:
    """All peers, those that are not installed as well, so that they can be told of."""
    return [peer.subject_named(name) for name, peer in PEERS.items()]
