"""A ticker: time limits that cost next to nothing where they are kept, as nearly all are."""

import asyncio
from collections.abc import Callable
from types import TracebackType

TICK_S = 0.05


class Ticker:
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


class Limit:
    """`with Limit(ticker, seconds):` ends what is awaited inside if it takes longer.

    Raises:
        TimeoutError: it has.
    """

    def __init__(self, ticker: Ticker, seconds: float) -> None:
        self._ticker = ticker
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs a request in a task"
        self._task = task
        self._ticker.set(self._end, self._seconds)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ticker.cancel(self._end)
        if self._is_over and kind is asyncio.CancelledError and not self._task.uncancel():  # by nobody else as well
            raise TimeoutError

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
