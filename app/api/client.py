"""Whether the client of a request is still there to be answered."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from app.api.ticker import Ticker

UNWATCHED_S = 0.05  # watching costs a task: an answer that comes sooner is not worth it


class WhileThere:
    """`with WhileThere(request, ticker):` ends what is awaited inside when the client goes.

    The body must have been read: what the server says next is then that the client has gone.

    Raises:
        ClientDisconnect: there is nobody to answer.
    """

    def __init__(self, request: Request, ticker: Ticker) -> None:
        self._request = request
        self._ticker = ticker
        self._watch: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs a request in a task"
        self._task = task
        self._ticker.set(self._begin, UNWATCHED_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ticker.cancel(self._begin)
        if self._watch is not None:
            self._watch.cancel()
        if self._gone and kind is asyncio.CancelledError and not self._task.uncancel():  # by nobody else as well
            raise ClientDisconnect

    def _begin(self) -> None:
        self._watch = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        await self._request.receive()
        self._gone = True
        self._task.cancel()
