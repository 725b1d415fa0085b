"""Real server processes, for tests that need a socket, signals or several processes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.processes import environment_without_settings
from tests.conftest import ROOT

TIMEOUT_S = 60.0  # far more than anything takes, even with Keras on a busy machine
LISTENING = re.compile(r"running on (http://[\d.:]+)")


def clean_environment(*, with_coverage: bool = False) -> dict[str, str]:
    """Return the environment variables of this process, without settings of the service.

    Args:
        with_coverage: Whether Python processes measure coverage, which makes them about twice as slow.
    """
    environment = environment_without_settings()
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not with_coverage:
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
    return environment


class ServerProcess:
    """`python -m app` on a free port.

    The constructor does not wait for the server to start; `wait_until_listening` does.

    Attributes:
        log: All lines that the server has written to standard error.
        url: The server's address, once it listens.
    """

    def __init__(self, *, with_coverage: bool = False, startup_code: str = "", **settings: str) -> None:
        """Start the process.

        Args:
            with_coverage: Whether to measure coverage, which makes the server about twice as slow.
            startup_code: Python code that each of its processes runs before anything else.
            settings: Names of settings, without the prefix, and their values.
        """
        environment = clean_environment(with_coverage=with_coverage)
        environment |= {f"PRICECAST_{name.upper()}": value for name, value in settings.items()}
        self._site_dir = tempfile.TemporaryDirectory()
        if startup_code:
            (Path(self._site_dir.name) / "sitecustomize.py").write_text(startup_code, encoding="utf-8")
            environment["PYTHONPATH"] = os.pathsep.join([self._site_dir.name, str(ROOT)])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"], cwd=ROOT, env={"PRICECAST_PORT": "0"} | environment,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.log: list[str] = []
        self.url = ""
        self._is_listening_or_ended = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def wait_until_listening(self) -> str:
        """Wait until the models are loaded and the server listens. Return its address."""
        if not self._is_listening_or_ended.wait(TIMEOUT_S):
            raise AssertionError("the server did not start in time:\n" + "".join(self.log))
        if not self.url:
            raise AssertionError("the server exited during its startup:\n" + "".join(self.log))
        return self.url

    def has_logged(self, text: str) -> bool:
        """Return whether a line of the log contains this text."""
        return any(text in line for line in self.log)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def logged_requests(self, route: str) -> list[dict[str, Any]]:
        """Return the access log lines of a route."""
        lines = (json.loads(line) for line in list(self.log) if line.startswith("{"))
        return [line for line in lines if line["logger"] == "app.request" and line["route"] == route]

    def stop(self, sig: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Send a signal, wait for the process and return its exit code. Kill the process if it does not end in time."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self._reader.join(timeout_s)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self._site_dir.cleanup()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := LISTENING.search(line):
                self.url = found[1]
                self._is_listening_or_ended.set()
        self._is_listening_or_ended.set()


@contextmanager
def running_server(**options: Any) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """Run a `ServerProcess` with these options. Yield it, once it listens, with an HTTP client for it."""
    server = ServerProcess(**options)
    try:
        with httpx.Client(base_url=server.wait_until_listening(), timeout=30.0, trust_env=False) as client:
            yield server, client
    finally:
        server.stop()


class HttpConnection:
    """A keep-alive connection, light enough for tests that need many at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, server: ServerProcess) -> "HttpConnection":
        """Connect to a server."""
        return cls(*await asyncio.open_connection(*server.address))

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Send a JSON body, and return the status and the JSON content of the response.

        Args:
            path: Path of the request.
            body: Content that can be written as JSON.
            headers: Additional headers, with underscores in place of hyphens.

        Raises:
            ConnectionError: The server closed the connection without a response.
        """
        content = json.dumps(body).encode()
        fields = {"Host": "test", "Content-Type": "application/json", "Content-Length": str(len(content))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        try:
            response_head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise AssertionError("the server sent only part of a response") from error
            raise ConnectionResetError from error
        length = int(response_head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(response_head.split()[1]), json.loads(await self._reader.readexactly(length))

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


def wait_until(description: str, condition: Callable[[], object]) -> None:
    """Poll until a condition holds, and fail if it does not within `TIMEOUT_S`."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, f"timed out waiting for: {description}"
        time.sleep(0.02)
