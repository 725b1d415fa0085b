"""Workers: several server processes on one port, and the supervisor that starts, replaces and stops them."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from prometheus_client import multiprocess

from app.observability.logs import log_to_stderr
from app.observability.metrics import MULTIPROC_DIR_VARIABLE, all_processes_registry, metrics_server
from app.settings import Settings

SPAWN = multiprocessing.get_context("spawn")  # a fork would share threads' locks

log = logging.getLogger(__name__)


class _Worker:
    """One server process, and the pipe through which it says that it answers requests."""

    def __init__(self, settings: Settings) -> None:
        self.pipe, tell = SPAWN.Pipe(duplex=False)
        self.process: SpawnProcess = SPAWN.Process(target=_work, args=(settings, tell))
        self.process.start()
        tell.close()  # the worker's end is its alone: it closes when the worker ends, whatever ends it
        self.is_heard = False
        self.has_started = False

    def hear(self) -> None:
        """Waits for word from it, or for its end."""
        if not self.is_heard:
            self.is_heard = True
            with suppress(EOFError):
                self.has_started = self.pipe.recv()
            self.pipe.close()


class Supervisor:
    """Keeps `settings.workers` processes serving one port.

    Each listens for itself (SO_REUSEPORT), and the kernel spreads connections over them. A worker that ends is
    replaced, unless it never started: then all are stopped, as the next would do no better. SIGTERM and SIGINT are
    passed on as SIGTERM, and so is the second of them, which ends the workers at once. SIGHUP is passed on as it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: list[_Worker] = []
        self._is_leaving = False
        self._code = 0

    def run(self) -> int:
        """Returns the exit code when all workers have ended: 0 if each ended well, after a signal."""
        with ExitStack() as stack:
            os.environ[MULTIPROC_DIR_VARIABLE] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="pricecast-metrics-")
            )
            reserved = stack.enter_context(_listener(self._settings))  # bound, but never listening: it keeps the port
            port = reserved.getsockname()[1]
            self._settings = self._settings.model_copy(update={"port": port})
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._pass_on)
            signal.signal(signal.SIGHUP, self._pass_on_news)
            settings = self._settings
            stack.enter_context(metrics_server(settings.metrics_host, settings.metrics_port, all_processes_registry()))
            for _ in range(self._settings.workers):
                self._start_one()
            is_told = False
            while self._workers:
                self._wait()
                if not is_told and all(worker.has_started for worker in self._workers):
                    is_told = True
                    log.info("%d workers running on http://%s:%d", len(self._workers), self._settings.host, port)
            return self._code

    def _start_one(self) -> None:
        worker = _Worker(self._settings)
        self._workers.append(worker)
        if self._is_leaving:  # the signal came meanwhile
            worker.process.terminate()

    def _wait(self) -> None:
        """Until a worker says something or ends."""
        reactions: dict[Any, Callable[[], None]] = {}
        for worker in self._workers:
            reactions[worker.process.sentinel] = partial(self._has_ended, worker)
            if not worker.is_heard:
                reactions[worker.pipe] = worker.hear
        for event in wait(list(reactions)):
            reactions[event]()

    def _has_ended(self, worker: _Worker) -> None:
        worker.hear()
        worker.process.join()
        multiprocess.mark_process_dead(worker.process.pid)
        self._workers.remove(worker)
        code = abs(worker.process.exitcode or 0)  # negative where a signal killed it
        if worker.has_started and not self._is_leaving:
            log.error("worker %s ended with %d, and is replaced", worker.process.pid, code)
            self._start_one()
        elif worker.has_started:
            self._code = max(self._code, code)
        elif not self._is_leaving:
            log.error("a worker could not start: all are stopped")
            self._code = 1
            self._pass_on(signal.SIGTERM, None)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._is_leaving = True
        for worker in self._workers:
            worker.process.terminate()

    def _pass_on_news(self, number: int, frame: FrameType | None) -> None:
        """Has all workers look for other model versions."""
        for worker in self._workers:
            if worker.has_started and worker.process.pid is not None:
                _forward_sighup(worker.process.pid)


def _forward_sighup(process: int) -> None:
    """Has a process look for other model versions, if it has not just ended."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGHUP)


def _work(settings: Settings, tell: Connection) -> None:
    """A worker's life: it serves, and says True when it answers requests."""
    from app.server.uvicorn_server import serve  # only here: the supervisor itself needs nothing of it

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server knows what to do
    log_to_stderr(settings.log_level)
    on_version_selected = partial(_forward_sighup, os.getppid())  # the supervisor passes it on
    with _listener(settings) as bound:
        sys.exit(serve(settings, bound, partial(tell.send, True), on_version_selected))


def _listener(settings: Settings) -> socket.socket:
    """A socket bound to the settings' address, which other processes may bind as well."""
    family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        sys.exit(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    return bound
