"""The batcher: many callers, few engine calls.

What it promises:

1. The engine has one or more concurrent_calls, and may have more while requests are large. It dispatches the moment a lane is
   free, and concurrent_calls that are free together share what waits; while all are busy, arrivals wait and go together in the
   next call, oldest first. An optional delay (0 unless asked for) counts from the oldest waiting arrival. Nothing
   polls.
2. It counts windows, not requests. A call never holds more than `max_batch_windows`; a larger request is computed in
   pieces, which may run in several concurrent_calls, and is answered in order.
3. The queue is bounded in windows, and in time: whom the measured rate tells to come too late for its own deadline is
   refused as well. Either means `Overloaded` at once, and says when to come back.
4. Each caller gets exactly its own results, once. Who cancels or runs out of time is dropped before the call, and
   nobody else notices. A deadline covers queue and computing.
5. If a call fails, it is repeated in halves until the request that fails is alone: only that one fails.
6. If the batcher's own bookkeeping fails, every waiter fails with it, `healthy` turns false, and `on_death` is told.
7. `close` refuses new work, lets what was accepted finish until a deadline, and fails the rest.
8. Identical windows in flight are computed once: who asks for what already waits, or is being computed, joins.

It knows no model, no server and no metrics: the engine is an async callable, the clock is a parameter, and whoever
wants to count is called back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import DeadlineExceeded, Draining, EngineFailed, NotReady, Overloaded
from app.serving.throughput import ThroughputEstimator

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

BULK_WINDOWS = 8  # in a request make it a large one: it costs a lane far more than the event loop

STOPPED = "the batcher of this model has stopped"
FULL = "too many windows are waiting already"
TOO_LATE = "too many windows are waiting already for an answer to come in time"


@dataclass(frozen=True)
class Call:
    """One engine call, as told to `on_call` after it."""

    windows: int
    waited_s: float  # of the oldest window in it
    took_s: float
    failed: bool


class _Request(Generic[Item, Result]):
    """One caller's items, and what has become of them."""

    __slots__ = ("future", "items", "missing", "results")

    def __init__(self, items: Sequence[Item], future: "asyncio.Future[list[Result]]") -> None:
        self.items = items
        self.future = future
        self.missing = len(items)
        self.results: list[Result | None] = [None] * len(items)

    def fill(self, index: int, result: Result) -> None:
        self.results[index] = result
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.results)  # type: ignore[arg-type]  # nothing is missing, so nothing is None

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Window(Generic[Item, Result]):
    """One item in flight, and the callers that wait for its result: each with the item's place in its request."""

    __slots__ = ("arrived", "callers", "item")

    def __init__(self, item: Item, arrived: float) -> None:
        self.item = item
        self.arrived = arrived
        self.callers: list[tuple[_Request[Item, Result], int]] = []

    def wanted_by(self) -> list[_Request[Item, Result]]:
        """Those of the callers that have not left."""
        return [request for request, _ in self.callers if not request.future.done()]


class Batcher(Generic[Item, Result]):
    """Joins concurrent `submit`s into calls of `call`. Lives on one event loop; see the module for its promises."""

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        concurrent_calls: int,
        bulk_concurrent_calls: int = 0,
        max_batch_windows: int,
        max_queued_windows: int,
        delay_s: float = 0.0,
        clock: Callable[[], float] | None = None,
        on_call: Callable[[Call], None] = lambda call: None,
        on_joined: Callable[[int], None] = lambda windows: None,
        on_death: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """
        Args:
            call: items to as many results, in order. May run `concurrent_calls` times at once, or `bulk_concurrent_calls` times.
            bulk_concurrent_calls: concurrent_calls while requests are large, where that is more.
            clock: seconds, never going back; the event loop's own unless given.
            on_joined: is told how many windows of a request had their like in flight.
        """
        self._call: Callable[[list[Item]], Awaitable[Sequence[Result]]] | None = call
        self._max_batch_windows = max_batch_windows
        self._max_queued_windows = max_queued_windows
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._on_call = on_call
        self._on_joined = on_joined
        self._on_death = on_death
        self._concurrent_calls = concurrent_calls
        self._bulk_concurrent_calls = max(concurrent_calls, bulk_concurrent_calls)
        self._waiting: dict[Item, _Window[Item, Result]] = {}  # oldest first; a dict, to join and leave in the middle
        self._computing: dict[Item, _Window[Item, Result]] = {}
        self._requests: set[_Request[Item, Result]] = set()  # accepted, and not left yet
        self._tasks: set[asyncio.Task[None]] = set()  # at most one a lane
        self._calls = 0  # concurrent_calls that compute; a worker that has just begun does not yet
        self.throughput = ThroughputEstimator()
        self._alarm: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None  # while closing
        self._death: BaseException | None = None

    @property
    def healthy(self) -> bool:
        return self._death is None and self._emptied is None

    @property
    def requests_in_flight(self) -> int:
        """Those accepted, and neither answered nor given up."""
        return len(self._requests)

    @property
    def windows_in_flight(self) -> int:
        """Those that wait for a lane or are in a call, each counted once."""
        return len(self._waiting) + len(self._computing)

    @property
    def queued_windows(self) -> int:
        """Those that wait for a lane."""
        return len(self._waiting)

    @property
    def is_bulk(self) -> bool:
        """Whether those in flight belong to large requests."""
        return self.windows_in_flight >= BULK_WINDOWS * self.requests_in_flight

    async def submit(self, items: Sequence[Item], deadline_s: float | None = None) -> list[Result]:
        """The results for `items`, in order.

        Args:
            items: at least one.
            deadline_s: how long the caller is ready to wait, from now.

        Raises:
            Overloaded, Draining, NotReady: refused at once.
            DeadlineExceeded: not answered within `deadline_s`.
            Exception: what the call raised for these items alone.
        """
        request = self._accept(items, deadline_s)
        timer = None
        if deadline_s is not None:
            timer = self._loop.call_later(deadline_s, _expire, request, deadline_s)
        try:
            self._dispatch()
            return await request.future
        finally:
            if timer is not None:
                timer.cancel()
            self._leave(request)

    async def close(self, drain_s: float) -> None:
        """Refuses new work at once; returns when all that was accepted is answered, or failed after `drain_s`."""
        emptied = self._emptied = self._emptied or asyncio.Event()
        self._dispatch()  # whoever still sits out a delay need not any more
        try:
            async with asyncio.timeout(drain_s):
                if self._requests:
                    await emptied.wait()
        except TimeoutError:
            self._fail_all(Draining("the server is shutting down, and this request did not finish in time"))
        for worker in self._tasks:
            worker.cancel()
        self._call = None  # lets go of the engine, also where that refers to this batcher

    def reject_early(self, windows: int, deadline_s: float) -> None:
        """Refuses a request for so many windows that is not even read yet.

        Raises:
            Overloaded: there is no room or no time for it.
        """
        if len(self._waiting) + windows > self._max_queued_windows:
            raise Overloaded(FULL, self.throughput.drain_time_s(len(self._waiting), self._allowed_calls()))
        if predicted_overrun_s := self.throughput.predicted_overrun_s(self.windows_in_flight, windows, deadline_s):
            raise Overloaded(TOO_LATE, predicted_overrun_s)

    def _accept(self, items: Sequence[Item], deadline_s: float | None) -> _Request[Item, Result]:
        """A request for `items` on the books, each item joined to its like or put at the end of the queue."""
        if self._death is not None:
            raise NotReady(STOPPED)
        if self._emptied is not None:
            raise Draining("the server is shutting down")
        self._refuse_excess(items, deadline_s)
        try:
            arrived = self._clock()
        except Exception as error:
            self._die(error)
            raise NotReady(STOPPED) from error
        request: _Request[Item, Result] = _Request(items, self._loop.create_future())
        self._requests.add(request)
        joined = 0
        for index, item in enumerate(items):
            window = self._computing.get(item) or self._waiting.get(item)
            if window is None:
                window = self._waiting[item] = _Window(item, arrived)
            else:
                joined += 1
            window.callers.append((request, index))
        if joined:
            try:
                self._on_joined(joined)
            except Exception as error:
                self._die(error)  # which fails this request as well
        return request

    def _refuse_excess(self, items: Sequence[Item], deadline_s: float | None) -> None:
        """Refuses what the queue has no room or no time for. What has its like in flight needs neither."""
        room = self._max_queued_windows - len(self._waiting)
        ahead = self.windows_in_flight
        if len(items) > room or (
            deadline_s is not None and self.throughput.predicted_overrun_s(ahead, len(items), deadline_s)
        ):
            fresh = len(set(items).difference(self._waiting, self._computing))
            if fresh > room:
                raise Overloaded(FULL, self.throughput.drain_time_s(len(self._waiting), self._allowed_calls()))
            if (
                fresh
                and deadline_s is not None
                and (predicted_overrun_s := self.throughput.predicted_overrun_s(ahead, fresh, deadline_s))
            ):
                raise Overloaded(TOO_LATE, predicted_overrun_s)

    def _leave(self, request: _Request[Item, Result]) -> None:
        """Takes a request off the books, and out of the queue what only it waits for. Leaving twice is fine."""
        if request.missing:
            for item in request.items:
                window = self._waiting.get(item)
                if window is not None:
                    window.callers = [caller for caller in window.callers if caller[0] is not request]
                    if not window.callers:
                        del self._waiting[item]
        self._requests.discard(request)
        if self._emptied is not None and not self._requests:
            self._emptied.set()

    def _dispatch(self) -> None:
        """Sets free concurrent_calls to work. They begin in the loop's next turn, so that what arrives in this one goes along."""
        try:
            concurrent_calls = self._allowed_calls()
            while concurrent_calls > len(self._tasks) < self._calls + len(self._waiting) and self._is_due():
                worker = self._loop.create_task(self._work())
                self._tasks.add(worker)
                worker.add_done_callback(self._task_done)
        except Exception as error:
            self._die(error)

    def _allowed_calls(self) -> int:
        return self._bulk_concurrent_calls if self.is_bulk else self._concurrent_calls

    def _is_due(self) -> bool:
        """Whether the oldest has waited for its delay, or a call is full already; sets the alarm if not."""
        if self._delay_s <= 0 or len(self._waiting) >= self._max_batch_windows or self._emptied is not None:
            return True
        left_s = next(iter(self._waiting.values())).arrived + self._delay_s - self._clock()
        if left_s <= 0:
            return True
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(left_s, self._dispatch)
        return False

    async def _work(self) -> None:
        """One lane at work, until nothing is due."""
        due = True  # or nobody had set it to work; and what another lane has left of that is due as well
        while due:
            if windows := self._take():
                self._calls += 1
                try:
                    await self._answer(windows)
                finally:
                    self._calls -= 1
            due = bool(self._waiting) and len(self._tasks) <= self._allowed_calls() and self._is_due()

    def _take(self) -> list[_Window[Item, Result]]:
        """The oldest windows, as many as a call may hold or as leave other free concurrent_calls their share.

        Those whose callers have all left are passed over.
        """
        share = -(-len(self._waiting) // max(1, self._allowed_calls() - self._calls))
        room = min(share, self._max_batch_windows)
        taken: list[_Window[Item, Result]] = []
        unwanted: list[_Window[Item, Result]] = []
        for window in self._waiting.values():
            if len(taken) == room:
                break
            (taken if window.wanted_by() else unwanted).append(window)
        for window in unwanted:
            del self._waiting[window.item]
        for window in taken:
            self._computing[window.item] = self._waiting.pop(window.item)
        return taken

    async def _answer(self, windows: list[_Window[Item, Result]]) -> None:
        results = await self._compute(windows)
        if not isinstance(results, Exception):
            for window, result in zip(windows, results, strict=True):
                del self._computing[window.item]
                for request, index in window.callers:
                    request.fill(index, result)
        elif len(windows) == 1 or len({request for window in windows for request, _ in window.callers}) == 1:
            # Alone: and not because the others have left meanwhile, or it would fail for what was wrong with theirs.
            for window in windows:
                del self._computing[window.item]  # who asks again gets another try
                for request, _ in window.callers:
                    request.fail(results)
        else:
            half = len(windows) // 2
            for part in (windows[:half], windows[half:]):
                wanted = [window for window in part if window.wanted_by()]
                for window in set(part).difference(wanted):
                    del self._computing[window.item]  # or who asks for it next would join what is never computed
                if wanted:
                    await self._answer(wanted)

    async def _compute(self, windows: list[_Window[Item, Result]]) -> Sequence[Result] | Exception:
        """One engine call: as many results as windows, or why there are none."""
        started = self._clock()
        results: Sequence[Result] | Exception
        try:
            results = await self._call([window.item for window in windows])  # type: ignore[misc]  # or nobody waits
            if len(results) != len(windows):
                results = EngineFailed(f"{len(windows)} windows went in, {len(results)} forecasts came out")
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # a coroutine runs in a task
                raise
            results = EngineFailed("the engine call was cancelled")
        except Exception as error:
            results = error
        ended = self._clock()
        failed = isinstance(results, Exception)
        self._on_call(Call(len(windows), started - windows[0].arrived, ended - started, failed))
        self.throughput.call_ended(len(windows), started, ended, failed=failed, leaves_queue=bool(self._waiting))
        return results

    def _task_done(self, worker: "asyncio.Task[None]") -> None:
        self._tasks.discard(worker)
        if worker.cancelled():
            if self._emptied is None or self._requests:  # `close` cancels when nobody waits any more
                self._die(asyncio.CancelledError("somebody cancelled a lane"))
        elif error := worker.exception():
            self._die(error)
        self._dispatch()

    def _die(self, error: BaseException) -> None:
        """Fails everyone rather than leave them waiting for an answer that cannot come."""
        first = self._death is None
        self._death = self._death or error
        self._fail_all(NotReady(STOPPED))
        if first:
            self._on_death(error)

    def _fail_all(self, error: Exception) -> None:
        for request in list(self._requests):
            request.fail(error)
            self._leave(request)


def _expire(request: _Request[Item, Result], deadline_s: float) -> None:
    request.fail(DeadlineExceeded(f"no forecast within {deadline_s:.3g} s"))
