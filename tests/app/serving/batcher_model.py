"""A reference model of the batcher's contract: it predicts how each request ends, and which calls are made.

The test reports each arrival, and the start and end of each engine call. The model implements the contract, not the
algorithm. It cannot observe when a waiting window is dropped: if all requests for a window were cancelled, a batcher
task drops it when it next takes windows. Where this matters, the model accepts both outcomes.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.errors import Draining, NotReady, Overloaded
from app.serving.batcher import Call
from tests.app.serving.batcher_harness import PREDICTABLE_SHARE
from tests.fakes import result_of

CANCELLED = asyncio.CancelledError()


@dataclass(eq=False)
class Request:
    """A request, and how it must end.

    Attributes:
        items: The items it asks for.
        task: The task that waits for its results.
        is_accepted: Whether the batcher must have accepted it.
        results: The results so far, by item.
        expires_s: When its deadline passes.
        expected: Its results or its error, as soon as that is certain.
    """

    items: list[int]
    task: "asyncio.Task[list[str]]" = field(init=False)
    is_accepted: bool = False
    results: dict[int, str] = field(default_factory=dict)
    expires_s: float | None = None
    expected: "list[str] | Exception | asyncio.CancelledError | None" = None

    @property
    def is_waiting(self) -> bool:
        """Whether it was accepted and must not end yet."""
        return self.is_accepted and self.expected is None


@dataclass(eq=False)
class Window:
    """An item in flight, and the requests for it.

    If all its requests had just been cancelled when another one arrived, either arrival may count as the window's: a
    batcher task may or may not have dropped the window in between.
    """

    item: int
    arrived_s: float
    latest_arrival_s: float
    requests: list[Request] = field(default_factory=list)
    was_abandoned: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether a request still waits for it."""
        return any(request.is_waiting for request in self.requests)


@dataclass(eq=False)
class RunningCall:
    """An engine call that runs until the test ends it.

    Attributes:
        windows: The windows it computes.
        started_s: When it started.
        task: The batcher task that made it.
        ending: Ends the call, with an error if it has one.
        is_cancelled: Whether the call itself was cancelled.
        is_task_cancelled: Whether the batcher task was cancelled.
    """

    windows: list[Window]
    started_s: float
    task: "asyncio.Task[None]"
    ending: "asyncio.Future[Exception | None]"
    is_cancelled: bool = False
    is_task_cancelled: bool = False

    @property
    def items(self) -> list[int]:
        """The items it computes."""
        return [window.item for window in self.windows]


class BatcherModel:
    """Predicts what the batcher does.

    Attributes:
        requests: The requests whose end has not been checked.
        waiting: The waiting windows, oldest first, by item.
        computing: The windows that are computed or wait for a retry, by item.
        running: The engine calls that run.
        possible_coalesced: Numbers of coalesced windows that the latest arrival may report. 0 means no report.
        possible_reports: Reports that the batcher may make of the call that has just ended.
        is_closing: Whether `close` was called.
        is_clock_broken: Whether reading the clock fails from now on.
        is_on_call_broken: Whether the callback `on_call` fails from now on.
        is_on_coalesced_broken: Whether the callback `on_coalesced` fails from now on.
        is_task_cancelled: Whether a batcher task was cancelled from outside.
        must_die: Whether the batcher must have died as soon as the loop has settled.
        deaths: The errors reported as the batcher's death.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        concurrent_calls: int,
        max_batch_windows: int,
        max_queued_windows: int,
        delay_s: float,
    ) -> None:
        self.now = now
        self.concurrent_calls = concurrent_calls
        self.max_batch_windows = max_batch_windows
        self.max_queued_windows = max_queued_windows
        self.delay_s = delay_s
        self.requests: list[Request] = []
        self.waiting: dict[int, Window] = {}
        self.computing: dict[int, Window] = {}
        self.running: list[RunningCall] = []
        self.possible_coalesced = range(1)
        self.possible_reports: list[Call] = []
        self.is_closing = False
        self.is_clock_broken = False
        self.is_on_call_broken = False
        self.is_on_coalesced_broken = False
        self.is_task_cancelled = False
        self.must_die = False
        self.deaths: list[BaseException] = []
        self._retries: dict[asyncio.Task[None], list[list[Window]]] = {}  # by task, last first
        self._drained = (0.0, 0.0)  # windows and seconds in which a queue drained, with the past fading
        self._queued_s: tuple[float, float] | None = None  # ends of the first and last of the calls that left a queue
        self._is_drained_certain = True  # or it depends on whether abandoned windows were dropped already
        self._due_at_s = -1.0  # when the waiting windows were last due
        # Of the latest arrival:
        self._possible_lateness: set[bool] = {False}
        self._max_queued = 0

    @property
    def is_broken(self) -> bool:
        """Whether the batcher has a reason to die."""
        return self.is_clock_broken or self.is_on_call_broken or self.is_on_coalesced_broken or self.is_task_cancelled

    def wanted_items(self) -> set[int]:
        """Return the waiting items that a request still waits for."""
        return {item for item, window in self.waiting.items() if window.is_wanted}

    # Arrivals

    def arrive(self, request: Request, deadline_s: float | None) -> None:
        """Predict the outcome of a request that arrives now."""
        self._max_queued, self._possible_lateness = 0, {False}
        if self.deaths:
            request.expected = NotReady("")
            return
        if self.is_closing:
            request.expected = Draining("")
            return
        new = set(request.items) - self.computing.keys()
        wanted = self.wanted_items()
        self._max_queued = len(new | self.waiting.keys())
        if deadline_s is not None:
            self._possible_lateness = {
                self._arrives_late(new, queue, deadline_s) for queue in (wanted, set(self.waiting))
            }
            if not self._is_drained_certain:
                self._possible_lateness = {False, True}
        if self.is_clock_broken:  # the batcher dies, unless the request is rejected before the clock is read
            may_be_rejected = True in self._possible_lateness or self._max_queued > self.max_queued_windows
            self.must_die = self.must_die or not may_be_rejected
            request.expected = NotReady("")
            return
        if False not in self._possible_lateness or len(new | wanted) > self.max_queued_windows:
            request.expected = Overloaded("")
            return
        if deadline_s is not None:
            request.expires_s = self.now() + deadline_s
        request.is_accepted = True
        least, most = sorted(len(request.items) - len(new - queue) for queue in (wanted, self.waiting.keys()))
        self.possible_coalesced = range(least, most + 1)
        self._add(request)
        self._is_due()

    def reject(self, request: Request) -> None:
        """Record that a request was rejected with `Overloaded`, and check that this was allowed."""
        assert self._max_queued > self.max_queued_windows or True in self._possible_lateness
        if request.is_accepted:  # both were possible, and the model had assumed the other
            self.possible_coalesced = range(1)
            for window in self.computing.values():
                window.requests = [other for other in window.requests if other is not request]
        request.expected = Overloaded("")

    def leave(self, request: Request) -> None:
        """Record that a request has ended."""
        for item in set(request.items) & self.waiting.keys():
            window = self.waiting[item]
            window.requests = [other for other in window.requests if other is not request]
            if not window.requests:
                del self.waiting[item]

    def may_reject_early(self, windows: int, deadline_s: float) -> set[bool]:
        """Return whether `reject_early` may reject; both values if either is right."""
        if not self._is_drained_certain:
            return {False, True}
        return {
            len(queue) + windows > self.max_queued_windows or self._is_late(windows, queue, deadline_s)
            for queue in (self.wanted_items(), set(self.waiting))
        }

    def expect_all_waiting(self, error: Exception) -> None:
        """Expect all waiting requests to fail with this error."""
        for request in self.requests:
            if request.is_waiting:
                request.expected = error

    def _add(self, request: Request) -> None:
        now_s = self.now()
        for item in request.items:
            window = self.computing.get(item) or self.waiting.get(item)
            if window is None:
                window = self.waiting[item] = Window(item, now_s, now_s)
            elif item in self.waiting and not window.is_wanted:
                window.was_abandoned = True
                window.latest_arrival_s = now_s
            window.requests.append(request)

    def _arrives_late(self, items: set[int], queue: set[int], deadline_s: float) -> bool:
        new = len(items - queue)
        return new > 0 and self._is_late(new, queue, deadline_s)

    def _is_late(self, windows: float, queue: set[int], deadline_s: float) -> bool:
        """Whether the predicted delay behind this queue exceeds its share of the deadline."""
        drained_windows, drained_s = self._drained
        ahead = len(queue) + len(self.computing)
        return (
            bool(ahead and drained_s)
            and (ahead + windows) / (drained_windows / drained_s) > PREDICTABLE_SHARE * deadline_s
        )

    def _is_due(self) -> bool:
        """Whether a call may start now. Once a call is due, it stays due until time passes."""
        now_s = self.now()
        oldest_s = min((window.arrived_s for window in self.waiting.values()), default=now_s)
        if self.is_closing or len(self.waiting) >= self.max_batch_windows or oldest_s + self.delay_s <= now_s:
            self._due_at_s = now_s
        return self._due_at_s == now_s

    # Calls

    def start_call(self, items: list[int]) -> RunningCall:
        """Check the call that starts in the running task."""
        task = asyncio.current_task()
        assert task is not None
        assert len(self.running) < self.concurrent_calls
        assert 1 <= len(items) <= self.max_batch_windows
        assert not set(items) & {item for call in self.running for item in call.items}
        if self._retries.get(task):
            windows = self._retries[task].pop()
            assert items == [window.item for window in windows]
        else:
            windows = self._take(items)
        assert all(window.is_wanted for window in windows)
        call = RunningCall(windows, self.now(), task, asyncio.get_running_loop().create_future())
        self.running.append(call)
        return call

    def end_call(self, call: RunningCall, error: Exception | None) -> None:
        """Predict the effects of the end of a call on its requests."""
        self.running.remove(call)
        windows = call.windows
        took_s = self.now() - call.started_s
        waits_s = {call.started_s - arrival_s for arrival_s in (windows[0].arrived_s, windows[0].latest_arrival_s)}
        self.possible_reports = [Call(len(windows), waited_s, took_s, error is not None) for waited_s in waits_s]
        if self.is_clock_broken or self.is_on_call_broken:  # no request gets a result
            self.must_die = True
            return
        self._measure(len(windows), took_s, failed=error is not None)
        if error is None:
            self._deliver(windows)
        elif len(windows) == 1 or len({request for window in windows for request in window.requests}) == 1:
            for window in windows:
                del self.computing[window.item]
                for request in window.requests:
                    if request.is_waiting:
                        request.expected = error
        else:
            middle = len(windows) // 2
            self._retries.setdefault(call.task, []).extend([windows[middle:], windows[:middle]])
        self._drop_unwanted_retries(call.task)

    def _take(self, items: list[int]) -> list[Window]:
        """Check that a call takes the oldest windows, as many as its share, and move them to `computing`."""
        assert not self.deaths
        assert self._is_due()
        free_calls = self.concurrent_calls - len(self.running)
        wanted = [window for window in self.waiting.values() if window.is_wanted]
        least, most = (
            min(-(-count // free_calls), self.max_batch_windows, len(wanted))
            for count in (len(wanted), len(self.waiting))
        )
        assert least <= len(items) <= most
        windows = [self.waiting[item] for item in items]
        in_order = [window for window in windows if not window.was_abandoned]
        assert in_order == [window for window in wanted if not window.was_abandoned][: len(in_order)]
        for window in list(self.waiting.values()):  # unwanted windows are dropped on the way
            if window in windows:
                self.computing[window.item] = self.waiting.pop(window.item)
            elif not window.is_wanted and not self.computing.keys() >= set(items):
                del self.waiting[window.item]
        return windows

    def _measure(self, windows: int, took_s: float, *, failed: bool) -> None:
        """Update the drain rate."""
        now_s, (past_windows, past_s) = self.now(), self._drained
        if took_s and not failed:
            drained_windows, drained_s = 0.0, 0.0
            if self._queued_s is not None:
                first_s, last_s = self._queued_s
                share = (now_s - max(now_s - took_s, first_s)) / took_s
                drained_windows, drained_s = windows * share, now_s - last_s
            elif past_s and windows / took_s > past_windows / past_s:
                drained_windows, drained_s = windows, took_s
            if drained_s or (past_s and self._queued_s):
                self._drained = 0.9 * past_windows + drained_windows, 0.9 * past_s + drained_s
        self._queued_s = (self._queued_s[0] if self._queued_s else now_s, now_s) if self.waiting else None
        if self.waiting and not any(window.is_wanted for window in self.waiting.values()):
            self._is_drained_certain = False

    def _deliver(self, windows: list[Window]) -> None:
        for window in windows:
            del self.computing[window.item]
            for request in window.requests:
                request.results[window.item] = result_of(window.item)
                if request.is_waiting and request.results.keys() >= set(request.items):
                    request.expected = [result_of(item) for item in request.items]

    def _drop_unwanted_retries(self, task: "asyncio.Task[None]") -> None:
        """Remove unwanted windows from the next retry of a task, and drop retries that become empty."""
        retries = self._retries.get(task, [])
        while retries:
            half = retries.pop()
            for window in half:
                if not window.is_wanted:
                    del self.computing[window.item]
            if wanted := [window for window in half if window.is_wanted]:
                retries.append(wanted)
                return
