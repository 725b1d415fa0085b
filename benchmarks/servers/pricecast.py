"""Pricecast alone: started for a benchmark, and what came of its rounds told."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import httpx

from app.settings import PREFIX
from benchmarks import machine, processes
from benchmarks.measurements import spread
from benchmarks.processes import Server, free_port
from benchmarks.servers.spec import PYTHON, ROOT

START_S = 60.0  # far more than it takes, even with Keras on a busy machine
POLL_S = 0.01  # a start is measured as exactly as this

Figures = Mapping[str, float]  # of one round, by name


class NeverReady(Exception):
    """The service does not start; says what it answered last, and what it printed."""


@contextmanager
def pricecast(**settings: object) -> Iterator[tuple[str, Server]]:
    """The address of a service that is ready, and the service; it is stopped in the end.

    Args:
        settings: names of settings, without the prefix.

    Raises:
        NeverReady: it does not start.
    """
    port = free_port()
    environment = {PREFIX + name.upper(): str(value) for name, value in (settings | {"port": port}).items()}
    url = f"http://127.0.0.1:{port}"
    server = Server([str(PYTHON), "-m", "app"], environment, ROOT)
    try:
        await_ready(server, url)
        yield url, server
    finally:
        server.stop()


def await_ready(server: Server, url: str, limit_s: float = START_S) -> None:
    """
    Raises:
        NeverReady: it has ended, or says something else when the time is over.
    """
    until = time.monotonic() + limit_s
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
            if server.ended:
                raise NeverReady(f"the service has ended:\n{server.said()}")
            if time.monotonic() >= until:
                raise NeverReady(f"not ready within {limit_s:g} s, but: {last}\n{server.said()}")
            time.sleep(POLL_S)


def tell(rounds: Iterable[Figures]) -> None:
    """Prints each round's figures when they are there, then the machine, and of each figure the median and the ends.

    Args:
        rounds: measured as they are iterated over. No process that they start is left behind, however this ends.
    """
    processes.guard()
    described = machine.description()  # before the rounds, which are a load themselves
    found = []
    for figures in rounds:
        found.append(figures)
        print(json.dumps(figures), file=sys.stderr, flush=True)
    print(json.dumps(described))
    print(table(found))


def table(rounds: Iterable[Figures]) -> str:
    """A line for each figure that some of the rounds have."""
    values: dict[str, list[float]] = {}
    for figures in rounds:
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    spreads = {name: spread(each) for name, each in values.items()}
    return "\n".join(
        f"{name:24} {found.median:12,.3f}  ({found.low:,.3f} to {found.high:,.3f})"
        for name, found in spreads.items()
        if found
    )
