"""Stateful tests of the batcher: it is compared with a model of its contract after every step.

Hypothesis chooses the events and their order: which requests arrive or are cancelled, how an engine call ends and
when, whether the event loop runs one iteration or time passes, and whether the batcher closes or breaks.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

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
from tests.app.serving.batcher_model import CANCELLED, BatcherModel, Request
from tests.fakes import BadItems, ManualClock, result_of
from tests.virtual_time import VirtualTimeLoop

TICK_S = 1 / 16
# Arrivals, calls and delays take whole ticks. Drain times and deadlines end between ticks, each at its own quarter of a
# tick, so that none coincides with a dispatch. If two coincided, either order would be correct.
QUARTERS = 4
CLOSE_OFFSET_S = 1 / 4 * TICK_S
DEADLINE_OFFSET_S = 2 / 4 * TICK_S

GOOD_ITEMS = range(12)
BAD_ITEMS = {12, 13}  # a call that contains one of these fails
DROPPED_ITEMS = {14}  # these get no result
ITEMS = [*GOOD_ITEMS, *range(6), *BAD_ITEMS, *DROPPED_ITEMS]  # few, so that many requests share items
RARELY = st.sampled_from([False, False, False, True])


def item_lists(items: Sequence[int], *, min_size: int) -> st.SearchStrategy[list[int]]:
    """Draw lists of up to eight items.

    A list is drawn as a text of one letter per item, which is one choice. Drawing it item by item takes two choices for
    each, and choices take most of the time of these tests.
    """
    by_letter = {chr(ord("A") + index): item for index, item in enumerate(items)}
    return st.text(list(by_letter), min_size=min_size, max_size=8).map(lambda text: [by_letter[each] for each in text])


class TransientError(Exception):
    """A call failed although nothing was wrong with its items."""


@dataclass(eq=False)
class CloseCall:
    """A call of `close`, and the time at which its drain deadline passes."""

    ends_s: float
    task: "asyncio.Task[None]"


class BatcherMachine(RuleBasedStateMachine):
    """Compares the batcher with its model.

    Most rules act on the batcher without running the event loop; `run_once`, `settle` and `let_time_pass` run it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.unhandled: list[object] = []
        self.loop.set_exception_handler(lambda loop, context: self.unhandled.append(context))
        self.clock = ManualClock(now_s=1000.0, base=self.loop.time)
        self.is_settled = True
        self.close_calls: list[CloseCall] = []

    @initialize(
        concurrent_calls=st.integers(1, 3),
        max_batch_windows=st.integers(1, 6),
        extra_queued_windows=st.integers(0, 12),
        delay_ticks=st.sampled_from([0, 0, 2]),
    )
    def start(self, concurrent_calls: int, max_batch_windows: int, extra_queued_windows: int, delay_ticks: int) -> None:
        limits = {
            "concurrent_calls": concurrent_calls,
            "max_batch_windows": max_batch_windows,
            "max_queued_windows": max_batch_windows + extra_queued_windows,
        }
        delay_s = delay_ticks * TICK_S
        self.model = BatcherModel(self.loop.time, **limits, delay_s=delay_s)

        async def create() -> Batcher[int, str]:
            return Batcher(
                self.call,
                **limits,
                delay_s=delay_s,
                clock=self.clock,
                on_call=self.on_call,
                on_coalesced=self.on_coalesced,
                on_death=self.on_death,
            )

        self.batcher = self.loop.run_until_complete(create())

    # What may happen

    @rule(items=item_lists(ITEMS, min_size=1), deadline_ticks=st.one_of(st.none(), st.integers(0, 6)))
    def submit(self, items: list[int], deadline_ticks: int | None) -> None:
        request = Request(items)
        request.task = self.loop.create_task(self.run_request(request, deadline_ticks))
        self.model.requests.append(request)
        self.is_settled = False

    @rule(windows=st.integers(1, 8), deadline_ticks=st.integers(0, 6))
    def reject_early(self, windows: int, deadline_ticks: int) -> None:
        if self.model.deaths or self.model.is_closing:
            return
        deadline_s = deadline_ticks * TICK_S + DEADLINE_OFFSET_S
        may_reject = self.model.may_reject_early(windows, deadline_s)
        try:
            self.batcher.reject_early(windows, deadline_s)
        except Overloaded:
            assert True in may_reject
        else:
            assert False in may_reject

    @precondition(lambda self: self.model.requests)
    @rule(which=st.integers(0))
    def cancel_request(self, which: int) -> None:
        request = self.model.requests[which % len(self.model.requests)]
        if not request.task.done():
            request.task.cancel()
            request.expected = CANCELLED
            self.is_settled = False

    @precondition(lambda self: self.model.running)
    @rule(which=st.integers(0), fails=RARELY)
    def end_call(self, which: int, fails: bool) -> None:
        call = self.model.running[which % len(self.model.running)]
        if not call.ending.done():
            call.ending.set_result(TransientError() if fails else None)
            self.is_settled = False

    @precondition(lambda self: self.model.running)
    @rule(which=st.integers(0))
    def cancel_call(self, which: int) -> None:
        call = self.model.running[which % len(self.model.running)]
        if not call.ending.done():
            call.is_cancelled = True
            call.ending.cancel()
            self.is_settled = False

    @rule()
    def run_once(self) -> None:
        self.loop.run_once()

    @rule()
    def settle(self) -> None:
        self.loop.settle()
        self.is_settled = True

    @rule(ticks=st.integers(1, 3))
    def let_time_pass(self, ticks: int) -> None:
        self.settle()
        self.check()
        for _ in range(QUARTERS * ticks):
            now_s = self.loop.time() + TICK_S / QUARTERS
            for request in self.model.requests:
                if request.is_waiting and request.expires_s == now_s:
                    request.expected = DeadlineExceeded()
            if any(closing.ends_s == now_s and not closing.task.done() for closing in self.close_calls):
                self.model.expect_all_waiting(Draining(""))
            self.loop.advance(TICK_S / QUARTERS)
            self.check()

    @rule(
        requests=st.lists(item_lists(GOOD_ITEMS, min_size=3), min_size=2, max_size=5),
        deadline_ticks=st.one_of(st.none(), st.integers(0, 6)),
    )
    def build_up_queue(self, requests: list[list[int]], deadline_ticks: int | None) -> None:
        """Requests arrive a little faster than calls end, so that queues form and the drain rate is measured."""
        for items in requests:
            self.submit(items, deadline_ticks)
            self.let_time_pass(1)
            if self.model.running:
                self.end_call(0, fails=False)

    @rule(drain_ticks=st.integers(0, 8), is_enabled=RARELY)
    def close(self, drain_ticks: int, is_enabled: bool) -> None:
        if not is_enabled:
            return
        drain_s = drain_ticks * TICK_S + CLOSE_OFFSET_S

        async def close() -> None:
            self.model.is_closing = True
            await self.batcher.close(drain_s)

        self.settle()  # so that it is certain when the drain time starts
        self.close_calls.append(CloseCall(self.loop.time() + drain_s, self.loop.create_task(close())))
        self.is_settled = False

    @rule(part=st.sampled_from(["clock", "on_call", "on_coalesced", "task"]), is_enabled=RARELY)
    def break_something(self, part: str, is_enabled: bool) -> None:
        model = self.model
        if not is_enabled or model.is_broken:
            return
        if part == "clock":
            self.clock.error = OSError("no clock")
            model.is_clock_broken = True
        elif part == "on_call":
            model.is_on_call_broken = True
        elif part == "on_coalesced":
            model.is_on_coalesced_broken = True
        elif model.running:
            call = model.running[0]
            call.is_task_cancelled = model.is_task_cancelled = True
            model.must_die = not self.close_calls  # `close` cancels tasks itself when no request is left
            call.task.cancel()
            self.is_settled = False

    # What the batcher does

    async def run_request(self, request: Request, deadline_ticks: int | None) -> list[str]:
        deadline_s = None if deadline_ticks is None else deadline_ticks * TICK_S + DEADLINE_OFFSET_S
        self.model.arrive(request, deadline_s)
        try:
            return await self.batcher.submit(request.items, deadline_s)
        except Overloaded:
            self.model.reject(request)
            raise
        finally:
            self.model.leave(request)

    async def call(self, items: list[int]) -> Sequence[str]:
        call = self.model.start_call(items)
        try:
            error = await call.ending
        except asyncio.CancelledError:
            if call.task.cancelling():
                is_abandoned = not any(request.is_waiting for request in self.model.requests)
                assert call.is_task_cancelled or (self.model.is_closing and is_abandoned)
                self.model.running.remove(call)
                raise
            assert call.is_cancelled
            self.model.end_call(call, EngineFailed("the engine call was cancelled"))
            raise
        bad_items = [item for item in items if item in BAD_ITEMS]
        results = [result_of(item) for item in items if item not in DROPPED_ITEMS]
        if bad_items and error is None:
            error = BadItems(bad_items)
        elif len(results) < len(items) and error is None:
            self.model.end_call(call, EngineFailed(""))
            return results
        self.model.end_call(call, error)
        if error is not None:
            raise error
        return results

    def on_call(self, call: Call) -> None:
        if self.model.is_on_call_broken:
            raise LookupError("no such metric")
        assert call in self.model.possible_reports
        self.model.possible_reports = []

    def on_coalesced(self, windows: int) -> None:
        possible, self.model.possible_coalesced = self.model.possible_coalesced, range(1)
        if self.model.is_on_coalesced_broken:
            self.model.must_die = True
            raise LookupError("no such metric")
        assert windows in possible

    def on_death(self, error: BaseException) -> None:
        assert self.model.is_broken, error
        assert not self.model.deaths
        self.model.deaths.append(error)
        self.model.expect_all_waiting(NotReady(""))

    # What must hold

    @invariant()
    def check(self) -> None:
        assert self.unhandled == []
        if not hasattr(self, "model"):
            return
        model = self.model
        assert 0 in model.possible_coalesced or model.is_broken
        assert len(model.running) <= model.concurrent_calls
        for request in list(model.requests):
            if request.task.done():
                model.requests.remove(request)
                check_outcome(request)
            else:
                assert request.expected is None or not self.is_settled
        if self.is_settled:
            self.check_settled()

    def check_settled(self) -> None:
        model, now_s = self.model, self.loop.time()
        assert not any(request.expires_s is not None and request.expires_s <= now_s for request in model.requests)
        assert all(closing.task.done() == (not model.requests) for closing in self.close_calls)
        if model.must_die:
            assert model.deaths
        assert self.batcher.is_healthy == (not model.deaths and not model.is_closing)
        if not model.deaths:
            assert all(window.is_wanted for window in model.waiting.values())
            assert self.batcher.queued_windows == len(model.waiting)
            assert self.batcher.requests_in_flight == len(model.requests)
            oldest_s = min((window.latest_arrival_s for window in model.waiting.values()), default=now_s)
            is_full = len(model.waiting) >= model.max_batch_windows
            is_due = model.is_closing or is_full or oldest_s + model.delay_s <= now_s
            assert not model.waiting or not is_due or len(model.running) == model.concurrent_calls
            assert model.computing.keys() >= {item for call in model.running for item in call.items}

    def teardown(self) -> None:
        try:
            if hasattr(self, "batcher"):
                self.end_everything()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.settle()
            self.loop.close()

    def end_everything(self) -> None:
        """End all calls and requests, and check that the batcher keeps no reference to them."""
        for _ in range(1000):
            self.settle()
            self.check()
            if self.model.running:
                self.end_call(0, fails=False)
            elif self.model.requests:  # they wait for the delay
                self.let_time_pass(1)
            else:
                break
        assert self.model.requests == []
        assert self.batcher._requests == set()
        assert self.batcher._queue.waiting == {}
        assert self.batcher._tasks == set()
        assert self.batcher._active_calls == 0
        assert self.batcher._queue.computing == {} or self.model.deaths or self.model.is_closing
        assert asyncio.all_tasks(self.loop) == set()


def check_outcome(request: Request) -> None:
    """A request that has ended did so as expected."""
    expected = request.expected
    if expected is CANCELLED:
        assert request.task.cancelled()
        return
    error = request.task.exception()
    if isinstance(expected, BadItems | TransientError):
        assert error is expected
    elif isinstance(expected, Exception):
        assert type(error) is type(expected)
    else:
        assert error is None, repr(error)
        assert request.task.result() == expected


FEW = settings(max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
MANY = settings(FEW, max_examples=2000, stateful_step_count=100)


def test_batcher_agrees_with_its_model() -> None:
    run_state_machine_as_test(BatcherMachine, settings=FEW)


@pytest.mark.slow
@pytest.mark.no_cover  # the short run covers the same lines, and tracing would take longer than the test
def test_batcher_agrees_with_its_model_in_long_runs() -> None:
    run_state_machine_as_test(BatcherMachine, settings=MANY)
