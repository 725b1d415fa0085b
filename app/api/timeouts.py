"""Request timeouts: the `X-Request-Timeout-Ms` header, deadlines, and cancellation on client disconnect."""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType

from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidHeader

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_TIMEOUT_HEADER_KEY = TIMEOUT_HEADER.lower().encode()

TICK_S = 0.05
DISCONNECT_WATCH_DELAY_S = 0.05  # watching for a disconnect needs a task, which fast requests should not pay for


def requested_timeout_s(headers: Mapping[bytes, bytes], max_timeout_s: float) -> float:
    """Return how long the client is willing to wait for the response, in seconds.

    Args:
        headers: Request headers with lower-case names.
        max_timeout_s: Upper bound, and the default when the header is absent.

    Raises:
        InvalidHeader: The header is not a positive whole number of milliseconds.
    """
    value = headers.get(_TIMEOUT_HEADER_KEY)
    if value is None:
        return max_timeout_s
    if not (value.isdigit() and len(value) < 10 and int(value)):
        raise InvalidHeader(TIMEOUT_HEADER, "must be a whole number of milliseconds, at least 1")
    return min(int(value) / 1000, max_timeout_s)


class TimeoutScheduler:
    """Runs callbacks after a delay, up to one tick (`TICK_S`) late.

    All pending timeouts share one event loop timer. Creating and cancelling a separate timer for each, several times
    per request, takes longer than reading the request.
    """

    def __init__(self) -> None:
        self._due_times_s: dict[Callable[[], None], float] = {}
        self._is_ticking = False

    def schedule(self, callback: Callable[[], None], delay_s: float) -> None:
        """Call `callback` once after `delay_s`. Scheduling the same callback again replaces its delay."""
        loop = asyncio.get_running_loop()
        self._due_times_s[callback] = loop.time() + delay_s
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(TICK_S, self._tick, loop)

    def cancel(self, callback: Callable[[], None]) -> None:
        """Cancel a callback. Does nothing if it has already run or been cancelled."""
        self._due_times_s.pop(callback, None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for callback in [callback for callback, due_s in self._due_times_s.items() if due_s <= now_s]:
            del self._due_times_s[callback]
            callback()
        self._is_ticking = bool(self._due_times_s)
        if self._is_ticking:
            loop.call_later(TICK_S, self._tick, loop)


class DeadlineScope:
    """Context manager that cancels its body after a timeout and raises `TimeoutError`.

    Works like `asyncio.timeout`, with the precision and the cost of a `TimeoutScheduler`.
    """

    def __init__(self, scheduler: TimeoutScheduler, timeout_s: float) -> None:
        self._scheduler = scheduler
        self._timeout_s = timeout_s
        self._has_expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "ASGI servers handle each request in a task"
        self._task = task
        self._scheduler.schedule(self._expire, self._timeout_s)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scheduler.cancel(self._expire)
        # A positive count from uncancel() means that something else cancelled the task too, which takes precedence.
        if self._has_expired and exc_type is asyncio.CancelledError and not self._task.uncancel():
            raise TimeoutError

    def _expire(self) -> None:
        self._has_expired = True
        self._task.cancel()


class CancelOnDisconnect:
    """Context manager that cancels its body when the client disconnects and raises `ClientDisconnect`.

    Enter it only after reading the whole request body: the next ASGI message is then `http.disconnect`.
    """

    def __init__(self, request: Request, scheduler: TimeoutScheduler) -> None:
        self._request = request
        self._scheduler = scheduler
        self._watcher: asyncio.Task[None] | None = None
        self._has_disconnected = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "ASGI servers handle each request in a task"
        self._task = task
        self._scheduler.schedule(self._start_watching, DISCONNECT_WATCH_DELAY_S)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scheduler.cancel(self._start_watching)
        if self._watcher is not None:
            self._watcher.cancel()
        # As in DeadlineScope, a cancellation by something else takes precedence.
        if self._has_disconnected and exc_type is asyncio.CancelledError and not self._task.uncancel():
            raise ClientDisconnect

    def _start_watching(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await self._request.receive()
        self._has_disconnected = True
        self._task.cancel()
