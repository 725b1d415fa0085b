"""Logging: one JSON object per line on standard error."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TextIO

MAX_WRITE_BYTES = 4096  # PIPE_BUF on Linux: longer writes to a pipe are not atomic, and processes would mix their lines
FLUSH_INTERVAL_S = 0.1  # at thousands of requests per second, batched writes cost a tenth of single ones


class JsonFormatter(logging.Formatter):
    """Formats a log record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, with its traceback if it has one."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "process": record.process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Send the records of all loggers, from `level` upwards, to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class RequestLog:
    """Access log: one line per request, in the format of `JsonFormatter`, written in batches.

    It bypasses `logging`, which spends more time on a line than the batcher spends on a request.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Create an empty log.

        Args:
            stream: Where to write. Standard error by default.
        """
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._last_second = -1  # the date is formatted once per second, not once per line
        self._last_date = ""
        self._process = os.getpid()

    def add(
        self,
        request_id: str,
        trace_id: str,
        method: str,
        route: str,
        status: int,
        duration_s: float,
        extra: dict[str, str],
    ) -> None:
        """Add the line of one request. It is written within `FLUSH_INTERVAL_S`.

        Args:
            request_id: The request's ID. Like `trace_id`, `method` and `route`, it must not need JSON escaping.
            trace_id: ID of the trace that the request belongs to.
            method: HTTP method.
            route: Path template of the matched route.
            status: HTTP status of the answer.
            duration_s: Time from the request's arrival to its answer.
            extra: Additional fields. Those with an empty value are omitted.
        """
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self.flush)
        now = time.time()
        second = int(now)
        if second != self._last_second:
            self._last_second, self._last_date = second, datetime.fromtimestamp(second, UTC).isoformat()[:19]
        rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in extra.items() if value)
        self._lines.append(
            f'{{"time": "{self._last_date}.{int(now % 1 * 1000):03}+00:00", "process": {self._process}, '
            f'"level": "info", "logger": "app.request", "message": "{method} {route} {status}", '
            f'"request_id": "{request_id}", "trace_id": "{trace_id}", "method": "{method}", "route": "{route}", '
            f'"status": {status}, "took_ms": {duration_s * 1000:.3f}{rest}}}\n'
        )

    def flush(self) -> None:
        """Write all buffered lines. If that fails, drop them: a broken log must not fail requests."""
        lines, self._lines = self._lines, []
        try:
            for chunk in _atomic_chunks(lines):
                self._stream.write(chunk)
                self._stream.flush()
        except (OSError, ValueError):  # such as a full disk or a closed pipe
            return


def _atomic_chunks(lines: Iterable[str]) -> Iterator[str]:
    """Join ASCII lines into chunks of at most `MAX_WRITE_BYTES`. A longer line is a chunk of its own."""
    chunk = ""
    for line in lines:
        if len(chunk) + len(line) > MAX_WRITE_BYTES:
            yield chunk
            chunk = ""
        chunk += line
    yield chunk
