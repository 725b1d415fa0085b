"""A real server process, for tests that go over a real socket."""

import asyncio
import json
import os
import re
import signal
import socket
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

ROOT = Path(__file__).parent.parent
START_S = 60.0  # far more than it takes, even with Keras on a busy machine
PATIENCE_S = 60.0
LISTENING = re.compile(r"running on (http://[\d.:]+)")


class ServerProcess:
    """`python -m app` on a free port, with its log kept."""

    def __init__(self, *, measured: bool = False, first: str = "", **settings: str) -> None:
        """
        Args:
            measured: whether its lines count for coverage, which makes it about twice as slow.
            first: Python that each of its processes runs before all else.
            settings: names of settings, without the prefix.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PRICECAST_")}
        environment |= {f"PRICECAST_{name.upper()}": value for name, value in settings.items()}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if not measured:
            environment.pop("COVERAGE_PROCESS_CONFIG", None)
        self._first = tempfile.TemporaryDirectory()
        if first:
            (Path(self._first.name) / "sitecustomize.py").write_text(first, encoding="utf-8")
            environment["PYTHONPATH"] = os.pathsep.join([self._first.name, str(ROOT)])
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"], cwd=ROOT, env={"PRICECAST_PORT": "0"} | environment,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.log: list[str] = []
        self._listening = threading.Event()
        self.url = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_listening(self) -> str:
        """The server's address, once models are loaded and it listens."""
        if not self._listening.wait(START_S):
            raise AssertionError("the server did not start:\n" + "".join(self.log))
        if not self.url:
            raise AssertionError("the server gave up:\n" + "".join(self.log))
        return self.url

    def has_said(self, text: str) -> bool:
        """Whether a line of its log holds this."""
        return any(text in line for line in self.log)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def requests(self, route: str) -> list[dict[str, Any]]:
        """The lines in the log that requests for a route have left so far."""
        lines = (json.loads(line) for line in list(self.log) if line.startswith("{"))
        return [line for line in lines if line["logger"] == "app.request" and line["route"] == route]

    def stop(self, sig: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self._reader.join(timeout_s)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self._first.cleanup()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := LISTENING.search(line):
                self.url = found[1]
                self._listening.set()
        self._listening.set()  # it has ended


@contextmanager
def running(**how: Any) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """A `ServerProcess` that listens, and a client of it."""
    server = ServerProcess(**how)
    try:
        with httpx.Client(base_url=server.wait_until_listening(), timeout=30.0, trust_env=False) as client:
            yield server, client
    finally:
        server.stop()


class Connection:
    """A connection that is kept alive, for tests that need many at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, server: ServerProcess) -> "Connection":
        return cls(*await asyncio.open_connection(*server.address))

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and content of the answer.

        Raises:
            ConnectionError: the server has closed the connection, and answered nothing.
        """
        content = json.dumps(body).encode()
        named = {"Host": "test", "Content-Type": "application/json", "Content-Length": str(len(content))}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        self._writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        try:
            said = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise AssertionError("half an answer") from error
            raise ConnectionResetError from error
        length = int(said.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(said.split()[1]), json.loads(await self._reader.readexactly(length))

    def close(self) -> None:
        self._writer.close()


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def until(what: str, holds: Callable[[], object]) -> None:
    """Waits until `holds()`, and fails if it never does."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
