"""A ticker: time limits that cost next to nothing where they are kept, as nearly all are."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

TICK_S = 0.05
UNWATCHED_S = 0.05  # watching costs a task: an answer that comes sooner is not worth it


class TimeoutScheduler:
    """Calls back when a time has passed, up to a tick later.

    One timer of the event loop's serves all who wait. To set and cancel one for each, several times in a request, takes
    longer than to read the request.
    """

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], float] = {}
        self._is_ticking = False

    def set(self, callback: Callable[[], None], after_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._due[callback] = loop.time() + after_s
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(TICK_S, self._tick, loop)

    def cancel(self, callback: Callable[[], None]) -> None:
        """Cancelling twice, or what has been called, is fine."""
        self._due.pop(callback, None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for callback in [each for each, due_s in self._due.items() if due_s <= now_s]:
            del self._due[callback]
            callback()
        self._is_ticking = bool(self._due)
        if self._is_ticking:
            loop.call_later(TICK_S, self._tick, loop)


class DeadlineScope:
    """`with DeadlineScope(ticker, seconds):` ends what is awaited inside if it takes longer.

    Raises:
        TimeoutError: it has.
    """

    def __init__(self, ticker: TimeoutScheduler, seconds: float) -> None:
        self._timeouts = ticker
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs a request in a task"
        self._task = task
        self._timeouts.set(self._end, self._seconds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timeouts.cancel(self._end)
        if self._is_over and kind is asyncio.CancelledError and not self._task.uncancel():  # by nobody else as well
            raise TimeoutError

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()


class CancelOnDisconnect:
    """`with CancelOnDisconnect(request, ticker):` ends what is awaited inside when the client goes.

    The body must have been read: what the server says next is then that the client has gone.

    Raises:
        ClientDisconnect: there is nobody to answer.
    """

    def __init__(self, request: Request, ticker: TimeoutScheduler) -> None:
        self._request = request
        self._timeouts = ticker
        self._watch: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs a request in a task"
        self._task = task
        self._timeouts.set(self._begin, UNWATCHED_S)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timeouts.cancel(self._begin)
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
