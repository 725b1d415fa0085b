"""Supervisor of several server processes that share one port."""

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

from app.observability.logs import configure_logging
from app.observability.metrics import MULTIPROC_DIR_VARIABLE, all_processes_registry, metrics_server
from app.settings import Settings

SPAWN = multiprocessing.get_context("spawn")  # a forked process would inherit locks that other threads hold

log = logging.getLogger(__name__)


class _ServerProcess:
    """A server process and the pipe on which it reports that it is serving.

    Attributes:
        ready_pipe: Receives True once the process serves requests. Closed without a message if it ends before that.
        is_starting: Whether the outcome of the startup is still unknown.
        has_started: Whether the process has begun to serve requests.
    """

    def __init__(self, settings: Settings) -> None:
        self.ready_pipe, ready_sender = SPAWN.Pipe(duplex=False)
        self.process: SpawnProcess = SPAWN.Process(target=_run_server_process, args=(settings, ready_sender))
        self.process.start()
        ready_sender.close()  # only the process still holds this end, so the pipe closes when the process ends
        self.is_starting = True
        self.has_started = False

    def wait_for_startup(self) -> None:
        """Wait until the process serves requests or has ended."""
        if self.is_starting:
            self.is_starting = False
            with suppress(EOFError):
                self.has_started = self.ready_pipe.recv()
            self.ready_pipe.close()


class Supervisor:
    """Keeps `settings.workers` server processes running on one port.

    Each process has its own listening socket (SO_REUSEPORT), and the kernel distributes the connections. A process
    that exits is replaced. If it exits during its startup, all are stopped instead, because a replacement would fail
    too. SIGTERM and SIGINT are both forwarded as SIGTERM. A second signal is forwarded too and makes the processes exit
    immediately. SIGHUP is forwarded unchanged.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers: list[_ServerProcess] = []
        self._is_shutting_down = False
        self._exit_code = 0

    def run(self) -> int:
        """Run the server processes until all have exited.

        Returns:
            The exit code: 0 if every process exited with 0 after a signal.

        Raises:
            SystemExit: The port cannot be listened on.
        """
        with ExitStack() as stack:
            os.environ[MULTIPROC_DIR_VARIABLE] = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="pricecast-metrics-")
            )
            reserved = stack.enter_context(_bind_socket(self._settings))  # reserves the port and never listens
            port = reserved.getsockname()[1]
            self._settings = self._settings.model_copy(update={"port": port})
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._forward_sigterm)
            signal.signal(signal.SIGHUP, self._forward_sighup)
            settings = self._settings
            stack.enter_context(metrics_server(settings.metrics_host, settings.metrics_port, all_processes_registry()))
            for _ in range(self._settings.workers):
                self._start_server()
            is_announced = False
            while self._servers:
                self._wait_for_event()
                if not is_announced and all(server.has_started for server in self._servers):
                    is_announced = True
                    log.info(
                        "%d server processes running on http://%s:%d", len(self._servers), self._settings.host, port
                    )
            return self._exit_code

    def _start_server(self) -> None:
        server = _ServerProcess(self._settings)
        self._servers.append(server)
        if self._is_shutting_down:  # the signal arrived while the process was being created
            server.process.terminate()

    def _wait_for_event(self) -> None:
        """Wait until a server process has started or ended, and handle it."""
        handlers: dict[Any, Callable[[], None]] = {}
        for server in self._servers:
            handlers[server.process.sentinel] = partial(self._on_exit, server)
            if server.is_starting:
                handlers[server.ready_pipe] = server.wait_for_startup
        for event in wait(list(handlers)):
            handlers[event]()

    def _on_exit(self, server: _ServerProcess) -> None:
        """Replace a server process that has ended, or stop all if it never started."""
        server.wait_for_startup()
        server.process.join()
        multiprocess.mark_process_dead(server.process.pid)
        self._servers.remove(server)
        exit_code = server.process.exitcode or 0  # negative if a signal killed the process
        if server.has_started and not self._is_shutting_down:
            outcome = f"exited with code {exit_code}" if exit_code >= 0 else f"was killed by signal {-exit_code}"
            log.error("server process %s %s; starting a replacement", server.process.pid, outcome)
            self._start_server()
        elif server.has_started:
            self._exit_code = max(self._exit_code, abs(exit_code))
        elif not self._is_shutting_down:
            log.error("a server process failed to start; stopping all")
            self._exit_code = 1
            self._forward_sigterm(signal.SIGTERM, None)

    def _forward_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._is_shutting_down = True
        for server in self._servers:
            server.process.terminate()

    def _forward_sighup(self, number: int, frame: FrameType | None) -> None:
        """Make all server processes check the models directory."""
        for server in self._servers:
            if server.has_started and server.process.pid is not None:
                _send_sighup(server.process.pid)


def _send_sighup(pid: int) -> None:
    """Send SIGHUP to a process, unless it has just ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)


def _run_server_process(settings: Settings, ready_sender: Connection) -> None:
    """Serve, as the main function of a server process, and send True once requests are being served."""
    from app.server.uvicorn_server import serve  # imported late: the supervisor does not need the application

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server installs its own handler
    configure_logging(settings.log_level)
    on_version_selected = partial(_send_sighup, os.getppid())  # the supervisor forwards it to all server processes
    with _bind_socket(settings) as listener:
        sys.exit(serve(settings, listener, partial(ready_sender.send, True), on_version_selected))


def _bind_socket(settings: Settings) -> socket.socket:
    """Return a socket bound to the configured address, which other processes can bind to as well.

    Raises:
        SystemExit: The address cannot be bound to.
    """
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
