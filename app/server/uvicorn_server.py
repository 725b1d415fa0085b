"""One server process: uvicorn running the application until SIGTERM or Ctrl-C."""

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

GC_THRESHOLD = 50_000  # at Python's default of 700, a few requests in flight trigger collections that free nothing
SWITCH_INTERVAL_S = 5e-5  # at Python's default of 5 ms, an engine thread may wait for the GIL longer than it computes


class GracefulServer(uvicorn.Server):
    """A uvicorn server that shuts down in steps and exits with code 0.

    On SIGTERM or Ctrl-C it reports unready, keeps serving for `drain_grace_s` so that load balancers notice, and then
    drains. A second signal ends it at once. SIGHUP makes it check the models directory.

    Under a supervisor it ignores SIGINT, because Ctrl-C reaches every process of the terminal and the supervisor
    forwards it as SIGTERM. It also shuts down if the supervisor has died.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, on_ready: Callable[[], None]) -> None:
        """Create the server.

        Args:
            config: uvicorn's configuration.
            lifecycle: The lifecycle of the application that `config` names.
            on_ready: Called once requests are being served.
        """
        super().__init__(config)
        self._lifecycle = lifecycle
        self._on_ready = on_ready
        self._supervisor = multiprocessing.parent_process()
        self._exit_time_s: float | None = None  # on the monotonic clock, once the shutdown has begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, and tune the garbage collector for a long-running process."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_sighup)
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # nearly every object alive now lives as long as the process, so never scan them again
        gc.set_threshold(GC_THRESHOLD, 10, 10)

    async def main_loop(self) -> None:
        """Report that requests are being served, and serve until the shutdown."""
        self._on_ready()
        await super().main_loop()

    def _on_sighup(self) -> None:
        self._refresh_task = asyncio.create_task(self._lifecycle.registry.refresh())  # keeps the task referenced

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown on the first signal, and force the exit on the second."""
        if self._supervisor is not None and sig == signal.SIGINT:
            return
        if self._exit_time_s is not None:
            self.should_exit = self.force_exit = True
            return
        self._lifecycle.begin_shutdown()
        self._exit_time_s = time.monotonic() + self._lifecycle.settings.drain_grace_s

    async def on_tick(self, counter: int) -> bool:
        """Check for a dead supervisor and for the end of the grace period. uvicorn calls this ten times a second."""
        if self._supervisor is not None and self._exit_time_s is None and not self._supervisor.is_alive():
            self.handle_exit(signal.SIGTERM, None)
        if self._exit_time_s is not None and time.monotonic() >= self._exit_time_s:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listening sockets and connections while the accepted requests are drained."""
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
    """Serve until a signal ends the process.

    Args:
        settings: The settings of the service.
        listener: A bound socket. By default, one is bound to the host and port of the settings.
        on_ready: Called once requests are being served.
        on_version_selected: Called after a client has loaded or unloaded a model, so that the other server processes
            can follow.

    Returns:
        The exit code.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    app = create_app(settings, on_version_selected)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        access_log=False,
        proxy_headers=False,  # clients are identified by API key, not by address
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=int(settings.drain_deadline_s) + 1,  # the drain fails late requests before this
    )
    server = GracefulServer(config, app.lifecycle, on_ready)
    has_supervisor = multiprocessing.parent_process() is not None  # it exposes the metrics of all server processes
    metrics_port = 0 if has_supervisor else settings.metrics_port
    try:
        with metrics_server(settings.metrics_host, metrics_port, app.lifecycle.metrics.registry):
            server.run(None if listener is None else [listener])
    finally:
        app.lifecycle.flush_request_log()
    code = 0 if server.started else 1
    if server.force_exit:
        os._exit(code)  # a normal exit would wait for engine threads that are still computing
    return code
