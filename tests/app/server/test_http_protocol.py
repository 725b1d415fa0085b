"""Answers leave in one piece, and none stays behind."""

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


class Line(asyncio.Transport):
    """What would be sent, piece by piece."""

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


class Served:
    """One connection to an application that answers with these pieces, each a moment after the one before."""

    def __init__(self, *pieces: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            for left, piece in zip(range(len(pieces))[::-1], pieces, strict=True):
                await asyncio.sleep(1.0)
                if piece == b"fails":
                    raise ValueError(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})

        config = uvicorn.Config(application, log_config=None)
        config.load()
        self.line = Line()
        self.protocol = HttpProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.line)

    async def asked(self, request: bytes, for_s: float = 4.0) -> list[bytes]:
        """The pieces that were sent since."""
        self.line.sent.clear()
        self.protocol.data_received(request)
        await asyncio.sleep(for_s)
        return self.line.sent


def length(content: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(len(content)).encode())]


@in_virtual_time
async def test_an_answer_leaves_in_one_piece() -> None:
    served = Served(b"hello", headers=length(b"hello"))
    for _ in range(3):  # on one connection
        [sent] = await served.asked(GET)
        assert sent.startswith(b"HTTP/1.1 200 ")
        assert sent.endswith(b"\r\n\r\nhello")


@in_virtual_time
async def test_each_further_piece_leaves_when_it_is_there() -> None:
    served = Served(b"one", b"two")
    assert [piece[-8:] for piece in await served.asked(GET, 1.5)] == [b"3\r\none\r\n"]
    assert await served.asked(b"", 1.0) == [b"3\r\ntwo\r\n0\r\n\r\n"]


@in_virtual_time
async def test_a_body_may_look_like_a_head() -> None:
    piece = b"HTTP/1.1 200 OK\r\n\r\n"
    served = Served(piece, piece, piece, headers=length(piece * 3))
    assert b"".join(await served.asked(GET)).endswith(b"\r\n\r\n" + piece * 3)


@pytest.mark.parametrize(
    ("request_line", "status", "headers"),
    [(b"HEAD / ", 200, length(b"hello")), (b"GET / ", 204, []), (b"GET / ", 304, []), (b"GET / ", 200, length(b""))],
)
@in_virtual_time
async def test_an_answer_without_a_body_leaves_as_well(
    request_line: bytes, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    served = Served(b"", status=status, headers=headers)
    for _ in range(2):
        sent = b"".join(await served.asked(request_line + b"HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert sent.startswith(b"HTTP/1.1 %d " % status)
        assert sent.endswith(b"\r\n\r\n")
        assert sent.count(b"HTTP/") == 1


@in_virtual_time
async def test_who_asks_whether_to_go_on_is_told_so_at_once() -> None:
    served = Served(b"hello", headers=length(b"hello"))
    assert await served.asked(POST, 0.5) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert b"".join(await served.asked(b"{}")).endswith(b"\r\n\r\nhello")


@in_virtual_time
async def test_a_head_leaves_before_its_connection_is_closed_under_it() -> None:
    served = Served(b"fails", headers=length(b"hello"))
    assert b"".join(await served.asked(GET)).startswith(b"HTTP/1.1 200 ")
    assert served.line.is_closed


@in_virtual_time
async def test_what_is_no_http_is_told_so() -> None:
    served = Served(b"hello")
    assert b"".join(await served.asked(b"\x00\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert served.line.is_closed
