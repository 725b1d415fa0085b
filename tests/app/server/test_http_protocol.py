"""`HttpProtocol` sends each response in one write, and flushes every response it has buffered."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.server.http_protocol import HttpProtocol
from tests.virtual_time import in_virtual_time

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
FAIL = b"fails"  # instead of sending this piece, the application raises an exception


class RecordingTransport(asyncio.Transport):
    """A transport that records what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes bytes only
        assert not self.is_closed
        self.sent.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class ProtocolHarness:
    """One connection to an application that responds with these pieces, one second apart."""

    def __init__(self, *pieces: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            for left, piece in zip(range(len(pieces))[::-1], pieces, strict=True):
                await asyncio.sleep(1.0)
                if piece == FAIL:
                    raise ValueError(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})

        config = uvicorn.Config(application, log_config=None)
        config.load()
        self.transport = RecordingTransport()
        self.protocol = HttpProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.transport)

    async def exchange(self, request: bytes, wait_s: float = 4.0) -> list[bytes]:
        """Receive bytes from the client, and return what is written within `wait_s`."""
        self.transport.sent.clear()
        self.protocol.data_received(request)
        await asyncio.sleep(wait_s)
        return self.transport.sent


def content_length(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(len(content)).encode())]


@in_virtual_time
async def test_response_is_sent_in_one_write() -> None:
    harness = ProtocolHarness(b"hello", headers=content_length(b"hello"))
    for _ in range(3):  # on one connection
        [sent] = await harness.exchange(GET)
        assert sent.startswith(b"HTTP/1.1 200 ")
        assert sent.endswith(b"\r\n\r\nhello")


@in_virtual_time
async def test_streamed_pieces_are_sent_as_they_come() -> None:
    harness = ProtocolHarness(b"one", b"two")
    assert [piece[-8:] for piece in await harness.exchange(GET, 1.5)] == [b"3\r\none\r\n"]
    assert await harness.exchange(b"", 1.0) == [b"3\r\ntwo\r\n0\r\n\r\n"]


@in_virtual_time
async def test_body_that_looks_like_a_head_is_sent() -> None:
    piece = b"HTTP/1.1 200 OK\r\n\r\n"
    harness = ProtocolHarness(piece, piece, piece, headers=content_length(piece * 3))
    assert b"".join(await harness.exchange(GET)).endswith(b"\r\n\r\n" + piece * 3)


@pytest.mark.parametrize(
    ("request_line", "status", "headers"),
    [
        (b"HEAD / ", 200, content_length(b"hello")),
        (b"GET / ", 204, []),
        (b"GET / ", 304, []),
        (b"GET / ", 200, content_length(b"")),
    ],
)
@in_virtual_time
async def test_response_without_a_body_is_sent(
    request_line: bytes, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    harness = ProtocolHarness(b"", status=status, headers=headers)
    for _ in range(2):
        sent = b"".join(await harness.exchange(request_line + b"HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert sent.startswith(b"HTTP/1.1 %d " % status)
        assert sent.endswith(b"\r\n\r\n")
        assert sent.count(b"HTTP/") == 1


@in_virtual_time
async def test_100_continue_is_sent_at_once() -> None:
    harness = ProtocolHarness(b"hello", headers=content_length(b"hello"))
    assert await harness.exchange(POST, 0.5) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert b"".join(await harness.exchange(b"{}")).endswith(b"\r\n\r\nhello")


@in_virtual_time
async def test_head_is_sent_before_a_failed_connection_closes() -> None:
    harness = ProtocolHarness(FAIL, headers=content_length(b"hello"))
    assert b"".join(await harness.exchange(GET)).startswith(b"HTTP/1.1 200 ")
    assert harness.transport.is_closed


@in_virtual_time
async def test_malformed_request_gets_400() -> None:
    harness = ProtocolHarness(b"hello")
    assert b"".join(await harness.exchange(b"\x00\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert harness.transport.is_closed
