"""The batcher joins the windows of many concurrent requests into few engine calls.

What it promises:

1. The engine has a fixed number of slots for concurrent calls (more while requests are large). As soon as a slot is
   free, the batcher dispatches the waiting windows; it never polls. Free slots share the waiting windows evenly. While
   all slots are taken, arrivals wait and go into the next call together, oldest first. An optional delay (off by
   default) counts from the oldest waiting arrival.
2. It counts windows, not requests. A call never exceeds `max_batch_windows`. A larger request is split, its parts may
   run in several concurrent calls, and its results are rejoined in order.
3. The queue is bounded in windows. A request predicted to miss its deadline is rejected as well. Both raise
   `Overloaded` immediately and say when to retry.
4. Each caller gets exactly its own results, once. A cancelled or expired request is dropped before the call and affects
   no other. A deadline covers queueing and computing.
5. If a call fails, it is retried in halves until the failing request is alone: only that request fails.
6. If the batcher itself fails, every waiting request fails, `is_healthy` turns false, and `on_death` is called.
7. `close` refuses new requests, lets the accepted ones finish until a deadline, and fails the rest.
8. Identical windows in flight are computed once. A request for a window that waits or is being computed shares its
   result.

The batcher knows no model, no server and no metrics. The engine is an async callable, the clock is a parameter, and
metrics are reported through callbacks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from app.errors import DeadlineExceeded, Draining, EngineFailed, NotReady, Overloaded
from app.serving.throughput import ThroughputEstimator
from app.serving.window_queue import Item, PendingRequest, PendingWindow, Result, WindowQueue

# A mean of this many windows per request counts as bulk: such requests cost the engine far more than the event loop.
BULK_WINDOWS = 8

STOPPED = "this model has failed and must be reloaded"
SHUTTING_DOWN = "the server is shutting down"
QUEUE_FULL = "the queue is full"
DEADLINE_TOO_SHORT = "the queue is too long to answer this request within its deadline"


@dataclass(frozen=True)
class Call:
    """One finished engine call.

    Attributes:
        windows: Number of windows in the call.
        waited_s: Time that its oldest window spent in the queue.
        took_s: Duration of the call.
        failed: Whether the call raised, or returned a wrong number of results.
    """

    windows: int
    waited_s: float
    took_s: float
    failed: bool


class Batcher(Generic[Item, Result]):
    """Joins concurrent `submit`s into engine calls. Belongs to the event loop that created it.

    Args:
        call: The engine: takes items, returns one result per item, in order. May run concurrently, up to the limits
            below.
        concurrent_calls: Maximum number of calls at once.
        bulk_concurrent_calls: The same limit while requests are bulk; ignored if it is lower.
        max_batch_windows: Maximum number of windows in one call.
        max_queued_windows: Maximum number of windows that wait for a call.
        delay_s: Time the oldest window waits for others before a call that is not full.
        clock: Returns monotonic seconds; defaults to the event loop's clock.
        on_call: Called after each engine call.
        on_coalesced: Called with the number of a request's windows that were in flight already.
        on_death: Called once with the error that stopped the batcher.
    """

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
        on_coalesced: Callable[[int], None] = lambda windows: None,
        on_death: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._call: Callable[[list[Item]], Awaitable[Sequence[Result]]] | None = call
        self._concurrent_calls = concurrent_calls
        self._bulk_concurrent_calls = max(concurrent_calls, bulk_concurrent_calls)
        self._max_batch_windows = max_batch_windows
        self._max_queued_windows = max_queued_windows
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._on_call = on_call
        self._on_coalesced = on_coalesced
        self._on_death = on_death
        self._requests: set[PendingRequest[Item, Result]] = set()  # accepted and not finished
        self._queue: WindowQueue[Item, Result] = WindowQueue()
        self._tasks: set[asyncio.Task[None]] = set()  # the batcher tasks: each makes one call at a time
        self._active_calls = 0  # tasks that have not made their first call yet are not counted
        self._delay_timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None  # set when `close` may return; None until `close` is called
        self._death: BaseException | None = None
        self.throughput = ThroughputEstimator()

    @property
    def is_healthy(self) -> bool:
        """Whether the batcher accepts requests."""
        return self._death is None and self._drained is None

    @property
    def requests_in_flight(self) -> int:
        """Number of requests that were accepted and are not finished."""
        return len(self._requests)

    @property
    def windows_in_flight(self) -> int:
        """Number of distinct windows that wait or are being computed."""
        return self._queue.windows_in_flight

    @property
    def queued_windows(self) -> int:
        """Number of distinct windows that wait for a call."""
        return len(self._queue.waiting)

    @property
    def is_bulk(self) -> bool:
        """Whether the requests in flight are large on average."""
        return self._queue.windows_in_flight >= BULK_WINDOWS * len(self._requests)

    async def submit(self, items: Sequence[Item], deadline_s: float | None = None) -> list[Result]:
        """Compute one result per item, in order.

        Args:
            items: At least one item.
            deadline_s: How long the caller waits, from now; None for no limit.

        Raises:
            Overloaded, Draining, NotReady: The request was refused immediately.
            DeadlineExceeded: No answer came within `deadline_s`.
            Exception: What the engine call raised for these items alone.
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
            self._discard(request)

    async def close(self, drain_s: float) -> None:
        """Refuse new requests immediately, and wait until the accepted ones are finished.

        Args:
            drain_s: Requests that are not finished after this time fail with `Draining`.
        """
        drained = self._drained = self._drained or asyncio.Event()
        self._dispatch()  # a delay that is still running no longer applies
        try:
            async with asyncio.timeout(drain_s):
                if self._requests:
                    await drained.wait()
        except TimeoutError:
            self._fail_all(Draining(f"{SHUTTING_DOWN}, and this request did not finish in time"))
        for task in self._tasks:
            task.cancel()
        self._call = None  # releases the engine, even if the callable refers back to this batcher

    def reject_early(self, windows: int, deadline_s: float) -> None:
        """Reject a request, before its body is parsed, if it has no chance of being accepted.

        Args:
            windows: Number of windows that the request has at least.
            deadline_s: How long the caller waits, from now.

        Raises:
            Overloaded: The queue has no room, or the request is predicted to miss its deadline.
        """
        waiting = len(self._queue.waiting)
        if waiting + windows > self._max_queued_windows:
            raise Overloaded(QUEUE_FULL, self.throughput.drain_time_s(waiting, self._call_limit()))
        overrun_s = self.throughput.predicted_overrun_s(self._queue.windows_in_flight, windows, deadline_s)
        if overrun_s:
            raise Overloaded(DEADLINE_TOO_SHORT, overrun_s)

    def _accept(self, items: Sequence[Item], deadline_s: float | None) -> PendingRequest[Item, Result]:
        if self._death is not None:
            raise NotReady(STOPPED)
        if self._drained is not None:
            raise Draining(SHUTTING_DOWN)
        self._check_capacity(items, deadline_s)
        try:
            arrived_s = self._clock()
        except Exception as error:
            self._die(error)
            raise NotReady(STOPPED) from error
        request: PendingRequest[Item, Result] = PendingRequest(items, self._loop.create_future())
        self._requests.add(request)
        coalesced = self._queue.add(request, arrived_s)
        if coalesced:
            try:
                self._on_coalesced(coalesced)
            except Exception as error:
                self._die(error)  # fails this request too
        return request

    def _check_capacity(self, items: Sequence[Item], deadline_s: float | None) -> None:
        """Raise `Overloaded` if the queue has no room, or no time, for the windows that are not in flight yet."""
        waiting = len(self._queue.waiting)
        free = self._max_queued_windows - waiting
        ahead = self._queue.windows_in_flight
        if len(items) <= free and (
            deadline_s is None or not self.throughput.predicted_overrun_s(ahead, len(items), deadline_s)
        ):
            return  # there is room and time even if none of the windows is in flight yet
        new = self._queue.count_new(items)
        if new > free:
            raise Overloaded(QUEUE_FULL, self.throughput.drain_time_s(waiting, self._call_limit()))
        if new and deadline_s is not None:
            overrun_s = self.throughput.predicted_overrun_s(ahead, new, deadline_s)
            if overrun_s:
                raise Overloaded(DEADLINE_TOO_SHORT, overrun_s)

    def _discard(self, request: PendingRequest[Item, Result]) -> None:
        """Forget a request that is finished or was given up. May be called twice."""
        if request.missing:
            self._queue.remove(request)
        self._requests.discard(request)
        if self._drained is not None and not self._requests:
            self._drained.set()

    def _dispatch(self) -> None:
        """Start a task for each free slot that has work.

        A task starts in the next iteration of the event loop, so that all arrivals of this one can share its call.
        """
        try:
            limit = self._call_limit()
            while limit > len(self._tasks) < self._active_calls + len(self._queue.waiting) and self._is_due():
                task = self._loop.create_task(self._run_calls())
                self._tasks.add(task)
                task.add_done_callback(self._on_task_done)
        except Exception as error:
            self._die(error)

    def _call_limit(self) -> int:
        return self._bulk_concurrent_calls if self.is_bulk else self._concurrent_calls

    def _is_due(self) -> bool:
        """Whether the waiting windows may go now. If not, dispatch is scheduled for when the delay is over."""
        waiting = self._queue.waiting
        if self._delay_s <= 0 or len(waiting) >= self._max_batch_windows or self._drained is not None:
            return True
        remaining_s = next(iter(waiting.values())).arrived_s + self._delay_s - self._clock()
        if remaining_s <= 0:
            return True
        if self._delay_timer is not None:
            self._delay_timer.cancel()
        self._delay_timer = self._loop.call_later(remaining_s, self._dispatch)
        return False

    async def _run_calls(self) -> None:
        """Make one call after the other until no window is due. The body of a batcher task."""
        waiting = self._queue.waiting
        is_due = True  # `_dispatch` has checked this, and it stays true if another task takes part of the queue
        while is_due:
            if windows := self._take():
                self._active_calls += 1
                try:
                    await self._process(windows)
                finally:
                    self._active_calls -= 1
            is_due = bool(waiting) and len(self._tasks) <= self._call_limit() and self._is_due()

    def _take(self) -> list[PendingWindow[Item, Result]]:
        """Take the oldest windows for one call, and leave the other free slots their share."""
        free_slots = max(1, self._call_limit() - self._active_calls)
        share = -(-len(self._queue.waiting) // free_slots)
        return self._queue.take(min(share, self._max_batch_windows))

    async def _process(self, windows: list[PendingWindow[Item, Result]]) -> None:
        """Compute windows and deliver their results. If the call fails, isolate the request that fails."""
        computing = self._queue.computing
        results = await self._call_engine(windows)
        if not isinstance(results, Exception):
            for window, result in zip(windows, results, strict=True):
                del computing[window.item]
                for request, index in window.requests:
                    request.set_result(index, result)
        elif len(windows) == 1 or len({request for window in windows for request, _ in window.requests}) == 1:
            # Requests that were cancelled meanwhile count too: their window may be the cause, so the only request left
            # must not be blamed for the failure.
            for window in windows:
                del computing[window.item]  # a later request for it gets a new try
                for request, _ in window.requests:
                    request.fail(results)
        else:
            middle = len(windows) // 2
            for half in (windows[:middle], windows[middle:]):
                active = [window for window in half if window.active_requests()]
                for window in set(half).difference(active):
                    del computing[window.item]  # or a later request would join a window that is never computed
                if active:
                    await self._process(active)

    async def _call_engine(self, windows: list[PendingWindow[Item, Result]]) -> Sequence[Result] | Exception:
        """Make one engine call and report it. Returns the error if the call failed."""
        started_s = self._clock()
        results: Sequence[Result] | Exception
        try:
            results = await self._call([window.item for window in windows])  # type: ignore[misc]  # None only if idle
            if len(results) != len(windows):
                results = EngineFailed(f"the engine returned {len(results)} forecasts for {len(windows)} windows")
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # a coroutine runs in a task
                raise
            results = EngineFailed("the engine call was cancelled")
        except Exception as error:
            results = error
        ended_s = self._clock()
        failed = isinstance(results, Exception)
        self._on_call(Call(len(windows), started_s - windows[0].arrived_s, ended_s - started_s, failed))
        self.throughput.record_call(
            len(windows), started_s, ended_s, failed=failed, leaves_queue=bool(self._queue.waiting)
        )
        return results

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if self._drained is None or self._requests:  # `close` cancels tasks only when no request is left
                self._die(asyncio.CancelledError("a batcher task was cancelled from outside"))
        elif error := task.exception():
            self._die(error)
        self._dispatch()

    def _die(self, error: BaseException) -> None:
        """Fail all requests, now and later, rather than let them wait for answers that cannot come."""
        is_first = self._death is None
        self._death = self._death or error
        self._fail_all(NotReady(STOPPED))
        if is_first:
            self._on_death(error)

    def _fail_all(self, error: Exception) -> None:
        for request in list(self._requests):
            request.fail(error)
            self._discard(request)


def _expire(request: PendingRequest[Item, Result], deadline_s: float) -> None:
    request.fail(DeadlineExceeded(f"no forecast within {deadline_s:.3g} s"))
