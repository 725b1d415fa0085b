"""The log: one JSON object a line, on standard error."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TextIO

AT_ONCE = 4096  # bytes that a pipe takes whole (PIPE_BUF on Linux): more, and lines of several workers would mix
FLUSH_S = 0.1  # requests come by the thousand: lines that are written together cost a tenth of lines written alone


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
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


def log_to_stderr(level: str) -> None:
    """Sends every logger's records to standard error, as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class RequestLog:
    """A line for each request, in the form of `JsonLines`, written a moment later together with others.

    Not by way of `logging`, which takes longer for a line than the batcher for a request.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._second = -1
        self._date = ""
        self._process = os.getpid()

    def line(
        self, request_id: str, trace_id: str, method: str, route: str, status: int, took_s: float, more: dict[str, str]
    ) -> None:
        """
        Args:
            request_id, trace_id, method, route: with nothing in them that JSON would escape.
            more: anything else that is known; empty values are left out.
        """
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._date = second, datetime.fromtimestamp(second, UTC).isoformat()[:19]
        rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in more.items() if value)
        self._lines.append(
            f'{{"time": "{self._date}.{int(now % 1 * 1000):03}+00:00", "process": {self._process}, "level": "info", '
            f'"logger": "app.request", "message": "{method} {route} {status}", "request_id": "{request_id}", '
            f'"trace_id": "{trace_id}", "method": "{method}", "route": "{route}", "status": {status}, '
            f'"took_ms": {took_s * 1000:.3f}{rest}}}\n'
        )

    def flush(self) -> None:
        """Writes what there is. A log that cannot be written keeps nobody from being answered."""
        lines, self._lines = self._lines, []
        try:
            for together in _at_once(lines):
                self._stream.write(together)
                self._stream.flush()
        except (OSError, ValueError):  # a full disk, a reader that has gone
            return


def _at_once(lines: Iterable[str]) -> Iterator[str]:
    """Lines of ASCII, as many together as may be written in one step."""
    together = ""
    for line in lines:
        if len(together) + len(line) > AT_ONCE:
            yield together
            together = ""
        together += line
    yield together
