"""A minimal HTTP/1.1 client, cheap enough not to slow down the server that it shares a machine with."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 2**24


class HttpConnection:
    """A persistent connection that POSTs JSON to one URL.

    Attributes:
        headers: Headers of the last response, with names in lower case.
    """

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `open` instead."""
        self._head, self._reader, self._writer = head, reader, writer
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(cls, url: str, extra_headers: str = "") -> "HttpConnection":
        """Connect to the server of a URL.

        Args:
            url: Where requests are posted.
            extra_headers: Header lines to add to every request, each ending in CRLF.

        Raises:
            OSError: The server does not accept the connection.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MAX_HEAD_BYTES)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        return cls(f"{head}{extra_headers}".encode(), reader, writer)

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and body of the response.

        Raises:
            EOFError: The server closed the connection.
            OSError: The connection broke.
            ValueError: The response is not HTTP.
        """
        self._writer.write(self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        status_line, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.headers = headers
        _, code, *_ = status_line.split()
        status = int(code)
        if headers.get("transfer-encoding") == "chunked":
            return status, await self._read_chunks()
        return status, await self._reader.readexactly(int(headers.get("content-length", 0)))

    async def _read_chunks(self) -> bytes:
        body = b""
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")
        return body

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def post_all(url: str, bodies: Sequence[bytes], connections: int, timeout_s: float) -> list[tuple[int, Any]]:
    """Post several requests concurrently.

    Args:
        url: Where to post them.
        bodies: Request bodies.
        connections: Maximum number of concurrent requests.
        timeout_s: Timeout of each request, in seconds.

    Returns:
        Status and content of each response, in the order of the requests. The content is parsed JSON if the status is
        200, and text otherwise.

    Raises:
        OSError: The server does not accept a connection, or the connection broke.
        EOFError: The server closed a connection.
        ValueError: A response is not HTTP, or not JSON.
        TimeoutError: A request timed out.
    """
    responses: list[tuple[int, Any]] = [(0, None)] * len(bodies)
    pending = iter(enumerate(bodies))

    async def post_pending() -> None:
        connection = await HttpConnection.open(url)
        try:
            for index, body in pending:
                async with asyncio.timeout(timeout_s):
                    status, content = await connection.post(body)
                responses[index] = status, json.loads(content) if status == 200 else content.decode(errors="replace")
        finally:
            await connection.close()

    # gather raises the first error as it is; a task group would wrap it.
    await asyncio.gather(*(post_pending() for _ in range(min(connections, len(bodies)))))
    return responses
