"""Descriptions of servers: how to start one, how to format its requests, and how to read its responses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.artifact.arrays import F64
from benchmarks.processes import PYTHON
from benchmarks.windows import BATCH_WINDOWS


@dataclass(frozen=True)
class LoadScenario:
    """A load: a number of connections, each sending requests of a number of windows."""

    name: str
    connections: int
    windows_per_request: int = 1


SINGLE_WINDOW_SCENARIOS = tuple(LoadScenario(str(connections), connections) for connections in (1, 16, 64, 256))
BATCH_SCENARIOS = tuple(LoadScenario(f"batch-{connections}", connections, BATCH_WINDOWS) for connections in (1, 2))
LOAD_SCENARIOS = (*SINGLE_WINDOW_SCENARIOS, *BATCH_SCENARIOS)


@dataclass(frozen=True)
class RequestFormat:
    """How an endpoint takes windows and returns forecasts.

    Attributes:
        path: Path of the endpoint.
        encode: Converts prices (B, W) into the JSON content of a request.
        decode: Converts the JSON content of a response into B forecasts.
    """

    path: str
    encode: Callable[[F64], Any]
    decode: Callable[[Any], list[float]]


@dataclass(frozen=True)
class ServerSpec:
    """A server to measure.

    Attributes:
        name: Unique name, used on the command line and in result files.
        label: Name in reports.
        kind: Our own service, an upper bound that computes no forecast, or a peer.
        command: Returns the command that starts the server on a port.
        single_format: Requests of one window.
        batch_format: Requests of several windows. None if the server does not take them.
        processes: Number of processes that handle requests.
        python: Interpreter that runs the server.
        distributions: Distributions whose versions are reported.
        environment: Environment variables of the server.
        is_forecasting: Whether it returns forecasts. False if it returns a constant response.
        is_batching: Whether it joins concurrent requests into one call of the network.
        checked_windows: Windows compared before and after each load.
        request_timeout_s: Timeout of a request. A timeout counts as an error.
        start_timeout_s: Timeout of the first response.
        min_load_s: Minimum duration of a load; longer if single requests take seconds.
        scenarios: Names of the scenarios to measure.
        skipped: Names of scenarios to skip, with the reason for each.
        unavailable: Reason why the server cannot be measured on this machine, or None.
    """

    name: str
    label: str
    kind: Literal["pricecast", "upper bound", "peer"]
    command: Callable[[int], list[str]]
    single_format: RequestFormat
    batch_format: RequestFormat | None = None
    processes: int = 1
    python: Path = PYTHON
    distributions: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    is_forecasting: bool = True
    is_batching: bool = True
    checked_windows: int = 64
    request_timeout_s: float = 10.0
    start_timeout_s: float = 30.0
    min_load_s: float = 0.0
    scenarios: tuple[str, ...] = tuple(scenario.name for scenario in LOAD_SCENARIOS)
    skipped: Mapping[str, str] = field(default_factory=dict)
    unavailable: str | None = None

    def request_format(self, scenario: LoadScenario) -> RequestFormat | None:
        """Return the format of a scenario's requests, or None if the server does not take them."""
        return self.single_format if scenario.windows_per_request == 1 else self.batch_format
