"""The batcher: many callers, few engine calls.

What it promises:

1. The engine has one or more lanes. A call starts the moment a lane is free; while all are busy, arrivals wait and go
   together in the next call, oldest first. An optional delay (0 unless asked for) counts from the oldest waiting
   arrival. Nothing polls.
2. It counts windows, not requests. A call never holds more than `max_batch_windows`; a larger request is cut into
   pieces, which may run in several lanes, and is joined again in order.
3. The queue is bounded in windows. Full means `Overloaded` at once, and says when to come back by the measured rate.
4. Each caller gets exactly its own results, once. Who cancels or runs out of time is dropped before the call, and
   nobody else notices. A deadline covers queue and computing.
5. If a call fails, it is repeated in halves until the request that fails is alone: only that one fails.
6. If the batcher's own bookkeeping fails, every waiter fails with it, `healthy` turns false, and `on_death` is told.
7. `close` refuses new work, lets what was accepted finish until a deadline, and fails the rest.

It knows no model, no server and no metrics: the engine is an async callable, the clock is a parameter, and whoever
wants to count is called back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from app.errors import DeadlineExceeded, Draining, EngineFailed, NotReady, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

STOPPED = "the batcher of this model has stopped"
RATE_MEMORY = 0.9  # weight of the past in the running mean of windows per second: about the last ten calls


@dataclass(frozen=True)
class Call:
    """One engine call, as told to `on_call` after it."""

    windows: int
    requests: int
    waited_s: float  # of the oldest window in it
    took_s: float
    failed: bool


class _Request(Generic[Item, Result]):
    """One caller's items, and what has become of them."""

    __slots__ = ("arrived", "future", "items", "missing", "results", "taken")

    def __init__(self, items: Sequence[Item], future: "asyncio.Future[list[Result]]", arrived: float) -> None:
        self.items = items
        self.future = future
        self.arrived = arrived
        self.taken = 0  # items handed to a lane so far; the others wait
        self.missing = len(items)
        self.results: list[Result | None] = [None] * len(items)

    def fill(self, start: int, results: Sequence[Result]) -> None:
        if self.future.done():
            return
        self.results[start : start + len(results)] = results
        self.missing -= len(results)
        if not self.missing:
            self.future.set_result(self.results)  # type: ignore[arg-type]  # nothing is missing, so nothing is None

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Slice(NamedTuple, Generic[Item, Result]):
    """A run of one request's items, in one call."""

    request: _Request[Item, Result]
    start: int
    stop: int

    @property
    def items(self) -> Sequence[Item]:
        return self.request.items[self.start : self.stop]


class Batcher(Generic[Item, Result]):
    """Joins concurrent `submit`s into calls of `call`. Lives on one event loop; see the module for its promises."""

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        lanes: int,
        max_batch_windows: int,
        max_queued_windows: int,
        delay_s: float = 0.0,
        clock: Callable[[], float] | None = None,
        on_call: Callable[[Call], None] = lambda call: None,
        on_death: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """
        Args:
            call: items to as many results, in order. May run `lanes` times at once.
            clock: seconds, never going back; the event loop's own unless given.
        """
        self._call = call
        self._max_batch_windows = max_batch_windows
        self._max_queued_windows = max_queued_windows
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._on_call = on_call
        self._on_death = on_death
        self._lanes = lanes
        self._waiting: dict[_Request[Item, Result], None] = {}  # oldest first; a dict, to leave from the middle
        self._open: dict[_Request[Item, Result], None] = {}  # waiting or in a lane, not yet answered
        self._calls: set[asyncio.Task[None]] = set()
        self.queued_windows = 0  # those that wait for a lane
        self._windows_per_s = 0.0  # of one lane; 0 until the first call has ended
        self._alarm: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._death: BaseException | None = None

    @property
    def healthy(self) -> bool:
        return self._death is None and not self._closing

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
        request = _Request(items, self._loop.create_future(), self._admit(len(items)))
        self._waiting[request] = None
        self._open[request] = None
        self.queued_windows += len(items)
        self._idle.clear()
        timer = None
        if deadline_s is not None:
            timer = self._loop.call_later(deadline_s, self._expire, request, deadline_s)
        try:
            self._dispatch()
            return await request.future
        finally:
            if timer is not None:
                timer.cancel()
            self._forget(request)

    async def close(self, drain_s: float) -> None:
        """Refuses new work at once; returns when all that was accepted is answered, or failed after `drain_s`."""
        self._closing = True
        self._dispatch()  # whoever still sits out a delay need not any more
        try:
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        except TimeoutError:
            self._fail_open(Draining("the server is shutting down, and this request did not finish in time"))
        for call in self._calls:
            call.cancel()

    def _admit(self, windows: int) -> float:
        """The time, if there is room now for so many windows."""
        if self._death is not None:
            raise NotReady(STOPPED)
        if self._closing:
            raise Draining("the server is shutting down")
        if self.queued_windows + windows > self._max_queued_windows:
            raise Overloaded("too many windows are waiting already", self._retry_after_s())
        try:
            return self._clock()
        except Exception as error:
            self._die(error)
            raise NotReady(STOPPED) from error

    def _retry_after_s(self) -> float:
        """When the queue as it stands will have been worked off."""
        rate = self._windows_per_s * self._lanes
        return self.queued_windows / rate if rate else 1.0

    def _expire(self, request: _Request[Item, Result], deadline_s: float) -> None:
        request.fail(DeadlineExceeded(f"no forecast within {deadline_s:g} s"))
        self._forget(request)

    def _forget(self, request: _Request[Item, Result]) -> None:
        """Takes an answered, expired or cancelled request off the books."""
        if request in self._waiting:
            del self._waiting[request]
            self.queued_windows -= len(request.items) - request.taken
        self._open.pop(request, None)
        if not self._open:
            self._idle.set()

    def _dispatch(self) -> None:
        """Fills free lanes with waiting windows."""
        try:
            while len(self._calls) < self._lanes and self._waiting and self._is_due():
                if batch := self._take():
                    call = self._loop.create_task(self._run(batch))
                    self._calls.add(call)
                    call.add_done_callback(self._lane_freed)
        except Exception as error:
            self._die(error)

    def _is_due(self) -> bool:
        """Whether the oldest has waited for its delay, or a call is full already; sets the alarm if not."""
        if self._delay_s <= 0 or self.queued_windows >= self._max_batch_windows or self._closing:
            return True
        left_s = next(iter(self._waiting)).arrived + self._delay_s - self._clock()
        if left_s <= 0:
            return True
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(left_s, self._dispatch)
        return False

    def _take(self) -> list[_Slice[Item, Result]]:
        """The next call's slices, oldest first; whoever has given up is passed over."""
        batch = []
        room = self._max_batch_windows
        while self._waiting and room:
            request = next(iter(self._waiting))
            if request.future.done():
                self._forget(request)
                continue
            start = request.taken
            stop = min(start + room, len(request.items))
            batch.append(_Slice(request, start, stop))
            request.taken = stop
            room -= stop - start
            self.queued_windows -= stop - start
            if stop == len(request.items):
                del self._waiting[request]
        return batch

    async def _run(self, batch: list[_Slice[Item, Result]]) -> None:
        """One lane's work. A call that was cancelled from outside leaves nobody waiting."""
        try:
            await self._answer(batch)
        except asyncio.CancelledError:
            for piece in batch:
                piece.request.fail(EngineFailed("the engine call was cancelled"))
            raise

    async def _answer(self, batch: list[_Slice[Item, Result]]) -> None:
        batch = [piece for piece in batch if not piece.request.future.done()]
        if not batch:
            return
        items = [item for piece in batch for item in piece.items]
        started = self._clock()
        failure: Exception | None = None
        results: Sequence[Result] = ()
        try:
            results = await self._call(items)
            if len(results) != len(items):
                failure = EngineFailed(f"{len(items)} windows went in, {len(results)} forecasts came out")
        except Exception as error:
            failure = error
        took_s = self._clock() - started
        waited_s = started - batch[0].request.arrived
        self._on_call(Call(len(items), len(batch), waited_s, took_s, failure is not None))
        if failure is None:
            self._measure(len(items), took_s)
            offset = 0
            for piece in batch:
                size = piece.stop - piece.start
                piece.request.fill(piece.start, results[offset : offset + size])
                offset += size
        elif len(batch) == 1:
            batch[0].request.fail(failure)
        else:
            half = len(batch) // 2
            await self._answer(batch[:half])
            await self._answer(batch[half:])

    def _measure(self, windows: int, took_s: float) -> None:
        if took_s > 0:
            memory = RATE_MEMORY if self._windows_per_s else 0.0
            self._windows_per_s = memory * self._windows_per_s + (1 - memory) * windows / took_s

    def _lane_freed(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()) is not None:
            self._die(error)
        self._dispatch()

    def _die(self, error: BaseException) -> None:
        """Fails everyone rather than leave them waiting for an answer that cannot come."""
        first = self._death is None
        self._death = self._death or error
        self._fail_open(NotReady(STOPPED))
        if first:
            self._on_death(error)

    def _fail_open(self, error: Exception) -> None:
        for request in list(self._open):
            request.fail(error)
            self._forget(request)
