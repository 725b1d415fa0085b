"""The batcher keeps each of its eight promises: shown one by one. All times are virtual.

`test_batching_machine.py` holds it to all of them at once, whatever happens in whatever order.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import DeadlineExceeded, Draining, EngineFailed, NotReady, Overloaded
from app.serving.batcher import BULK_WINDOWS, Batcher, Call
from tests.fakes import BadItems, FakeCall, TurnedClock, answer
from tests.virtual_time import Deadlock, in_virtual_time, now, run, until

HOUR_S = 3600.0


class Outcome(NamedTuple):
    """What became of one request, and when."""

    value: list[str] | Exception
    at_s: float

    @property
    def kind(self) -> tuple[type, float]:
        return type(self.value), self.at_s


def answered(*items: int, at_s: float) -> Outcome:
    return Outcome([answer(item) for item in items], at_s)


class Bench:
    """A batcher, the call behind it, and what it told."""

    def __init__(
        self,
        *,
        concurrent_calls: int = 1,
        bulk_concurrent_calls: int = 0,
        max_batch_windows: int = 4,
        max_queued_windows: int = 100,
        delay_s: float = 0.0,
        clock: Callable[[], float] | None = None,
        on_call: Callable[[Call], None] | None = None,
        on_joined: Callable[[int], None] | None = None,
    ) -> None:
        self.call = FakeCall(takes_s=1.0)
        self.told: list[Call] = []
        self.joined: list[int] = []
        self.deaths: list[BaseException] = []
        self.batcher = Batcher(
            self.call,
            concurrent_calls=concurrent_calls,
            bulk_concurrent_calls=bulk_concurrent_calls,
            max_batch_windows=max_batch_windows,
            max_queued_windows=max_queued_windows,
            delay_s=delay_s,
            clock=clock,
            on_call=on_call or self.told.append,
            on_joined=on_joined or self.joined.append,
            on_death=self.deaths.append,
        )

    def ask(self, *items: int, at_s: float = 0.0, deadline_s: float | None = None) -> "asyncio.Task[Outcome]":
        """A request that arrives at `at_s`; what arrives at once at 0 s arrives in the order of asking."""
        return asyncio.create_task(self._ask(items, at_s, deadline_s))

    async def _ask(self, items: Sequence[int], at_s: float, deadline_s: float | None) -> Outcome:
        await until(at_s)
        try:
            return Outcome(await self.batcher.submit(items, deadline_s), now())
        except Exception as error:
            return Outcome(error, now())


async def cancelled(asked: "asyncio.Task[Outcome]") -> bool:
    """Whether a request ended by being cancelled."""
    await asyncio.wait([asked])
    return asked.cancelled()


async def outcomes_of(*asked: "asyncio.Task[Outcome]") -> list[Outcome]:
    return await asyncio.gather(*asked)


# 1. A call starts the moment a lane is free; while all are busy, arrivals go together in the next, oldest first.


@in_virtual_time
async def test_a_request_is_computed_at_once_while_a_lane_is_free() -> None:
    bench = Bench()
    assert await bench.ask(1, 2, at_s=5.0) == answered(1, 2, at_s=6.0)
    assert bench.call.seen == [(5.0, [1, 2])]


@in_virtual_time
async def test_what_arrives_at_one_moment_goes_together() -> None:
    bench = Bench()
    asked = [bench.ask(1), bench.ask(2), bench.ask(3)]
    assert await outcomes_of(*asked) == [answered(1, at_s=1.0), answered(2, at_s=1.0), answered(3, at_s=1.0)]
    assert bench.call.seen == [(0.0, [1, 2, 3])]


@in_virtual_time
async def test_what_arrives_while_the_lane_is_busy_goes_together_in_the_next_call_oldest_first() -> None:
    bench = Bench()
    asked = [
        bench.ask(1),
        bench.ask(5, at_s=0.75),  # asked for out of order: the time of arrival counts
        bench.ask(4, at_s=0.5),
        bench.ask(2, 3, at_s=0.25),
    ]
    assert await outcomes_of(*asked) == [
        answered(1, at_s=1.0),
        answered(5, at_s=2.0),
        answered(4, at_s=2.0),
        answered(2, 3, at_s=2.0),
    ]
    assert bench.call.seen == [(0.0, [1]), (1.0, [2, 3, 4, 5])]


@in_virtual_time
async def test_who_asks_again_on_being_answered_goes_behind_those_who_wait() -> None:
    bench = Bench(max_batch_windows=1)

    async def twice() -> Outcome:
        await bench.batcher.submit([1])
        return await bench.ask(2, at_s=now())

    again, waiting = asyncio.create_task(twice()), bench.ask(3, at_s=0.5)
    assert await waiting == answered(3, at_s=2.0)
    assert await again == answered(2, at_s=3.0)


@in_virtual_time
async def test_two_lanes_work_side_by_side() -> None:
    bench = Bench(concurrent_calls=2)
    asked = [bench.ask(1), bench.ask(2, at_s=0.25), bench.ask(3, at_s=0.5), bench.ask(4, at_s=0.75)]
    assert await outcomes_of(*asked) == [
        answered(1, at_s=1.0),
        answered(2, at_s=1.25),
        answered(3, at_s=2.0),
        answered(4, at_s=2.0),
    ]
    assert bench.call.seen == [(0.0, [1]), (0.25, [2]), (1.0, [3, 4])]


@in_virtual_time
async def test_lanes_that_are_free_together_share_what_waits_evenly() -> None:
    bench = Bench(concurrent_calls=3, max_batch_windows=8)
    asked = [bench.ask(*range(5)), bench.ask(5, 6), bench.ask(7)]
    assert await outcomes_of(*asked) == [
        answered(*range(5), at_s=1.0),
        answered(5, 6, at_s=1.0),
        answered(7, at_s=1.0),
    ]
    assert bench.call.seen == [(0.0, [0, 1, 2]), (0.0, [3, 4, 5]), (0.0, [6, 7])]


@in_virtual_time
async def test_a_lane_that_is_busy_has_no_share() -> None:
    bench = Bench(concurrent_calls=3, max_batch_windows=8)
    asked = [bench.ask(0), bench.ask(*range(1, 6), at_s=0.5)]
    await outcomes_of(*asked)
    assert bench.call.seen == [(0.0, [0]), (0.5, [1, 2, 3]), (0.5, [4, 5])]


@in_virtual_time
async def test_large_requests_have_more_lanes() -> None:
    bench = Bench(concurrent_calls=1, bulk_concurrent_calls=3)
    assert await bench.ask(*range(14)) == answered(*range(14), at_s=2.0)
    assert [at for at, _ in bench.call.seen] == [0.0, 0.0, 0.0, 1.0]


@in_virtual_time
async def test_as_many_windows_of_small_requests_have_not() -> None:
    bench = Bench(concurrent_calls=1, bulk_concurrent_calls=3)
    await outcomes_of(*[bench.ask(*range(first, first + BULK_WINDOWS - 1)) for first in (0, 10)])
    assert [at for at, _ in bench.call.seen] == [0.0, 1.0, 2.0, 3.0]


@in_virtual_time
async def test_the_lanes_of_large_requests_are_given_back_to_small_ones() -> None:
    bench = Bench(concurrent_calls=1, bulk_concurrent_calls=2, max_batch_windows=8)
    large = bench.ask(*range(16))
    small = [bench.ask(item, at_s=0.5) for item in range(20, 40)]
    assert await large == answered(*range(16), at_s=1.0)
    await outcomes_of(*small)
    assert [(at, len(items)) for at, items in bench.call.seen] == [(0.0, 8), (0.0, 8), (1.0, 8), (2.0, 8), (3.0, 4)]


@in_virtual_time
async def test_more_calls_than_small_requests_may_have_do_no_harm() -> None:
    bench = Bench(concurrent_calls=1, bulk_concurrent_calls=3, max_batch_windows=4)
    bench.call.takes_s_per_item = 0.5
    large = bench.ask(*range(9))  # calls of 3, 3 and 3, and then of what has come meanwhile
    small = [bench.ask(item, at_s=0.5) for item in range(20, 30)]
    assert (await large).at_s == 2.5
    assert {outcome.kind[0] for outcome in await outcomes_of(*small)} == {list}
    assert [len(items) for _, items in bench.call.seen] == [3, 3, 3, 4, 4, 2]


@in_virtual_time
async def test_a_slow_call_holds_up_its_own_lane_only() -> None:
    bench = Bench(concurrent_calls=2, max_batch_windows=1)
    bench.call.takes_s = 10.0
    slow = bench.ask(1)
    await until(0.5)
    bench.call.takes_s = 1.0
    asked = [bench.ask(2), bench.ask(3, at_s=0.75), bench.ask(4, at_s=0.875)]
    assert await outcomes_of(*asked) == [
        answered(2, at_s=1.5),
        answered(3, at_s=2.5),
        answered(4, at_s=3.5),
    ]
    assert await slow == answered(1, at_s=10.0)


@in_virtual_time
async def test_a_delay_counts_from_the_oldest_arrival() -> None:
    bench = Bench(delay_s=0.5)
    asked = [bench.ask(1, at_s=1.0), bench.ask(2, at_s=1.25), bench.ask(3, at_s=1.4375)]
    assert await outcomes_of(*asked) == [answered(item, at_s=2.5) for item in (1, 2, 3)]
    assert bench.call.seen == [(1.5, [1, 2, 3])]


@in_virtual_time
async def test_a_full_batch_does_not_sit_out_the_delay() -> None:
    bench = Bench(delay_s=1.5)
    asked = [bench.ask(1, 2, 3), bench.ask(4, 5, at_s=0.25)]
    assert await outcomes_of(*asked) == [answered(1, 2, 3, at_s=1.25), answered(4, 5, at_s=2.75)]
    assert bench.call.seen == [(0.25, [1, 2, 3, 4]), (1.75, [5])]  # what was over counts from its own arrival


@in_virtual_time
async def test_a_full_batch_is_shared_by_free_lanes_and_no_share_sits_out_the_delay() -> None:
    bench = Bench(concurrent_calls=2, delay_s=0.5)
    asked = [bench.ask(1, 2, 3), bench.ask(4, at_s=0.25)]
    assert await outcomes_of(*asked) == [answered(1, 2, 3, at_s=1.25), answered(4, at_s=1.25)]
    assert bench.call.seen == [(0.25, [1, 2]), (0.25, [3, 4])]


@in_virtual_time
async def test_when_the_oldest_has_waited_long_enough_all_lanes_go() -> None:
    bench = Bench(concurrent_calls=2, delay_s=0.5)
    await outcomes_of(bench.ask(1), bench.ask(2, at_s=0.25), bench.ask(3, at_s=0.375))
    assert bench.call.seen == [(0.5, [1, 2]), (0.5, [3])]


@in_virtual_time
async def test_a_batch_that_is_just_full_does_not_sit_out_the_delay() -> None:
    bench = Bench(delay_s=0.5)
    asked = [bench.ask(1, 2, 3), bench.ask(4, at_s=0.25)]
    assert await outcomes_of(*asked) == [answered(1, 2, 3, at_s=1.25), answered(4, at_s=1.25)]


@in_virtual_time
async def test_who_waited_for_a_lane_longer_than_the_delay_does_not_wait_on() -> None:
    bench = Bench(delay_s=0.5)
    asked = [bench.ask(1), bench.ask(2, at_s=0.75), bench.ask(3, at_s=1.25)]
    assert await outcomes_of(*asked) == [
        answered(1, at_s=1.5),
        answered(2, at_s=2.5),
        answered(3, at_s=2.5),
    ]
    assert bench.call.seen == [(0.5, [1]), (1.5, [2, 3])]


@in_virtual_time
async def test_the_delay_goes_on_after_the_lane_is_freed_for_who_came_late() -> None:
    bench = Bench(delay_s=0.5)
    asked = [bench.ask(1), bench.ask(2, at_s=1.375), bench.ask(3, at_s=1.75)]
    await outcomes_of(*asked)
    assert bench.call.seen == [(0.5, [1]), (1.875, [2, 3])]


@in_virtual_time
async def test_the_delay_counts_from_the_next_oldest_when_the_oldest_leaves() -> None:
    bench = Bench(delay_s=0.5)
    oldest, next_oldest = bench.ask(1), bench.ask(2, at_s=0.125)
    await until(0.25)
    oldest.cancel()
    assert await next_oldest == answered(2, at_s=1.625)
    assert bench.call.seen == [(0.625, [2])]


def test_a_batcher_that_can_only_wait_schedules_nothing() -> None:
    async def scenario() -> None:
        bench = Bench(delay_s=0.5)
        bench.call.hangs = True
        await outcomes_of(bench.ask(1), bench.ask(2, at_s=1.0), bench.ask(3, at_s=2.0))

    with pytest.raises(Deadlock):  # a batcher that polled would always have a next timer
        run(scenario())


@in_virtual_time
async def test_an_hour_of_delay_is_one_timer() -> None:
    clock = TurnedClock(follows=now)
    bench = Bench(delay_s=HOUR_S, clock=clock)
    asked = bench.ask(1)
    await until(1.0)
    read = clock.read
    await until(HOUR_S - 1)
    assert clock.read == read
    assert await asked == answered(1, at_s=HOUR_S + 1)


# 2. It counts windows: never more than `max_batch_windows` in a call; what is larger is cut, and joined in order.


@in_virtual_time
async def test_a_call_never_holds_more_than_its_windows() -> None:
    bench = Bench()
    asked = [bench.ask(0)]
    asked += [bench.ask(1, 2, 3, at_s=0.25), bench.ask(4, 5, 6, at_s=0.5), bench.ask(7, 8, 9, at_s=0.75)]
    assert await outcomes_of(*asked) == [
        answered(0, at_s=1.0),
        answered(1, 2, 3, at_s=2.0),
        answered(4, 5, 6, at_s=3.0),
        answered(7, 8, 9, at_s=4.0),
    ]
    assert bench.call.seen == [(0.0, [0]), (1.0, [1, 2, 3, 4]), (2.0, [5, 6, 7, 8]), (3.0, [9])]


@in_virtual_time
async def test_a_larger_request_is_cut_over_the_lanes_and_its_last_piece_has_room_for_others() -> None:
    bench = Bench(concurrent_calls=2)
    bench.call.takes_s_per_item = 0.5
    large, mate = bench.ask(*range(10)), bench.ask(10, at_s=0.5)
    assert await mate == answered(10, at_s=5.5)
    assert await large == answered(*range(10), at_s=5.5)
    assert bench.call.seen == [(0.0, [0, 1, 2, 3]), (0.0, [4, 5, 6, 7]), (3.0, [8, 9, 10])]


@in_virtual_time
async def test_pieces_are_joined_in_order_whichever_ends_first() -> None:
    bench = Bench(concurrent_calls=2, max_batch_windows=2)
    bench.ask(0)
    await until(0.5)
    bench.call.takes_s = 4.0
    large = bench.ask(1, 2, 3, 4)
    await until(0.75)
    bench.call.takes_s = 1.0
    assert await large == answered(1, 2, 3, 4, at_s=4.5)
    assert bench.call.seen == [(0.0, [0]), (0.5, [1, 2]), (1.0, [3, 4])]
    assert [made.ended_s for made in bench.call.made] == [1.0, 4.5, 2.0]


# 3. The queue is bounded in windows, and in time; who is refused is told when to come back.


async def refusal(bench: Bench, *items: int, at_s: float, deadline_s: float | None = None) -> float:
    """`retry_after_s` of a request that is refused at once."""
    outcome = await bench.ask(*items, at_s=at_s, deadline_s=deadline_s)
    assert isinstance(outcome.value, Overloaded)
    assert outcome.at_s == at_s
    return outcome.value.retry_after_s


@in_virtual_time
async def test_a_full_queue_refuses_at_once_until_there_is_room() -> None:
    bench = Bench(max_queued_windows=6)
    asked = [bench.ask(1, 2, 3, 4), bench.ask(5, 6, 7, 8, 9, at_s=0.125)]
    await until(0.25)
    assert bench.batcher.queued_windows == 5
    await refusal(bench, 10, 11, at_s=0.25)
    assert bench.batcher.queued_windows == 5
    asked.append(bench.ask(12, at_s=0.5))  # exactly full
    await refusal(bench, 13, at_s=0.75)
    asked.append(bench.ask(14, 15, 16, 17, at_s=1.25))  # four went into the second call
    assert await outcomes_of(*asked) == [
        answered(1, 2, 3, 4, at_s=1.0),
        answered(5, 6, 7, 8, 9, at_s=3.0),
        answered(12, at_s=3.0),
        answered(14, 15, 16, 17, at_s=4.0),
    ]
    assert bench.call.seen == [(0.0, [1, 2, 3, 4]), (1.0, [5, 6, 7, 8]), (2.0, [9, 12, 14, 15]), (3.0, [16, 17])]


@in_virtual_time
async def test_what_is_in_a_lane_does_not_count_as_queued() -> None:
    bench = Bench(max_queued_windows=8)
    bench.ask(*range(8))
    await until(0.5)
    assert bench.batcher.queued_windows == 4
    await until(1.5)
    assert bench.batcher.queued_windows == 0


@in_virtual_time
async def test_requests_are_in_flight_from_their_acceptance_until_they_are_answered_or_given_up() -> None:
    bench = Bench(max_queued_windows=4)
    bench.ask(1)
    bench.ask(1, 2, 3, at_s=0.25, deadline_s=0.5)
    bench.ask(4, 5, 6, 7, 8, at_s=0.25)  # refused
    await until(0.5)
    assert bench.batcher.requests_in_flight == 2
    await until(0.875)
    assert bench.batcher.requests_in_flight == 1
    await until(1.125)
    assert bench.batcher.requests_in_flight == 0


@in_virtual_time
async def test_before_anything_is_measured_a_refusal_says_one_second() -> None:
    bench = Bench(max_queued_windows=4)
    bench.ask(1)
    bench.ask(2, 3, 4, 5, at_s=0.25)
    assert await refusal(bench, 6, at_s=0.5) == 1.0


@in_virtual_time
async def test_a_refusal_says_when_the_queue_will_have_been_worked_off() -> None:
    bench = Bench(max_queued_windows=6)
    bench.call.takes_s = 2.0
    assert await bench.ask(1, 2, 3, 4) == answered(1, 2, 3, 4, at_s=2.0)  # two windows a second
    bench.ask(5, at_s=3.0)
    bench.ask(6, 7, 8, 9, 10, at_s=3.25)
    assert await refusal(bench, 11, 12, at_s=3.5) == 2.5


@in_virtual_time
async def test_two_lanes_work_a_queue_off_in_half_the_time() -> None:
    bench = Bench(concurrent_calls=2, max_queued_windows=6)
    bench.call.takes_s = 2.0
    await bench.ask(1, 2, 3, 4)  # two windows in each lane: one window a second
    bench.ask(5, 6, at_s=3.0)
    bench.ask(7, 8, 9, 10, 11, at_s=3.25)
    assert await refusal(bench, 12, 13, at_s=3.5) == 2.5


@in_virtual_time
async def test_the_rate_is_a_running_mean_over_the_calls() -> None:
    bench = Bench(max_queued_windows=5)
    bench.call.takes_s = 2.0
    await bench.ask(1, 2, 3, 4)  # 2 windows a second
    bench.call.takes_s = 4.0
    await bench.ask(5, 6, 7, 8)  # 1 window a second
    bench.ask(9)
    bench.ask(10, 11, 12, 13, 14, at_s=6.25)
    assert await refusal(bench, 15, at_s=6.5) == pytest.approx(5 / (0.9 * 2 + 0.1 * 1))


@in_virtual_time
async def test_the_rate_is_measured_by_the_clock_that_was_given() -> None:
    clock = TurnedClock()
    bench = Bench(max_queued_windows=4, clock=clock)
    first = bench.ask(1, 2, 3, 4)
    await until(0.5)
    clock.turn(8.0)
    await first
    assert bench.told == [Call(windows=4, waited_s=0.0, took_s=8.0, failed=False)]
    bench.ask(5)
    bench.ask(6, 7, 8, 9, at_s=1.25)
    assert await refusal(bench, 10, at_s=1.5) == 8.0


@in_virtual_time
async def test_when_a_queue_of_small_requests_is_worked_off_goes_by_the_lanes_that_they_have() -> None:
    bench = Bench(bulk_concurrent_calls=3, max_batch_windows=1, max_queued_windows=4)
    await bench.ask(1)
    for number in range(5):  # one is computed, four wait
        bench.ask(2 + number, at_s=1.25 + number / 64)
    assert await refusal(bench, 7, at_s=1.5) == 4.0


@in_virtual_time
async def test_calls_that_fail_or_take_no_time_say_nothing_of_the_rate() -> None:
    bench = Bench(max_queued_windows=4)
    bench.call.takes_s = 0.0
    await bench.ask(1)
    bench.call.takes_s = 1.0
    bench.call.bad = {2}
    await bench.ask(2)
    bench.ask(3)
    bench.ask(4, 5, 6, 7, at_s=1.25)
    assert await refusal(bench, 8, at_s=1.5) == 1.0


async def measured(
    *, concurrent_calls: int = 1, max_batch_windows: int = 4, takes_s: float = 1.0, max_queued_windows: int = 100
) -> Bench:
    """A batcher that has worked off two full calls a lane; the first left a queue behind, the second are counted."""
    bench = Bench(
        concurrent_calls=concurrent_calls, max_batch_windows=max_batch_windows, max_queued_windows=max_queued_windows
    )
    bench.call.takes_s = takes_s
    full = concurrent_calls * max_batch_windows
    await outcomes_of(bench.ask(*range(-full, 0)), bench.ask(*range(-2 * full, -full), at_s=takes_s / 4))
    return bench


def allowing(seconds: float) -> float:
    """The deadline for which a request is accepted that should take so long."""
    return seconds / 0.65


@in_virtual_time
async def test_who_would_be_answered_too_late_is_refused_at_once_and_told_how_much() -> None:
    bench = await measured()  # four windows a second
    asked = [bench.ask(1, 2, 3, 4, at_s=2.0), bench.ask(5, 6, 7, 8, at_s=2.25)]
    await until(2.5)
    outcome = await bench.ask(9, 10, 11, 12, at_s=2.5, deadline_s=allowing(2.0))  # 3 s for twelve
    assert outcome.kind == (Overloaded, 2.5)
    assert str(outcome.value) == "too many windows are waiting already for an answer to come in time"
    assert isinstance(outcome.value, Overloaded)
    assert outcome.value.retry_after_s == 1.0
    assert bench.batcher.queued_windows == 4
    assert bench.batcher.requests_in_flight == 2
    await outcomes_of(*asked)
    assert bench.call.seen[2:] == [(2.0, [1, 2, 3, 4]), (3.0, [5, 6, 7, 8])]


@in_virtual_time
async def test_who_would_be_answered_just_in_time_is_accepted_with_some_of_the_deadline_to_spare() -> None:
    bench = await measured()
    bench.ask(1, 2, 3, 4, at_s=2.0)
    bench.ask(5, 6, 7, 8, at_s=2.25)
    assert await refusal(bench, 9, 10, 11, 12, at_s=2.5, deadline_s=allowing(2.95)) == pytest.approx(0.05)
    asked = bench.ask(9, 10, 11, 12, at_s=2.5, deadline_s=allowing(3.05))
    assert await asked == answered(9, 10, 11, 12, at_s=5.0)


@in_virtual_time
async def test_a_smaller_request_may_still_be_in_time() -> None:
    bench = await measured()
    bench.ask(1, 2, 3, 4, at_s=2.0)
    bench.ask(5, 6, 7, at_s=2.25)
    await refusal(bench, 8, 9, at_s=2.5, deadline_s=allowing(2.1))
    assert await bench.ask(8, at_s=2.5, deadline_s=allowing(2.1)) == answered(8, at_s=4.0)


@in_virtual_time
async def test_who_states_no_deadline_is_never_too_late() -> None:
    bench = await measured()
    bench.ask(*range(50), at_s=2.0)
    asked = bench.ask(99, at_s=2.25)
    await refusal(bench, 100, at_s=2.25, deadline_s=10.0)
    assert await asked == answered(99, at_s=15.0)


@in_virtual_time
async def test_two_lanes_that_take_turns_make_it_in_half_the_time() -> None:
    bench = Bench(concurrent_calls=2)
    bench.ask(-1)
    queue = [bench.ask(*range(-4 * n, 4 - 4 * n), at_s=0.5) for n in range(2, 30)]  # a call ends every half second
    await outcomes_of(*queue)
    bench.ask(*range(8), at_s=15.0)
    bench.ask(*range(8, 16), at_s=15.25)
    assert await refusal(bench, *range(16, 24), at_s=15.5, deadline_s=allowing(2.0)) == pytest.approx(1.0, abs=0.1)
    assert await bench.ask(*range(16, 24), at_s=15.5, deadline_s=allowing(3.2)) == answered(*range(16, 24), at_s=18.0)


@in_virtual_time
async def test_while_nothing_is_in_flight_nothing_is_too_late() -> None:
    bench = await measured()
    bench.batcher.reject_early(1, 0.25)
    asked = bench.ask(1, at_s=2.5, deadline_s=0.25)
    assert (await asked).kind == (DeadlineExceeded, 2.75)  # it was tried
    assert bench.call.seen[2:] == [(2.5, [1])]


@in_virtual_time
@pytest.mark.parametrize("windows", [1, 5])
async def test_before_a_queue_was_worked_off_nobody_knows_what_is_too_late(windows: int) -> None:
    bench = Bench(max_batch_windows=5)
    await bench.ask(*range(-windows, 0))
    bench.ask(1, at_s=1.0)
    bench.ask(*range(2, 50), at_s=1.25)
    assert (await bench.ask(99, at_s=1.5, deadline_s=0.25)).kind == (DeadlineExceeded, 1.75)


@in_virtual_time
async def test_an_empty_lane_that_is_slow_does_not_lower_what_a_queue_is_known_to_take() -> None:
    bench = await measured()
    bench.call.takes_s = 8.0
    await bench.ask(1)  # an eighth of a window a second: calls that are nearly empty always are that slow
    bench.call.takes_s = 1.0
    bench.ask(2, 3, 4, 5, at_s=10.0)
    late_s = await refusal(bench, 6, 7, 8, 9, at_s=10.25, deadline_s=allowing(1.0))
    assert late_s == 1.0  # still four windows a second


@in_virtual_time
async def test_a_rate_that_was_taken_for_too_low_is_put_right_by_quicker_calls_however_empty() -> None:
    bench = await measured(takes_s=64.0)  # a sixteenth of a window a second: the machine was busy with something else
    bench.call.takes_s = 0.125

    async def is_accepted(item: int) -> bool:
        """Whether there is time for a second window beside the one in flight."""
        first, second = bench.ask(2 * item, at_s=now()), bench.ask(2 * item + 1, at_s=now(), deadline_s=2.0)
        await first
        return isinstance((await second).value, list)

    accepted = [await is_accepted(item) for item in range(40)]
    assert not any(accepted[:10])
    assert all(accepted[30:])  # the first were computed alone, and measured


@in_virtual_time
async def test_the_rate_of_a_queue_is_that_of_the_last_calls_the_latest_counting_most() -> None:
    bench = await measured()  # 4 windows in a second
    bench.call.takes_s = 2.0
    await bench.ask(*range(8))  # in two calls, of which the second ends a queue: 4 windows in 2 seconds
    rate = (0.9 * 4 + 4) / (0.9 * 1 + 2)
    bench.ask(5, 6, 7, 8, at_s=7.0)
    assert await refusal(bench, 9, 10, at_s=7.25, deadline_s=allowing(0.4)) == pytest.approx(6 / rate - 0.4)


@in_virtual_time
async def test_a_request_that_is_not_read_yet_is_refused_where_it_would_come_too_late() -> None:
    bench = await measured()  # four windows a second
    bench.ask(*range(15), at_s=2.0)
    await until(2.5)
    bench.batcher.reject_early(5, allowing((15 + 5) / 4) + 1e-9)
    bench.batcher.reject_early(1, allowing((15 + 1) / 4) + 1e-9)
    with pytest.raises(Overloaded, match="for an answer to come in time") as caught:
        bench.batcher.reject_early(5, allowing(0.8))
    assert caught.value.retry_after_s == pytest.approx((15 + 5) / 4 - 0.8)
    assert (bench.batcher.requests_in_flight, bench.batcher.windows_in_flight) == (1, 15)  # nothing has come of it


@in_virtual_time
async def test_a_request_that_is_not_read_yet_is_refused_where_it_would_have_no_room() -> None:
    bench = Bench(max_queued_windows=6)
    bench.ask(1, 2, 3, 4)
    bench.ask(5, 6, at_s=0.25)
    await until(0.5)
    bench.batcher.reject_early(4, HOUR_S)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reject_early(5, HOUR_S)
    assert str(caught.value) == "too many windows are waiting already"
    assert caught.value.retry_after_s == 1.0


@in_virtual_time
async def test_a_small_request_is_let_through_however_large_those_beside_it_are() -> None:
    bench = await measured()
    bench.ask(*range(12), at_s=2.0)
    await until(2.5)
    with pytest.raises(Overloaded):
        bench.batcher.reject_early(12, 5.0)
    bench.batcher.reject_early(1, 5.0)


@in_virtual_time
async def test_who_has_no_room_is_told_of_that_even_if_there_is_no_time_either() -> None:
    bench = await measured(max_queued_windows=4)
    bench.ask(1, 2, 3, 4, at_s=2.0)
    bench.ask(5, 6, 7, at_s=2.25)
    outcome = await bench.ask(8, 9, at_s=2.5, deadline_s=0.25)
    assert str(outcome.value) == "too many windows are waiting already"
    assert isinstance(outcome.value, Overloaded)
    assert outcome.value.retry_after_s == 0.75


async def flood(bench: Bench, sizes: Sequence[int], every_s: float, deadline_s: float) -> list[tuple[Outcome, float]]:
    """Requests of these sizes from now on, each with its time of arrival."""
    begin_s = now()
    arrivals_s = [begin_s + index * every_s for index in range(len(sizes))]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    asked = [
        bench.ask(*range(start, start + size), at_s=at_s, deadline_s=deadline_s)
        for start, size, at_s in zip(starts, sizes, arrivals_s, strict=True)
    ]
    return list(zip(await outcomes_of(*asked), arrivals_s, strict=True))


@in_virtual_time
@pytest.mark.parametrize("concurrent_calls", [1, 2])
@pytest.mark.parametrize("deadline_s", [1.0, 2.0, 5.0])
async def test_under_a_flood_whoever_is_accepted_is_answered_in_time_and_no_lane_idles(
    concurrent_calls: int, deadline_s: float
) -> None:
    bench = await measured(
        concurrent_calls=concurrent_calls, max_batch_windows=8, takes_s=0.25, max_queued_windows=8192
    )
    capacity = 32 * concurrent_calls  # windows a second
    flooded_s = 8
    outcomes = await flood(bench, [1] * (4 * capacity * flooded_s), 1 / (4 * capacity), deadline_s)
    refused_at_once = [outcome.kind == (Overloaded, arrived_s) for outcome, arrived_s in outcomes]
    in_time = [
        isinstance(outcome.value, list) and outcome.at_s <= arrived_s + deadline_s for outcome, arrived_s in outcomes
    ]
    assert all(one != other for one, other in zip(refused_at_once, in_time, strict=True))
    calls = [made for made in bench.call.made if 2 <= made.started_s < flooded_s]  # while the queue is long
    assert len(calls) == concurrent_calls * (flooded_s - 2) / 0.25
    assert {len(made.items) for made in calls} == {8}  # each lane computes full calls, one after the other


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=20, max_size=80),
    every_s=st.sampled_from([1 / 64, 1 / 16, 1 / 4]),
    concurrent_calls=st.integers(1, 3),
    deadline_s=st.sampled_from([2.5, 5.0]),
)
def test_whatever_comes_nobody_who_is_accepted_waits_in_vain(
    sizes: list[int], every_s: float, concurrent_calls: int, deadline_s: float
) -> None:
    async def scenario() -> None:
        bench = await measured(
            concurrent_calls=concurrent_calls, max_batch_windows=8, takes_s=0.25, max_queued_windows=8192
        )
        for outcome, arrived_s in await flood(bench, sizes, every_s, deadline_s):
            assert isinstance(outcome.value, list) or outcome.kind == (Overloaded, arrived_s)

    run(scenario())


# 4. Each caller gets its own results, once; who has left is dropped before the call, and nobody else notices.


@in_virtual_time
async def test_each_caller_gets_its_own_results_and_each_window_is_computed_once() -> None:
    bench = Bench(concurrent_calls=2, max_batch_windows=5)
    sizes = [1, 3, 12, 2, 1, 7, 5]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    asked = [bench.ask(*range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    outcomes = await outcomes_of(*asked)
    assert [outcome.value for outcome in outcomes] == [
        [answer(item) for item in range(start, start + size)] for start, size in zip(starts, sizes, strict=True)
    ]
    assert [item for _, items in bench.call.seen for item in items] == list(range(sum(sizes)))


@in_virtual_time
async def test_who_cancels_while_waiting_is_dropped_before_the_call_and_frees_its_room() -> None:
    bench = Bench(max_queued_windows=4)
    first, leaver, mate = bench.ask(1), bench.ask(2, 3, at_s=0.25), bench.ask(4, 5, at_s=0.25)
    await until(0.5)
    assert bench.batcher.queued_windows == 4
    leaver.cancel()
    assert await cancelled(leaver)
    assert bench.batcher.queued_windows == 2
    late = bench.ask(6, 7, at_s=0.75)
    assert await first == answered(1, at_s=1.0)
    assert await mate == answered(4, 5, at_s=2.0)
    assert await late == answered(6, 7, at_s=2.0)
    assert bench.call.seen == [(0.0, [1]), (1.0, [4, 5, 6, 7])]


@in_virtual_time
async def test_who_cancels_while_computing_disturbs_no_mate() -> None:
    bench = Bench()
    before, leaver, after = bench.ask(1), bench.ask(2), bench.ask(3)
    await until(0.5)
    leaver.cancel()
    assert await cancelled(leaver)
    assert now() == 0.5
    assert await outcomes_of(before, after) == [answered(1, at_s=1.0), answered(3, at_s=1.0)]
    assert bench.told == [Call(windows=3, waited_s=0.0, took_s=1.0, failed=False)]
    assert bench.batcher.healthy


@in_virtual_time
async def test_the_pieces_of_who_cancels_that_still_wait_are_never_computed() -> None:
    bench = Bench()
    large, mate = bench.ask(*range(10)), bench.ask(10)
    await until(0.5)
    assert bench.batcher.queued_windows == 7
    large.cancel()
    assert await cancelled(large)
    assert bench.batcher.queued_windows == 1
    assert await mate == answered(10, at_s=2.0)
    assert bench.call.seen == [(0.0, [0, 1, 2, 3]), (1.0, [10])]


@in_virtual_time
async def test_who_cancels_between_dispatch_and_call_is_not_computed() -> None:
    bench = Bench()
    leaver = asyncio.create_task(bench.batcher.submit([1]))
    await asyncio.sleep(0)  # it has been dispatched, and its call is the next thing to happen
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert await bench.ask(2, at_s=0.5) == answered(2, at_s=1.5)
    assert bench.call.seen == [(0.5, [2])]
    assert len(bench.told) == 1


@in_virtual_time
async def test_who_leaves_at_the_moment_of_the_call_is_passed_over_and_takes_no_room_from_those_behind() -> None:
    bench = Bench()
    first = bench.ask(1)
    leaver, behind = bench.ask(2, 3, at_s=0.5), bench.ask(4, 5, 6, 7, at_s=0.75)
    await until(0.875)
    asyncio.get_running_loop().call_at(1.0, leaver.cancel)  # the call ended first: the lane goes on before they leave
    assert await cancelled(leaver)
    assert await outcomes_of(first, behind) == [answered(1, at_s=1.0), answered(4, 5, 6, 7, at_s=2.0)]
    assert bench.call.seen == [(0.0, [1]), (1.0, [4, 5, 6, 7])]


@in_virtual_time
async def test_if_all_leave_at_the_moment_of_the_call_there_is_none() -> None:
    bench = Bench()
    first, leaver = bench.ask(1), bench.ask(2, at_s=0.5)
    await until(0.875)
    asyncio.get_running_loop().call_at(1.0, leaver.cancel)
    assert await cancelled(leaver)
    assert await first == answered(1, at_s=1.0)
    assert bench.batcher.queued_windows == 0
    assert await bench.ask(3, at_s=1.25) == answered(3, at_s=2.25)
    assert bench.call.seen == [(0.0, [1]), (1.25, [3])]


@in_virtual_time
async def test_nobody_minds_that_the_call_fails_of_who_has_left() -> None:
    bench = Bench()
    bench.call.bad = {1}
    leaver = bench.ask(1)
    await until(0.5)
    leaver.cancel()
    assert await cancelled(leaver)
    assert await bench.ask(2, at_s=0.75) == answered(2, at_s=2.0)
    assert bench.batcher.healthy


@in_virtual_time
async def test_a_deadline_that_passes_in_the_queue_drops_the_request_and_frees_its_room() -> None:
    bench = Bench(max_queued_windows=4)
    first, hasty, mate = bench.ask(1), bench.ask(2, 3, at_s=0.125, deadline_s=0.5), bench.ask(4, 5, at_s=0.125)
    late = bench.ask(6, 7, at_s=0.75)
    outcome = await hasty
    assert outcome.kind == (DeadlineExceeded, 0.625)
    assert str(outcome.value) == "no forecast within 0.5 s"
    assert bench.batcher.queued_windows == 2
    assert await outcomes_of(first, mate, late) == [
        answered(1, at_s=1.0),
        answered(4, 5, at_s=2.0),
        answered(6, 7, at_s=2.0),
    ]
    assert bench.call.seen == [(0.0, [1]), (1.0, [4, 5, 6, 7])]


@in_virtual_time
async def test_a_deadline_covers_queue_and_computing_together() -> None:
    bench = Bench()
    first, hasty, mate = bench.ask(1), bench.ask(2, at_s=0.25, deadline_s=1.5), bench.ask(3, at_s=0.25, deadline_s=2.0)
    assert (await hasty).kind == (DeadlineExceeded, 1.75)
    assert await first == answered(1, at_s=1.0)
    assert await mate == answered(3, at_s=2.0)
    assert bench.call.seen == [(0.0, [1]), (1.0, [2, 3])]


@in_virtual_time
async def test_a_deadline_of_a_hanging_call_is_kept() -> None:
    bench = Bench()
    bench.call.hangs = True
    assert (await bench.ask(1, deadline_s=HOUR_S)).kind == (DeadlineExceeded, HOUR_S)


def test_an_answered_request_leaves_no_deadline_behind() -> None:
    ends_s: list[float] = []

    async def scenario() -> None:
        await Bench().ask(1, deadline_s=HOUR_S)
        try:
            await asyncio.Event().wait()
        finally:
            ends_s.append(now())

    with pytest.raises(Deadlock):  # at once: no timer is left to jump to
        run(scenario())
    assert ends_s == [1.0]


@in_virtual_time
async def test_the_pieces_of_who_ran_out_of_time_are_never_computed() -> None:
    bench = Bench()
    large, mate = bench.ask(*range(10), deadline_s=1.5), bench.ask(10)
    assert (await large).kind == (DeadlineExceeded, 1.5)
    assert bench.batcher.queued_windows == 1
    assert await mate == answered(10, at_s=3.0)
    assert bench.call.seen == [(0.0, [0, 1, 2, 3]), (1.0, [4, 5, 6, 7]), (2.0, [10])]


# 5. A call that fails is repeated in halves until the request that fails is alone.


@in_virtual_time
async def test_a_lone_request_that_fails_gets_the_very_exception_of_the_call() -> None:
    bench = Bench()
    bench.call.bad = {2}
    outcome = await bench.ask(1, 2)
    assert outcome.kind == (BadItems, 1.0)
    assert str(outcome.value) == "cannot compute [2]"
    assert bench.call.seen == [(0.0, [1, 2])]  # one request is not cut, and not tried again
    assert bench.batcher.healthy
    assert await bench.ask(3, at_s=2.0) == answered(3, at_s=3.0)


@in_virtual_time
async def test_a_failing_request_is_found_by_halves_and_fails_alone() -> None:
    bench = Bench(max_batch_windows=8)
    bench.call.bad = {4}
    one, two, three, bad, five = await outcomes_of(*[bench.ask(item) for item in range(1, 6)])
    assert bench.call.seen == [
        (0.0, [1, 2, 3, 4, 5]),
        (1.0, [1, 2]),
        (2.0, [3, 4, 5]),
        (3.0, [3]),
        (4.0, [4, 5]),
        (5.0, [4]),
        (6.0, [5]),
    ]
    assert [one, two] == [answered(1, at_s=2.0), answered(2, at_s=2.0)]
    assert three == answered(3, at_s=4.0)
    assert five == answered(5, at_s=7.0)
    assert bad.kind == (BadItems, 6.0)
    assert isinstance(bad.value, BadItems)
    assert bad.value.items == [4]


@in_virtual_time
async def test_each_of_two_failing_requests_gets_its_own_exception() -> None:
    bench = Bench(max_batch_windows=8)
    bench.call.bad = {2, 6}
    outcomes = await outcomes_of(bench.ask(1, 2), bench.ask(3), bench.ask(4, 5), bench.ask(6))
    assert [str(outcome.value) for outcome in outcomes] == [
        "cannot compute [2]",
        "['<3>']",
        "['<4>', '<5>']",
        "cannot compute [6]",
    ]


@in_virtual_time
async def test_what_arrives_while_halves_are_repeated_waits_for_the_lane() -> None:
    bench = Bench()
    bench.call.bad = {2}
    bad, mate, late = bench.ask(2), bench.ask(3), bench.ask(4, at_s=0.5)
    assert await outcomes_of(mate, late) == [answered(3, at_s=3.0), answered(4, at_s=4.0)]
    assert (await bad).kind == (BadItems, 2.0)


@in_virtual_time
async def test_who_left_during_a_call_that_failed_is_dropped_and_those_who_stayed_are_not_blamed() -> None:
    bench = Bench()
    bench.call.bad = {1}
    leaver, mate = bench.ask(1), bench.ask(2)
    await until(0.5)
    leaver.cancel()
    assert await mate == answered(2, at_s=2.0)
    assert bench.call.seen == [(0.0, [1, 2]), (1.0, [2])]


@in_virtual_time
async def test_who_leaves_while_halves_are_repeated_is_dropped_from_them() -> None:
    bench = Bench()
    bench.call.bad = {1}
    asked = [bench.ask(1), bench.ask(2), bench.ask(3, deadline_s=1.5), bench.ask(4, deadline_s=1.25)]
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [
        (BadItems, 3.0),
        (list, 4.0),
        (DeadlineExceeded, 1.5),
        (DeadlineExceeded, 1.25),
    ]
    assert bench.call.seen == [(0.0, [1, 2, 3, 4]), (1.0, [1, 2]), (2.0, [1]), (3.0, [2])]


@in_virtual_time
async def test_a_larger_request_fails_as_a_whole_with_its_first_failing_piece() -> None:
    bench = Bench()
    bench.call.bad = {5}
    large, mate = bench.ask(*range(1, 15)), bench.ask(20)
    assert (await large).kind == (BadItems, 2.0)
    assert await mate == answered(20, at_s=3.0)
    assert bench.call.seen == [(0.0, [1, 2, 3, 4]), (1.0, [5, 6, 7, 8]), (2.0, [20])]  # and no more of the failed one


@in_virtual_time
async def test_a_wrong_number_of_results_fails_a_lone_request() -> None:
    bench = Bench()
    bench.call.lost = {2}
    outcome = await bench.ask(1, 2, 3)
    assert outcome.kind == (EngineFailed, 1.0)
    assert str(outcome.value) == "3 windows went in, 2 forecasts came out"


@in_virtual_time
async def test_a_wrong_number_of_results_is_given_to_nobody_and_told_apart_by_halves() -> None:
    bench = Bench()
    bench.call.lost = {2}
    one, lost, three = await outcomes_of(bench.ask(1), bench.ask(2), bench.ask(3))
    assert one == answered(1, at_s=2.0)
    assert lost.kind == (EngineFailed, 4.0)
    assert three == answered(3, at_s=5.0)


@in_virtual_time
async def test_an_engine_call_cancelled_from_outside_has_failed_like_any_other() -> None:
    seen: list[list[int]] = []

    async def gives_up(items: list[int]) -> list[str]:
        seen.append(items)
        if 1 in items:
            raise asyncio.CancelledError  # as an executor does that was shut down with `cancel_futures`
        return [answer(item) for item in items]

    batcher = Batcher(gives_up, concurrent_calls=1, max_batch_windows=4, max_queued_windows=100)
    one, two = [asyncio.create_task(batcher.submit([item])) for item in (1, 2)]
    with pytest.raises(EngineFailed, match="the engine call was cancelled"):
        await one
    assert await two == [answer(2)]
    assert seen == [[1, 2], [1], [2]]
    assert batcher.healthy


@in_virtual_time
async def test_each_call_is_told_with_its_windows_and_times() -> None:
    bench = Bench()
    bench.call.bad = {6}
    bench.call.takes_s_per_item = 0.5
    await outcomes_of(bench.ask(1, 2), bench.ask(3, 4, 5, at_s=0.5), bench.ask(6, at_s=1.0))
    assert bench.told == [
        Call(windows=2, waited_s=0.0, took_s=2.0, failed=False),
        Call(windows=4, waited_s=1.5, took_s=3.0, failed=True),
        Call(windows=2, waited_s=4.5, took_s=2.0, failed=False),
        Call(windows=2, waited_s=6.5, took_s=2.0, failed=True),
        Call(windows=1, waited_s=8.5, took_s=1.5, failed=False),
        Call(windows=1, waited_s=9.5, took_s=1.5, failed=True),
    ]


@in_virtual_time
async def test_without_anyone_to_tell_it_works_just_as_well() -> None:
    batcher = Batcher(FakeCall(), concurrent_calls=1, max_batch_windows=4, max_queued_windows=100)
    assert await batcher.submit([1, 2]) == ["<1>", "<2>"]
    assert now() == 1.0


# 6. If the bookkeeping itself fails, every waiter fails with it.


async def assert_dead(bench: Bench, error: BaseException) -> None:
    """It says so, once, and takes nothing more."""
    assert not bench.batcher.healthy
    assert bench.deaths == [error]
    assert bench.batcher.queued_windows == 0
    seen = len(bench.call.seen)
    died_s = now()
    assert (await bench.ask(99, at_s=died_s)).kind == (NotReady, died_s)
    await until(died_s + HOUR_S)
    assert bench.deaths == [error]
    assert len(bench.call.seen) == seen


@in_virtual_time
async def test_a_batcher_is_healthy_while_it_works() -> None:
    bench = Bench()
    assert bench.batcher.healthy
    await bench.ask(1)
    assert bench.batcher.healthy
    assert bench.deaths == []


@in_virtual_time
async def test_if_telling_a_call_fails_every_waiter_fails() -> None:
    error = LookupError("no such metric")

    def breaks(call: Call) -> None:
        raise error

    bench = Bench(concurrent_calls=2, max_batch_windows=1, on_call=breaks)
    asked = [bench.ask(1), bench.ask(2), bench.ask(3), bench.ask(4, 5)]
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 1.0)] * 4
    await assert_dead(bench, error)  # once, though the other lane fails in the same way


@in_virtual_time
async def test_if_telling_who_joined_fails_every_waiter_fails() -> None:
    error = LookupError("no such metric")

    def breaks(windows: int) -> None:
        raise error

    bench = Bench(on_joined=breaks)
    asked = [bench.ask(1), bench.ask(2, at_s=0.25), bench.ask(1, 3, at_s=0.5)]
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 0.5)] * 3
    assert bench.batcher.requests_in_flight == 0
    await assert_dead(bench, error)


@in_virtual_time
async def test_if_the_clock_fails_after_a_call_every_waiter_fails() -> None:
    clock = TurnedClock(follows=now)
    bench = Bench(clock=clock)
    asked = [bench.ask(1), bench.ask(2, 3)]
    await until(0.5)
    clock.broken = OSError("no clock")
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 1.0)] * 2
    await assert_dead(bench, clock.broken)


@in_virtual_time
async def test_if_the_clock_fails_when_a_delay_is_over_every_waiter_fails() -> None:
    clock = TurnedClock(follows=now)
    bench = Bench(delay_s=0.5, clock=clock)
    asked = [bench.ask(1), bench.ask(2)]
    await until(0.25)
    clock.broken = OSError("no clock")
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 0.5)] * 2
    assert bench.call.seen == []
    await assert_dead(bench, clock.broken)


@in_virtual_time
async def test_if_the_clock_fails_at_an_arrival_every_waiter_fails() -> None:
    clock = TurnedClock(follows=now)
    bench = Bench(clock=clock)
    asked = [bench.ask(1), bench.ask(2), bench.ask(3, at_s=0.5)]
    await until(0.25)
    clock.broken = OSError("no clock")
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 0.5)] * 3
    await assert_dead(bench, clock.broken)


@in_virtual_time
async def test_if_telling_the_death_fails_every_waiter_fails_all_the_same() -> None:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context["exception"]))
    error = LookupError("nobody to tell")

    def breaks(told: object) -> None:
        raise error

    batcher = Batcher(
        FakeCall(), concurrent_calls=1, max_batch_windows=4, max_queued_windows=100, on_call=breaks, on_death=breaks
    )
    with pytest.raises(NotReady):
        await batcher.submit([1])
    assert not batcher.healthy
    assert set(unseen) <= {error}  # whether or not it is handed on


@in_virtual_time
async def test_a_call_that_still_runs_when_the_batcher_dies_is_answered_to_nobody() -> None:
    clock = TurnedClock(follows=now)
    bench = Bench(concurrent_calls=2, clock=clock)
    asked = [bench.ask(1), bench.ask(2, at_s=0.5)]
    await until(0.75)
    clock.broken = OSError("no clock")
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 1.0)] * 2
    error, clock.broken = clock.broken, None  # so that the second call ends in good order
    await assert_dead(bench, error)
    assert [made.ended_s for made in bench.call.made] == [1.0, 1.5]


@in_virtual_time
async def test_if_somebody_cancels_a_lane_every_waiter_fails() -> None:
    bench = Bench(concurrent_calls=2)
    asked = [bench.ask(1), bench.ask(2), bench.ask(3, at_s=0.25)]
    await until(0.5)
    lane, *_ = asyncio.all_tasks() - {asyncio.current_task(), *asked}
    lane.cancel()
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(NotReady, 0.5)] * 3
    assert isinstance(bench.deaths[0], asyncio.CancelledError)
    await assert_dead(bench, bench.deaths[0])


@in_virtual_time
async def test_who_waits_for_a_lane_that_somebody_cancels_does_not_sit_out_the_drain() -> None:
    bench = Bench()
    asked = bench.ask(1)
    await until(0.25)
    (lane,) = asyncio.all_tasks() - {asyncio.current_task(), asked}
    asyncio.get_running_loop().call_at(0.5, lane.cancel)
    await bench.batcher.close(HOUR_S)
    assert (await asked).kind == (NotReady, 0.5)
    assert now() == 0.5


@in_virtual_time
async def test_a_dead_batcher_closes_at_once() -> None:
    clock = TurnedClock(follows=now)
    bench = Bench(clock=clock)
    asked = bench.ask(1)
    await until(0.5)
    clock.broken = OSError("no clock")
    await asked
    await bench.batcher.close(HOUR_S)
    assert now() == 1.0
    assert (await bench.ask(2, at_s=1.0)).kind == (NotReady, 1.0)


# 7. `close` refuses new work, lets what was accepted finish until a deadline, and fails the rest.


@in_virtual_time
async def test_closing_refuses_new_work_and_waits_for_what_was_accepted() -> None:
    bench = Bench()
    first, waiting, late = bench.ask(1), bench.ask(2, 3, at_s=0.25), bench.ask(4, at_s=0.75)
    await until(0.5)
    await bench.batcher.close(HOUR_S)
    assert now() == 2.0
    assert await outcomes_of(first, waiting) == [answered(1, at_s=1.0), answered(2, 3, at_s=2.0)]
    assert (await late).kind == (Draining, 0.75)
    assert bench.call.seen == [(0.0, [1]), (1.0, [2, 3])]
    assert not bench.batcher.healthy


@in_virtual_time
async def test_what_is_not_done_by_the_deadline_of_closing_fails() -> None:
    bench = Bench()
    asked = [bench.ask(1), bench.ask(2, at_s=0.125), bench.ask(*range(3, 9), at_s=0.125)]
    await until(0.25)
    await bench.batcher.close(1.0)
    assert now() == 1.25
    outcomes = await outcomes_of(*asked)
    assert [outcome.kind for outcome in outcomes] == [(list, 1.0), (Draining, 1.25), (Draining, 1.25)]
    assert bench.batcher.queued_windows == 0
    await asyncio.sleep(HOUR_S)
    assert bench.call.seen == [(0.0, [1]), (1.0, [2, 3, 4, 5])]
    assert bench.call.made[1].ended_s is None  # it was cancelled
    assert bench.deaths == []  # which is no death
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_closing_does_not_sit_out_the_delay() -> None:
    bench = Bench(delay_s=HOUR_S)
    asked = bench.ask(1)
    await until(0.5)
    await bench.batcher.close(10.0)
    assert await asked == answered(1, at_s=1.5)
    assert now() == 1.5


@in_virtual_time
async def test_closing_when_idle_returns_at_once() -> None:
    bench = Bench()
    await bench.batcher.close(HOUR_S)
    assert now() == 0.0
    assert (await bench.ask(1)).kind == (Draining, 0.0)
    assert bench.call.seen == []


@in_virtual_time
async def test_closing_without_patience_fails_what_is_open_at_once() -> None:
    bench = Bench()
    asked = bench.ask(1)
    await until(0.5)
    await bench.batcher.close(0.0)
    assert (await asked).kind == (Draining, 0.5)


@in_virtual_time
async def test_a_call_whose_callers_have_all_left_is_not_waited_for() -> None:
    bench = Bench()
    bench.call.hangs = True
    leaver = bench.ask(1)
    await until(0.5)
    leaver.cancel()
    assert await cancelled(leaver)
    await bench.batcher.close(HOUR_S)
    assert now() == 0.5
    await asyncio.sleep(1)
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_closing_twice_is_fine() -> None:
    bench = Bench()
    asked = bench.ask(1)
    await until(0.5)
    await asyncio.gather(bench.batcher.close(HOUR_S), bench.batcher.close(HOUR_S))
    assert now() == 1.0
    assert await asked == answered(1, at_s=1.0)
    await bench.batcher.close(HOUR_S)
    assert now() == 1.0


@in_virtual_time
async def test_the_shortest_of_two_closings_ends_it() -> None:
    bench = Bench()
    bench.call.hangs = True
    asked = bench.ask(1)
    await until(0.5)
    await asyncio.gather(bench.batcher.close(HOUR_S), bench.batcher.close(1.0))
    assert now() == 1.5
    assert (await asked).kind == (Draining, 1.5)


# 8. Identical windows in flight are computed once.


@in_virtual_time
async def test_who_asks_for_what_waits_or_is_being_computed_joins() -> None:
    bench = Bench()
    asked = [
        bench.ask(1, 7),
        bench.ask(7, at_s=0.25),  # is being computed
        bench.ask(2, 3, at_s=0.25),
        bench.ask(3, 7, 4, 3, at_s=0.5),  # one waits, one is being computed, one is new; and one of its own again
    ]
    assert await outcomes_of(*asked) == [
        answered(1, 7, at_s=1.0),
        answered(7, at_s=1.0),
        answered(2, 3, at_s=2.0),
        answered(3, 7, 4, 3, at_s=2.0),
    ]
    assert bench.call.seen == [(0.0, [1, 7]), (1.0, [2, 3, 4])]
    assert bench.joined == [1, 3]


@in_virtual_time
async def test_a_window_that_is_twice_in_one_request_is_computed_once_and_answers_both() -> None:
    bench = Bench(max_batch_windows=1)
    assert await bench.ask(7, 7, 1) == answered(7, 7, 1, at_s=2.0)
    assert bench.call.seen == [(0.0, [7]), (1.0, [1])]
    assert bench.joined == [1]


@in_virtual_time
async def test_what_has_been_answered_is_not_remembered() -> None:
    bench = Bench()
    await bench.ask(1)
    assert await bench.ask(1, at_s=1.0) == answered(1, at_s=2.0)
    assert bench.joined == []


@in_virtual_time
async def test_who_joins_takes_no_room_in_the_queue() -> None:
    bench = Bench(max_queued_windows=2)
    bench.ask(1)
    bench.ask(2, 3, at_s=0.25)
    await refusal(bench, 4, at_s=0.5)
    await refusal(bench, 1, 2, 4, 4, at_s=0.5)
    joined = bench.ask(1, 2, 3, 3, at_s=0.5)
    await until(0.75)
    assert bench.batcher.queued_windows == 2
    assert await joined == answered(1, 2, 3, 3, at_s=2.0)
    assert bench.joined == [4]  # and nothing of those that were refused


@in_virtual_time
async def test_who_joins_takes_no_time() -> None:
    bench = await measured()  # four windows a second
    bench.ask(*range(4), at_s=2.0)
    bench.ask(*range(4, 8), at_s=2.25)
    joined = bench.ask(*range(8), at_s=2.5, deadline_s=1.75)  # though all it asks for will be there at 4.0 only
    assert (await bench.ask(0, 1, at_s=2.5, deadline_s=0.75)).kind == (list, 3.0)
    assert await joined == answered(*range(8), at_s=4.0)


@in_virtual_time
async def test_only_what_is_new_in_a_request_takes_time_and_once() -> None:
    bench = await measured()
    bench.ask(*range(4), at_s=2.0)
    bench.ask(*range(4, 8), at_s=2.25)
    late_s = await refusal(bench, 0, 4, 8, 8, 9, at_s=2.5, deadline_s=allowing(2.0))
    assert late_s == 0.5  # two more than eight
    assert await bench.ask(*range(8), 8, 8, 8, 8, at_s=2.5, deadline_s=allowing(2.4)) == Outcome(
        [answer(item) for item in (*range(8), 8, 8, 8, 8)], 5.0
    )


@in_virtual_time
async def test_what_two_wait_for_is_computed_for_the_one_who_stays() -> None:
    bench = Bench()
    first, leaver, stays = bench.ask(1), bench.ask(2, 3, at_s=0.25), bench.ask(3, at_s=0.5)
    await until(0.75)
    leaver.cancel()
    assert await outcomes_of(first, stays) == [answered(1, at_s=1.0), answered(3, at_s=2.0)]
    assert bench.call.seen == [(0.0, [1]), (1.0, [3])]


@in_virtual_time
async def test_who_joins_what_is_being_computed_keeps_it_when_the_first_to_ask_leaves() -> None:
    bench = Bench()
    leaver, joined = bench.ask(1), bench.ask(1, at_s=0.25)
    await until(0.5)
    leaver.cancel()
    assert await joined == answered(1, at_s=1.0)
    assert bench.call.seen == [(0.0, [1])]


@in_virtual_time
async def test_all_who_asked_for_a_window_that_fails_fail_and_who_asks_again_gets_another_try() -> None:
    bench = Bench()
    bench.call.bad = {1}
    first, joined = bench.ask(1), bench.ask(1, at_s=0.5)
    outcomes = await outcomes_of(first, joined)
    assert [outcome.kind for outcome in outcomes] == [(BadItems, 1.0)] * 2
    bench.call.bad = set()
    assert await bench.ask(1, at_s=1.0) == answered(1, at_s=2.0)


@in_virtual_time
async def test_who_joins_one_window_of_a_request_does_not_fail_for_the_others() -> None:
    bench = Bench()
    bench.call.bad = {2}
    asked, joined = bench.ask(1, 2), bench.ask(1, at_s=0.5)
    assert await joined == answered(1, at_s=2.0)
    assert (await asked).kind == (BadItems, 3.0)
    assert bench.call.seen == [(0.0, [1, 2]), (1.0, [1]), (2.0, [2])]


@in_virtual_time
async def test_what_was_dropped_while_halves_were_repeated_can_be_asked_for_again() -> None:
    bench = Bench()
    bench.call.bad = {1}
    bad, leaver = bench.ask(1), bench.ask(2)
    await until(1.5)  # the first half is repeated, and the second has no caller left when its turn comes
    leaver.cancel()
    assert (await bad).kind == (BadItems, 2.0)
    assert await bench.ask(2, at_s=2.25) == answered(2, at_s=3.25)


@in_virtual_time
async def test_who_joins_a_half_that_waits_for_its_turn_is_answered_with_it() -> None:
    bench = Bench()
    bench.call.bad = {1}
    bad, leaver, joined = bench.ask(1), bench.ask(2), bench.ask(2, at_s=1.5)
    await until(1.75)
    leaver.cancel()
    assert await joined == answered(2, at_s=3.0)
    assert (await bad).kind == (BadItems, 2.0)
    assert bench.call.seen == [(0.0, [1, 2]), (1.0, [1]), (2.0, [2])]
