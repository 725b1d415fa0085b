"""Checks that a server returns correct forecasts."""

import asyncio
import json
import time
from pathlib import Path

from benchmarks.http_client import post_all
from benchmarks.measurements import MeasurementFailed
from benchmarks.processes import RunningServer
from benchmarks.servers.spec import RequestFormat, ServerSpec
from benchmarks.windows import BATCH_WINDOWS, POOL_WINDOWS, WindowPool

CHECK_CONNECTIONS = 16
POLL_S = 0.005  # resolution of a measured cold start
BATCH_REQUESTS = 64  # different batch requests in a file of bodies
BATCH_STRIDE = 61  # rows between the first windows of consecutive batch requests


class ForecastChecker:
    """Sends windows of a pool to a server and compares the forecasts."""

    def __init__(self, pool: WindowPool) -> None:
        """Use the windows and forecasts of a pool."""
        self._pool = pool

    def wait_for_first_response(self, server: RunningServer, spec: ServerSpec, url: str) -> float:
        """Poll a starting server until it returns a correct response.

        Returns:
            Seconds from the start of the process to its first correct response.

        Raises:
            MeasurementFailed: The server exits, does not respond in time, or returns an incorrect forecast.
        """
        until = server.started_at + spec.start_timeout_s
        rows = slice(POOL_WINDOWS - 1, POOL_WINDOWS)
        body = self._encode(spec.single_format, rows)
        while time.monotonic() < until:
            if server.has_exited:
                raise MeasurementFailed(f"the server exited:\n{server.output_tail()}")
            try:
                [(status, content)] = asyncio.run(
                    post_all(url + spec.single_format.path, [body], 1, spec.request_timeout_s)
                )
            except (OSError, EOFError, ValueError, TimeoutError):
                status, content = 0, None
            if status == 200:
                if spec.is_forecasting and (error := self._find_error(spec.single_format, rows, content)):
                    raise MeasurementFailed(error)
                return time.monotonic() - server.started_at
            time.sleep(POLL_S)
        raise MeasurementFailed(f"no response within {spec.start_timeout_s:.0f} s:\n{server.output_tail()}")

    def check(self, spec: ServerSpec, request_format: RequestFormat, url: str) -> None:
        """Send several requests concurrently and compare every forecast.

        Raises:
            MeasurementFailed: A response is missing or incorrect.
        """
        if request_format is spec.single_format:
            step = POOL_WINDOWS // spec.checked_windows
            rows = [slice(first, first + 1) for first in range(0, POOL_WINDOWS, step)]
        else:
            rows = [slice(first, first + BATCH_WINDOWS) for first in (0, POOL_WINDOWS - BATCH_WINDOWS)]
        bodies = [self._encode(request_format, each) for each in rows]
        try:
            responses = asyncio.run(
                post_all(url + request_format.path, bodies, CHECK_CONNECTIONS, spec.start_timeout_s)
            )
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise MeasurementFailed(f"a check got no response: {type(error).__name__}: {error}") from None
        for each, (status, content) in zip(rows, responses, strict=True):
            if status != 200:
                raise MeasurementFailed(f"a check got status {status}: {content[:200]}")
            if spec.is_forecasting and (found := self._find_error(request_format, each, content)):
                raise MeasurementFailed(found)

    def write_bodies(self, path: Path, request_format: RequestFormat, windows: int) -> None:
        """Write a file of request bodies for a load generator, one per line.

        Args:
            path: File to write.
            request_format: Format of the requests.
            windows: Number of windows in each request.
        """
        if windows == 1:
            firsts = list(range(POOL_WINDOWS))
        else:
            firsts = [number * BATCH_STRIDE % (POOL_WINDOWS - windows) for number in range(BATCH_REQUESTS)]
        rows = [slice(first, first + windows) for first in firsts]
        path.write_bytes(b"\n".join(self._encode(request_format, each) for each in rows) + b"\n")

    def _encode(self, request_format: RequestFormat, rows: slice) -> bytes:
        return json.dumps(request_format.encode(self._pool.prices[rows])).encode()

    def _find_error(self, request_format: RequestFormat, rows: slice, content: object) -> str | None:
        try:
            return self._pool.find_error(rows, request_format.decode(content))
        except (KeyError, IndexError, TypeError, ValueError):
            return f"the response has an unexpected format: {json.dumps(content)[:200]}"
