"""`python -m app`: settings from the environment, then uvicorn, until SIGTERM or Ctrl-C."""

import asyncio
import socket
import sys
import time
from types import FrameType

import uvicorn
from pydantic import ValidationError

from app.main import Service, create_app
from app.settings import PREFIX, Settings
from app.telemetry import log_to_stderr


class Server(uvicorn.Server):
    """uvicorn, leaving in order: unready first, a grace for load balancers, then drained, and exit code 0.

    A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._exit_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._service.leave()
        self._exit_at = time.monotonic() + self._service.settings.drain_grace_s

    async def on_tick(self, counter: int) -> bool:
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining = asyncio.create_task(self._service.drain())
        await super().shutdown(sockets)
        await draining


def main() -> int:
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            name = PREFIX + str(each["loc"][0]).upper() if each["loc"] else "settings"
            print(f"{name}: {each['msg']}", file=sys.stderr)
        return 2
    log_to_stderr(settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=int(settings.drain_deadline_s) + 1,  # later than the drain, which fails the rest
    )
    server = Server(config, app.state.service)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
