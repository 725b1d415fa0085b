"""What is measured: servers, how to start and ask them, and how their answers are read."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.artifact.transform import F64
from benchmarks.windows import MANY

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable)


@dataclass(frozen=True)
class Cell:
    """One load: so many connections, each sending requests of so many windows."""

    name: str
    connections: int
    windows: int = 1  # in one request


SINGLE = tuple(Cell(str(connections), connections) for connections in (1, 16, 64, 256))
BATCHES = tuple(Cell(f"batch-{connections}", connections, MANY) for connections in (1, 2))
CELLS = (*SINGLE, *BATCHES)


@dataclass(frozen=True)
class Request:
    """One kind of request: where to, what it holds, and where in the answer the forecasts are."""

    path: str
    content: Callable[[F64], Any]  # (B, W) prices -> what is sent as JSON
    read: Callable[[Any], list[float]]  # the answer's JSON -> B forecasts


@dataclass(frozen=True)
class Subject:
    """A named server."""

    name: str
    label: str
    kind: Literal["pricecast", "ceiling", "peer"]
    command: Callable[[int], list[str]]  # port -> what starts it there
    single: Request
    many: Request | None = None
    processes: int = 1  # that answer requests
    python: Path = PYTHON
    distributions: tuple[str, ...] = ()  # whose versions tell what was measured
    environment: Mapping[str, str] = field(default_factory=dict)
    forecasts: bool = True  # or it answers a constant
    batches: bool = True  # joins concurrent requests into one call
    checked_windows: int = 64  # before and after each load; fewer where an answer takes long
    timeout_s: float = 10.0  # a request unanswered for longer is an error
    start_limit_s: float = 30.0
    least_seconds: float = 0.0  # of a load; more where requests take that long
    cells: tuple[str, ...] = tuple(cell.name for cell in CELLS)
    left_out: Mapping[str, str] = field(default_factory=dict)  # cell -> why it is not measured
    absent: str | None = None  # why it cannot be measured here

    def request(self, cell: Cell) -> Request | None:
        return self.single if cell.windows == 1 else self.many


def _one(prices: F64) -> Any:
    return {"prices": prices[0].tolist()}


def _series(prices: F64) -> Any:
    return {"series": [{"prices": window} for window in prices.tolist()]}


def _forecast(answer: Any) -> list[float]:
    return [answer["forecast"][0]]


def pricecast(workers: int) -> Subject:
    """This service, in so many processes."""
    settings = {"PRICECAST_DEFAULT_MODEL": "tutorial", "PRICECAST_MODELS_DIR": str(ROOT / "models")}
    if workers > 1:
        settings["PRICECAST_WORKERS"] = str(workers)
    return Subject(
        name="pricecast" if workers == 1 else f"pricecast-{workers}",
        label="Pricecast",
        kind="pricecast",
        # The port is a setting as well; `env` adds it, as it is known only now.
        command=lambda port: ["env", f"PRICECAST_PORT={port}", str(PYTHON), "-m", "app"],
        single=Request("/predict", _one, _forecast),
        many=Request("/predict/batch", _series, lambda answer: [each["forecast"][0] for each in answer["forecasts"]]),
        processes=workers,
        distributions=("fastapi", "onnxruntime", "uvicorn"),
        environment=settings,
    )


def ceiling(name: str, label: str, app: str, workers: int = 1) -> Subject:
    """A server that answers a constant."""
    options = ["--no-access-log", "--log-level", "warning", "--workers", str(workers)]
    return Subject(
        name=name,
        label=label,
        kind="ceiling",
        command=lambda port: [
            str(PYTHON),
            "-m",
            "uvicorn",
            "--port",
            str(port),
            *options,
            f"benchmarks.servers.upper_bounds:{app}",
        ],
        single=Request("/predict", _one, _forecast),
        processes=workers,
        distributions=("fastapi", "uvicorn"),
        forecasts=False,
        batches=False,
        cells=("1", "64"),  # what Pricecast is compared with; the rest would only lengthen the run
    )


def own() -> list[Subject]:
    """Pricecast and the ceilings above it."""
    return [
        pricecast(1),
        pricecast(2),
        ceiling("uvicorn", "uvicorn, bare, a constant", "bare"),
        ceiling("fastapi-echo", "FastAPI, validation only, a constant", "echo"),
        ceiling("fastapi-echo-2", "FastAPI, validation only, a constant", "echo", workers=2),
    ]
