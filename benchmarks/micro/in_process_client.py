"""An HTTP client that hands bytes to uvicorn's protocol in the same process, without a socket."""

import asyncio
from collections.abc import Sequence

import uvicorn
from uvicorn.server import ServerState

from app.server.http_protocol import HttpProtocol


class RecordingTransport(asyncio.Transport):
    """A transport that records the bytes that uvicorn writes.

    Attributes:
        written: Everything written since it was last cleared.
        next_write: Completed by the next write.
    """

    def __init__(self) -> None:
        """Start without anything written."""
        super().__init__()
        self.written: list[bytes] = []
        self.next_write: asyncio.Future[None]

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes bytes only
        """Record the data."""
        self.written.append(data)
        self.next_write.set_result(None)

    def is_closing(self) -> bool:
        """Return False: it stays open."""
        return False

    def close(self) -> None:
        """Ignore the close when uvicorn's keep-alive timeout expires."""

    def pause_reading(self) -> None:
        """Ignore flow control: the next request is sent only after a response."""

    def resume_reading(self) -> None:
        """Ignore flow control."""


class InProcessClient:
    """A client with one connection. It sends its next request after the last response."""

    def __init__(self, config: uvicorn.Config, requests: Sequence[bytes]) -> None:
        """Open the connection.

        Args:
            config: Configuration with the application to call, loaded.
            requests: Complete HTTP requests, sent in turn.
        """
        self._transport = RecordingTransport()
        self._protocol = HttpProtocol(config, ServerState(), {})
        self._protocol.connection_made(self._transport)
        self._requests = requests

    async def send_requests(self, count: int) -> None:
        """Send a number of requests, and check that each response has status 200."""
        loop = asyncio.get_running_loop()
        for i in range(count):
            self._transport.written.clear()
            self._transport.next_write = loop.create_future()
            self._protocol.data_received(self._requests[i % len(self._requests)])
            await self._transport.next_write
            assert self._transport.written[0].startswith(b"HTTP/1.1 200"), self._transport.written
