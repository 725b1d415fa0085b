"""Starts and stops Pricecast for a benchmark."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.settings import PREFIX
from benchmarks.processes import PYTHON, ROOT, RunningServer, free_port

START_TIMEOUT_S = 60.0  # generous even for Keras on a busy machine
POLL_S = 0.01  # resolution of a measured start


class StartFailed(Exception):
    """The service did not become ready. The message has its last response and the end of its output."""


@contextmanager
def running_pricecast(directory: Path = ROOT, **settings: object) -> Iterator[tuple[str, RunningServer]]:
    """Start the service, yield its URL and process once it is ready, and stop it in the end.

    Args:
        directory: Working directory. Python imports the package `app` from there.
        settings: Settings by name, without the prefix PRICECAST_.

    Raises:
        StartFailed: The service does not become ready.
    """
    port = free_port()
    environment = {PREFIX + name.upper(): str(value) for name, value in (settings | {"port": port}).items()}
    url = f"http://127.0.0.1:{port}"
    server = RunningServer([str(PYTHON), "-m", "app"], environment, directory)
    try:
        wait_until_ready(server, url)
        yield url, server
    finally:
        server.stop()


def wait_until_ready(server: RunningServer, url: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Poll `/health/ready` until it returns 200.

    Raises:
        StartFailed: The server exits, or is not ready within the timeout.
    """
    until = time.monotonic() + timeout_s
    with httpx.Client(base_url=url, trust_env=False) as client:
        while True:
            try:
                response = client.get("/health/ready")
            except httpx.HTTPError as error:
                last = repr(error)
            else:
                if response.status_code == 200:
                    return
                last = f"{response.status_code} {response.text}"
            if server.has_exited:
                raise StartFailed(f"the service exited:\n{server.output_tail()}")
            if time.monotonic() >= until:
                raise StartFailed(f"not ready within {timeout_s:g} s; last response: {last}\n{server.output_tail()}")
            time.sleep(POLL_S)
