"""A harness for tests of the batcher: makes requests at given virtual times and records what the batcher does."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.errors import Overloaded
from app.serving.batcher import Batcher, Call
from tests.fakes import FakeEngineCall, result_of
from tests.virtual_time import now, sleep_until

HOUR_S = 3600.0
PREDICTABLE_SHARE = 0.65  # of a deadline; not imported from the service, so that a changed share fails tests


class Outcome(NamedTuple):
    """How a request ended: its results or its error, and when."""

    value: list[str] | Exception
    at_s: float

    @property
    def type_and_time(self) -> tuple[type, float]:
        """The type of the value, and the time."""
        return type(self.value), self.at_s


def succeeded(*items: int, at_s: float) -> Outcome:
    """Return the outcome of a request that gets the results of its items."""
    return Outcome([result_of(item) for item in items], at_s)


class BatcherHarness:
    """A batcher with a fake engine call. Must be created on the event loop that runs the test.

    Attributes:
        call: The fake engine call. It takes 1 s unless that is changed.
        reported: The calls that the batcher reported.
        coalesced: The numbers of coalesced windows that it reported.
        deaths: The errors that it reported as its death.
    """

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
        on_coalesced: Callable[[int], None] | None = None,
    ) -> None:
        self.call = FakeEngineCall(duration_s=1.0)
        self.reported: list[Call] = []
        self.coalesced: list[int] = []
        self.deaths: list[BaseException] = []
        self.batcher = Batcher(
            self.call,
            concurrent_calls=concurrent_calls,
            bulk_concurrent_calls=bulk_concurrent_calls,
            max_batch_windows=max_batch_windows,
            max_queued_windows=max_queued_windows,
            delay_s=delay_s,
            clock=clock,
            on_call=on_call or self.reported.append,
            on_coalesced=on_coalesced or self.coalesced.append,
            on_death=self.deaths.append,
        )

    def request(self, *items: int, at_s: float = 0.0, deadline_s: float | None = None) -> "asyncio.Task[Outcome]":
        """Start a request that arrives at `at_s`. Requests at 0 s arrive in the order in which they are started."""
        return asyncio.create_task(self._request(items, at_s, deadline_s))

    async def _request(self, items: Sequence[int], at_s: float, deadline_s: float | None) -> Outcome:
        await sleep_until(at_s)
        try:
            return Outcome(await self.batcher.submit(items, deadline_s), now())
        except Exception as error:
            return Outcome(error, now())


async def is_cancelled(request: "asyncio.Task[Outcome]") -> bool:
    """Wait for the end of a request, and return whether it was cancelled."""
    await asyncio.wait([request])
    return request.cancelled()


async def outcomes_of(*requests: "asyncio.Task[Outcome]") -> list[Outcome]:
    """Wait for all requests, and return their outcomes."""
    return await asyncio.gather(*requests)


async def assert_rejected(harness: BatcherHarness, *items: int, at_s: float, deadline_s: float | None = None) -> float:
    """Make a request that must be rejected immediately, and return its `retry_after_s`."""
    outcome = await harness.request(*items, at_s=at_s, deadline_s=deadline_s)
    assert isinstance(outcome.value, Overloaded)
    assert outcome.at_s == at_s
    return outcome.value.retry_after_s


async def measured_harness(
    *, concurrent_calls: int = 1, max_batch_windows: int = 4, duration_s: float = 1.0, max_queued_windows: int = 100
) -> BatcherHarness:
    """Create a harness whose batcher has measured its drain rate.

    Each concurrent call has run twice with full batches. The first calls left a queue behind, and draining that queue
    was measured.
    """
    harness = BatcherHarness(
        concurrent_calls=concurrent_calls, max_batch_windows=max_batch_windows, max_queued_windows=max_queued_windows
    )
    harness.call.duration_s = duration_s
    full = concurrent_calls * max_batch_windows
    await outcomes_of(harness.request(*range(-full, 0)), harness.request(*range(-2 * full, -full), at_s=duration_s / 4))
    return harness


def deadline_for(predicted_s: float) -> float:
    """Return the shortest deadline for which a request with this predicted delay is accepted."""
    return predicted_s / PREDICTABLE_SHARE
