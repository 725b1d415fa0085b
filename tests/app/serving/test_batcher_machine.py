"""The batcher's eight promises, all at once: a model of them is held against the batcher after every step.

Hypothesis decides what happens and in which order: who asks for what, who leaves, how an engine call ends and when,
whether the loop takes one turn in between, or time passes, or the batcher closes or dies. The model knows the promises
and nothing of how they are kept; it looks inside the batcher only to see that in the end nothing has been left there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.errors import DeadlineExceeded, Draining, EngineFailed, NotReady, Overloaded
from app.serving.batcher import Batcher, Call
from tests.fakes import BadItems, TurnedClock, answer
from tests.virtual_time import VirtualTimeLoop

TICK_S = 1 / 16
# Arrivals, calls and delays keep to whole ticks. Drains and deadlines end at quarters of their own, so that nothing is
# at one moment with a dispatch and either order would be right.
QUARTERS = 4
DRAIN_OFF_S = 1 / 4 * TICK_S
DEADLINE_OFF_S = 2 / 4 * TICK_S

BAD = {12, 13}  # a call that holds one of these fails
LOST = {14}  # these get no answer
ITEMS = st.sampled_from([*range(12), *range(6), *BAD, *LOST])  # few, so that many ask for the same
GOOD_ITEMS = st.sampled_from(range(12))
SELDOM = st.sampled_from([False, False, False, True])

CANCELLED = asyncio.CancelledError()


class Hiccup(Exception):
    """A call that failed though nothing was wrong with its items."""


@dataclass(eq=False)
class Caller:
    """One request, and how it must end as soon as that is settled."""

    items: list[int]
    task: "asyncio.Task[list[str]]" = field(init=False)
    arrived: bool = False
    results: dict[int, str] = field(default_factory=dict)
    expires_s: float | None = None
    verdict: "list[str] | Exception | asyncio.CancelledError | None" = None

    @property
    def waits(self) -> bool:
        return self.arrived and self.verdict is None


@dataclass(eq=False)
class Window:
    """One item in flight, and who asked for it.

    If its callers had all just left when another one asked for it, either may count as its arrival: a lane that looked
    in between has dropped it, and nobody can see that from outside.
    """

    item: int
    arrived_s: float
    latest_s: float
    callers: list[Caller] = field(default_factory=list)
    rejoined: bool = False

    @property
    def wanted(self) -> bool:
        return any(caller.waits for caller in self.callers)


@dataclass(eq=False)
class EngineCall:
    """One call that runs, until it is told how to end."""

    windows: list[Window]
    started_s: float
    lane: "asyncio.Task[None]"
    told: "asyncio.Future[Exception | None]"
    cancelled: bool = False  # the call itself
    lane_cancelled: bool = False

    @property
    def items(self) -> list[int]:
        return [window.item for window in self.windows]


@dataclass(eq=False)
class Closing:
    ends_s: float
    task: "asyncio.Task[None]"


class BatcherMachine(RuleBasedStateMachine):
    """Rules act on the batcher and leave the loop alone; `turn`, `settle` and `let_time_pass` move it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.unseen: list[object] = []
        self.loop.set_exception_handler(lambda loop, context: self.unseen.append(context))
        self.clock = TurnedClock(now_s=1000.0, follows=self.loop.time)
        self.settled = True
        self.callers: list[Caller] = []  # whose tasks have not been looked at after their end
        self.waiting: dict[int, Window] = {}  # oldest first
        self.computing: dict[int, Window] = {}
        self.running: list[EngineCall] = []
        self.halves: dict[asyncio.Task[None], list[list[Window]]] = {}  # what a lane has still to repeat, last first
        self.drained = (0.0, 0.0)  # windows and seconds of late, with the past fading, in which there was a queue
        self.queue_s: tuple[float, float] | None = None  # when calls first and last ended that left one behind
        self.drained_is_sure = True  # or it depends on whether a lane has looked at what nobody waited for any more
        self.lateness: set[bool] = {False}  # of the request that has just come; both where either would be right
        self.joined = range(1)  # how many windows of the request that has just come may be told to have joined others
        self.was_due_s = -1.0  # when the queue was last seen to be due
        self.untold: list[Call] = []  # the call that has just ended, as it may be told
        self.closings: list[Closing] = []
        self.closing = False
        self.on_call_broken = False
        self.on_joined_broken = False
        self.lane_cancelled = False
        self.must_die = False
        self.deaths: list[BaseException] = []

    @initialize(
        concurrent_calls=st.integers(1, 3),
        max_batch_windows=st.integers(1, 6),
        spare=st.integers(0, 12),
        delay=st.sampled_from([0, 0, 2]),
    )
    def start(self, concurrent_calls: int, max_batch_windows: int, spare: int, delay: int) -> None:
        self.concurrent_calls = concurrent_calls
        self.max_batch_windows = max_batch_windows
        self.max_queued_windows = max_batch_windows + spare
        self.delay_s = delay * TICK_S

        async def build() -> Batcher[int, str]:
            return Batcher(
                self.call,
                concurrent_calls=self.concurrent_calls,
                max_batch_windows=self.max_batch_windows,
                max_queued_windows=self.max_queued_windows,
                delay_s=self.delay_s,
                clock=self.clock,
                on_call=self.on_call,
                on_joined=self.on_joined,
                on_death=self.on_death,
            )

        self.batcher = self.loop.run_until_complete(build())

    # What may happen.

    @rule(items=st.lists(ITEMS, min_size=1, max_size=8), deadline=st.one_of(st.none(), st.integers(0, 6)))
    def submit(self, items: list[int], deadline: int | None) -> None:
        caller = Caller(items)
        caller.task = self.loop.create_task(self.live(caller, deadline))
        self.callers.append(caller)
        self.settled = False

    @rule(windows=st.integers(1, 8), deadline=st.integers(0, 6))
    def reject_early(self, windows: int, deadline: int) -> None:
        """Asks whether a request need be read at all; nothing comes of it."""
        if self.deaths or self.closing:
            return
        deadline_s = deadline * TICK_S + DEADLINE_OFF_S
        wanted = {item for item, window in self.waiting.items() if window.wanted}
        refusals = {
            len(queue) + windows > self.max_queued_windows or self.is_late(windows, queue, deadline_s)
            for queue in (wanted, set(self.waiting))
        }
        try:
            self.batcher.reject_early(windows, deadline_s)
        except Overloaded:
            assert True in refusals or not self.drained_is_sure
        else:
            assert False in refusals or not self.drained_is_sure

    @precondition(lambda self: self.callers)
    @rule(which=st.integers(0))
    def cancel(self, which: int) -> None:
        caller = self.callers[which % len(self.callers)]
        if not caller.task.done():
            caller.task.cancel()
            caller.verdict = CANCELLED
            self.settled = False

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0), hiccup=SELDOM)
    def end_call(self, which: int, hiccup: bool) -> None:
        call = self.running[which % len(self.running)]
        if not call.told.done():
            call.told.set_result(Hiccup() if hiccup else None)
            self.settled = False

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0))
    def cancel_call(self, which: int) -> None:
        call = self.running[which % len(self.running)]
        if not call.told.done():
            call.cancelled = True
            call.told.cancel()
            self.settled = False

    @rule()
    def turn(self) -> None:
        self.loop.turn()

    @rule()
    def settle(self) -> None:
        self.loop.settle()
        self.settled = True

    @rule(ticks=st.integers(1, 3))
    def let_time_pass(self, ticks: int) -> None:
        self.settle()
        self.check()
        for _ in range(QUARTERS * ticks):
            now_s = self.loop.time() + TICK_S / QUARTERS
            for caller in self.callers:
                if caller.waits and caller.expires_s == now_s:
                    caller.verdict = DeadlineExceeded()
            if any(closing.ends_s == now_s and not closing.task.done() for closing in self.closings):
                self.all_waiting_end_with(Draining(""))
            self.loop.advance(TICK_S / QUARTERS)
            self.check()

    @rule(
        asked=st.lists(st.lists(GOOD_ITEMS, min_size=3, max_size=8), min_size=2, max_size=5),
        deadline=st.one_of(st.none(), st.integers(0, 6)),
    )
    def be_busy(self, asked: list[list[int]], deadline: int | None) -> None:
        """Requests come a little faster than calls end: so queues come about, and are measured."""
        for items in asked:
            self.submit(items, deadline)
            self.let_time_pass(1)
            if self.running:
                self.end_call(0, hiccup=False)

    @rule(drain=st.integers(0, 8), really=SELDOM)
    def close(self, drain: int, really: bool) -> None:
        if not really:
            return
        drain_s = drain * TICK_S + DRAIN_OFF_S

        async def close() -> None:
            self.closing = True
            await self.batcher.close(drain_s)

        self.settle()  # so that it is known from when the drain counts
        self.closings.append(Closing(self.loop.time() + drain_s, self.loop.create_task(close())))
        self.settled = False

    @rule(what=st.sampled_from(["clock", "on_call", "on_joined", "lane"]), really=SELDOM)
    def break_something(self, what: str, really: bool) -> None:
        if not really or self.broken:
            return
        if what == "clock":
            self.clock.broken = OSError("no clock")
        elif what == "on_call":
            self.on_call_broken = True
        elif what == "on_joined":
            self.on_joined_broken = True
        elif self.running:
            call = self.running[0]
            call.lane_cancelled = self.lane_cancelled = True
            self.must_die = not self.closings  # which cancel concurrent_calls themselves, when nobody waits any more
            call.lane.cancel()
            self.settled = False

    # What the batcher is seen to do: the stand-ins around it, which tell the model.

    async def live(self, caller: Caller, deadline: int | None) -> list[str]:
        deadline_s = None if deadline is None else deadline * TICK_S + DEADLINE_OFF_S
        self.most_queued, self.lateness = 0, {False}
        if self.deaths:
            caller.verdict = NotReady("")
        elif self.closing:
            caller.verdict = Draining("")
        else:
            self.arrives(caller, deadline_s)
        try:
            return await self.batcher.submit(caller.items, deadline_s)
        except Overloaded:
            assert self.most_queued > self.max_queued_windows or True in self.lateness
            if caller.arrived:  # where it could go either way, it was taken for accepted
                self.joined = range(1)
                for window in self.computing.values():
                    window.callers = [other for other in window.callers if other is not caller]
            caller.verdict = Overloaded("")
            raise
        finally:
            for item in set(caller.items) & self.waiting.keys():
                window = self.waiting[item]
                window.callers = [other for other in window.callers if other is not caller]
                if not window.callers:
                    del self.waiting[item]

    def arrives(self, caller: Caller, deadline_s: float | None) -> None:
        fresh = set(caller.items) - self.computing.keys()
        self.most_queued = len(fresh | self.waiting.keys())
        wanted = {item for item, window in self.waiting.items() if window.wanted}
        joins = sorted(len(caller.items) - len(fresh - there) for there in (wanted, self.waiting.keys()))
        if deadline_s is not None:
            self.lateness = {self.comes_late(fresh, there, deadline_s) for there in (wanted, set(self.waiting))}
            if not self.drained_is_sure:
                self.lateness = {False, True}
        if self.clock.broken:  # unless it is refused before the clock is read
            refused = True in self.lateness or self.most_queued > self.max_queued_windows
            self.must_die = self.must_die or not refused
            caller.verdict = NotReady("")
            return
        if False not in self.lateness or len(fresh | wanted) > self.max_queued_windows:
            caller.verdict = Overloaded("")
            return
        now_s = self.loop.time()
        if deadline_s is not None:
            caller.expires_s = now_s + deadline_s
        caller.arrived = True
        self.joined = range(joins[0], joins[1] + 1)
        for item in caller.items:
            window = self.computing.get(item) or self.waiting.get(item)
            if window is None:
                window = self.waiting[item] = Window(item, now_s, now_s)
            elif item in self.waiting and not window.wanted:
                window.rejoined = True
                window.latest_s = now_s
            window.callers.append(caller)
        self.look_whether_due()

    def comes_late(self, asked: set[int], queue: set[int], deadline_s: float) -> bool:
        """Whether what is new would fill more of a deadline, behind a queue, than a prediction may."""
        fresh = len(asked - queue)
        return fresh > 0 and self.is_late(fresh, queue, deadline_s)

    def is_late(self, more: float, queue: set[int], deadline_s: float) -> bool:
        windows, seconds = self.drained
        ahead = len(queue) + len(self.computing)
        return bool(ahead and seconds) and (ahead + more) / (windows / seconds) > 0.65 * deadline_s

    def look_whether_due(self) -> bool:
        oldest_s = min((window.arrived_s for window in self.waiting.values()), default=self.loop.time())
        if self.closing or len(self.waiting) >= self.max_batch_windows or oldest_s + self.delay_s <= self.loop.time():
            self.was_due_s = self.loop.time()
        return self.was_due_s == self.loop.time()

    async def call(self, items: list[int]) -> Sequence[str]:
        call = self.call_starts(items)
        try:
            error = await call.told
        except asyncio.CancelledError:
            if call.lane.cancelling():
                assert call.lane_cancelled or (self.closing and not any(caller.waits for caller in self.callers))
                self.running.remove(call)
                raise
            assert call.cancelled
            self.call_ends(call, EngineFailed("the engine call was cancelled"))
            raise
        bad = [item for item in items if item in BAD]
        answers = [answer(item) for item in items if item not in LOST]
        if bad and error is None:
            error = BadItems(bad)
        elif len(answers) < len(items) and error is None:
            self.call_ends(call, EngineFailed(""))
            return answers
        self.call_ends(call, error)
        if error is not None:
            raise error
        return answers

    def call_starts(self, items: list[int]) -> EngineCall:
        lane = asyncio.current_task()
        assert lane is not None
        assert len(self.running) < self.concurrent_calls
        assert 1 <= len(items) <= self.max_batch_windows
        assert not set(items) & {item for call in self.running for item in call.items}
        if self.halves.get(lane):
            windows = self.halves[lane].pop()
            assert items == [window.item for window in windows]
        else:
            windows = self.from_queue(items)
        assert all(window.wanted for window in windows)
        call = EngineCall(windows, self.loop.time(), lane, self.loop.create_future())
        self.running.append(call)
        return call

    def from_queue(self, items: list[int]) -> list[Window]:
        """The oldest, as many as is this lane's share."""
        assert not self.deaths
        assert self.look_whether_due()
        free = self.concurrent_calls - len(self.running)
        wanted = [window for window in self.waiting.values() if window.wanted]
        least, most = (
            min(-(-count // free), self.max_batch_windows, len(wanted)) for count in (len(wanted), len(self.waiting))
        )
        assert least <= len(items) <= most
        windows = [self.waiting[item] for item in items]
        sure = [window for window in windows if not window.rejoined]
        assert sure == [window for window in wanted if not window.rejoined][: len(sure)]
        for window in list(self.waiting.values()):  # who has just left is dropped on the way
            if window in windows:
                self.computing[window.item] = self.waiting.pop(window.item)
            elif not window.wanted and not self.computing.keys() >= set(items):
                del self.waiting[window.item]
        return windows

    def call_ends(self, call: EngineCall, error: Exception | None) -> None:
        self.running.remove(call)
        took_s = self.loop.time() - call.started_s
        first = call.windows[0]
        waits_s = {call.started_s - first.arrived_s, call.started_s - first.latest_s}
        self.untold = [Call(len(call.windows), waited_s, took_s, error is not None) for waited_s in waits_s]
        if self.clock.broken or self.on_call_broken:  # none of it reaches anybody
            self.must_die = True
            return
        self.measure(len(call.windows), took_s, failed=error is not None)
        if error is None:
            self.answered(call.windows)
        elif len(call.windows) == 1 or len({caller for window in call.windows for caller in window.callers}) == 1:
            for window in call.windows:
                del self.computing[window.item]
                for caller in window.callers:
                    if caller.waits:
                        caller.verdict = error
        else:
            half = len(call.windows) // 2
            self.halves.setdefault(call.lane, []).extend([call.windows[half:], call.windows[:half]])
        self.drop_from_next_half(call.lane)

    def measure(self, windows: int, took_s: float, *, failed: bool) -> None:
        now_s, (past_windows, past_s) = self.loop.time(), self.drained
        started_s = now_s - took_s
        if took_s and not failed:
            done, seconds = 0.0, 0.0
            if self.queue_s is not None:
                first_s, last_s = self.queue_s
                done, seconds = windows * ((now_s - max(started_s, first_s)) / took_s), now_s - last_s
            elif past_s and windows / took_s > past_windows / past_s:
                done, seconds = windows, took_s
            if seconds or (past_s and self.queue_s):
                self.drained = 0.9 * past_windows + done, 0.9 * past_s + seconds
        self.queue_s = (self.queue_s[0] if self.queue_s else now_s, now_s) if self.waiting else None
        if self.waiting and not any(window.wanted for window in self.waiting.values()):
            self.drained_is_sure = False

    def answered(self, windows: list[Window]) -> None:
        for window in windows:
            del self.computing[window.item]
            for caller in window.callers:
                caller.results[window.item] = answer(window.item)
                if caller.waits and caller.results.keys() >= set(caller.items):
                    caller.verdict = [answer(item) for item in caller.items]

    def drop_from_next_half(self, lane: "asyncio.Task[None]") -> None:
        """What a lane repeats next, without what nobody waits for any more."""
        halves = self.halves.get(lane, [])
        while halves:
            half = halves.pop()
            for window in half:
                if not window.wanted:
                    del self.computing[window.item]
            if wanted := [window for window in half if window.wanted]:
                halves.append(wanted)
                return

    def on_call(self, call: Call) -> None:
        if self.on_call_broken:
            raise LookupError("no such metric")
        assert call in self.untold
        self.untold = []

    def on_joined(self, windows: int) -> None:
        if self.on_joined_broken:
            self.must_die = True
            self.joined = range(1)
            raise LookupError("no such metric")
        assert windows in self.joined
        self.joined = range(1)

    def on_death(self, error: BaseException) -> None:
        assert self.broken, error
        assert not self.deaths
        self.deaths.append(error)
        self.all_waiting_end_with(NotReady(""))

    @property
    def broken(self) -> bool:
        return self.clock.broken is not None or self.on_call_broken or self.on_joined_broken or self.lane_cancelled

    def all_waiting_end_with(self, error: Exception) -> None:
        for caller in self.callers:
            if caller.waits:
                caller.verdict = error

    # What must hold.

    @invariant()
    def check(self) -> None:
        assert self.unseen == []
        assert 0 in self.joined or self.broken
        assert len(self.running) <= self.concurrent_calls
        for caller in list(self.callers):
            if caller.task.done():
                self.callers.remove(caller)
                check_outcome(caller)
            else:
                assert caller.verdict is None or not self.settled
        if self.settled:
            self.check_settled()

    def check_settled(self) -> None:
        now_s = self.loop.time()
        assert not any(caller.expires_s is not None and caller.expires_s <= now_s for caller in self.callers)
        assert all(closing.task.done() == (not self.callers) for closing in self.closings)
        if self.must_die:
            assert self.deaths
        assert self.batcher.healthy == (not self.deaths and not self.closing)
        if not self.deaths:
            assert all(window.wanted for window in self.waiting.values())
            assert self.batcher.queued_windows == len(self.waiting)
            assert self.batcher.requests_in_flight == len(self.callers)
            oldest_s = min((window.latest_s for window in self.waiting.values()), default=now_s)
            due = self.closing or oldest_s + self.delay_s <= now_s or len(self.waiting) >= self.max_batch_windows
            assert not self.waiting or not due or len(self.running) == self.concurrent_calls
            assert self.computing.keys() >= {item for call in self.running for item in call.items}

    def teardown(self) -> None:
        """Everything ends, and nothing is left."""
        try:
            if hasattr(self, "batcher"):
                self.end_everything()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.settle()
            self.loop.close()

    def end_everything(self) -> None:
        for _ in range(1000):
            self.settle()
            self.check()
            if self.running:
                self.end_call(0, hiccup=False)
            elif self.callers:  # they sit out the delay
                self.let_time_pass(1)
            else:
                break
        assert self.callers == []
        assert self.batcher._requests == set()
        assert self.batcher._waiting == {}
        assert self.batcher._tasks == set()
        assert self.batcher._calls == 0
        assert self.batcher._computing == {} or self.deaths or self.closing
        assert asyncio.all_tasks(self.loop) == set()


def check_outcome(caller: Caller) -> None:
    """It ended, once, as it had to."""
    verdict = caller.verdict
    if verdict is CANCELLED:
        assert caller.task.cancelled()
        return
    error = caller.task.exception()
    if isinstance(verdict, BadItems | Hiccup):
        assert error is verdict
    elif isinstance(verdict, Exception):
        assert type(error) is type(verdict)
    else:
        assert error is None, repr(error)
        assert caller.task.result() == verdict


# One failure is as good as ten, and found sooner.
FEW = settings(max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
MANY = settings(FEW, max_examples=2000, stateful_step_count=100)


def test_all_promises_hold_whatever_happens() -> None:
    run_state_machine_as_test(BatcherMachine, settings=FEW)


@pytest.mark.slow
def test_all_promises_hold_whatever_happens_for_long() -> None:
    run_state_machine_as_test(BatcherMachine, settings=MANY)
