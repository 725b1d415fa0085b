"""One server process: uvicorn around the application, until SIGTERM or Ctrl-C."""

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.lifecycle import Lifecycle
from app.main import create_app
from app.observability.metrics import metrics_server
from app.server.http_protocol import HttpProtocol
from app.settings import Settings

GARBAGE_OBJECTS = 50_000  # Python's own 700 take a few requests in flight for garbage, and search them again and again
SWITCH_INTERVAL_S = 5e-5  # Python's own 5 ms would let the event loop keep a lane waiting longer than it computes


class GracefulServer(uvicorn.Server):
    """uvicorn, leaving in order: unready first, a grace for load balancers, then drained, and exit code 0.

    A second signal ends it at once. SIGHUP has it look for other model versions. A worker leaves when its supervisor
    says so, or has gone.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._on_ready = on_ready
        self._supervisor = multiprocessing.parent_process()
        self._exit_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if hasattr(signal, "SIGHUP"):  # not on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._refresh)
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # nearly all that is alive now lives as long as the process: no collection need look at it again
        gc.set_threshold(GARBAGE_OBJECTS, 10, 10)

    async def main_loop(self) -> None:
        self._on_ready()
        await super().main_loop()

    def _refresh(self) -> None:
        self._refreshing = asyncio.create_task(self._lifecycle.registry.refresh())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._supervisor is not None and sig == signal.SIGINT:
            return  # Ctrl-C reaches every process of a terminal; the supervisor passes it on as SIGTERM
        if self._exit_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._lifecycle.leave()
        self._exit_at = time.monotonic() + self._lifecycle.settings.drain_grace_s

    async def on_tick(self, counter: int) -> bool:
        if self._supervisor is not None and self._exit_at is None and not self._supervisor.is_alive():
            self.handle_exit(signal.SIGTERM, None)
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining = asyncio.create_task(self._lifecycle.drain())
        await super().shutdown(sockets)
        if self.force_exit:
            draining.cancel()
        else:
            await draining


def serve(
    settings: Settings,
    listener: socket.socket | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_version_selected: Callable[[], None] = lambda: None,
) -> int:
    """Serves until told to leave; returns the exit code.

    Args:
        listener: bound already; without one, the settings' host and port are.
        on_ready: called when requests are answered.
        on_version_selected: called when an administrator has chosen a version, for other workers to follow.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    app = create_app(settings, on_version_selected)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        access_log=False,
        proxy_headers=False,  # a client is known by its key, not by its address
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=int(settings.drain_deadline_s) + 1,  # later than the drain, which fails the rest
    )
    server = GracefulServer(config, app.lifecycle, on_ready)
    has_supervisor = multiprocessing.parent_process() is not None  # which shows the metrics of all
    metrics_port = 0 if has_supervisor else settings.metrics_port
    try:
        with metrics_server(settings.metrics_host, metrics_port, app.lifecycle.metrics.registry):
            server.run(None if listener is None else [listener])
    finally:
        app.lifecycle.flush()
    code = 0 if server.started else 1
    if server.force_exit:
        os._exit(code)  # the interpreter would wait for a thread that still computes
    return code
