"""HTTP protocol that sends the head and the body of a response in one write.

uvicorn writes them separately and uvloop sends each at once. That costs a second system call on the server and another
one on the client.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class CoalescingTransport:
    """Wraps a connection's transport and holds back each response head until the next write."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold back `data` if it is a response head. Otherwise send it, after the head held back before."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):  # a 1xx response has no body
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send the head held back, which no body follows, for example in response to HEAD."""
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)

    def close(self) -> None:
        """Flush, then close the connection."""
        self.flush()
        self._transport.close()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol over a `CoalescingTransport`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wrap the transport of a new connection."""
        self._coalescing_transport = CoalescingTransport(transport)
        super().connection_made(cast("asyncio.Transport", self._coalescing_transport))

    def on_response_complete(self) -> None:
        """Flush the transport: a response without a body is complete too."""
        self._coalescing_transport.flush()
        super().on_response_complete()
