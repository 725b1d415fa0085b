"""The windows that a batcher has accepted: those that wait for an engine call and those being computed."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


class PendingRequest(Generic[Item, Result]):
    """One caller's items and the results received so far.

    Args:
        items: At least one item.
        future: Completed with one result per item, in order, or failed.
    """

    __slots__ = ("future", "items", "missing", "results")

    def __init__(self, items: Sequence[Item], future: "asyncio.Future[list[Result]]") -> None:
        self.items = items
        self.future = future
        self.missing = len(items)
        self.results: list[Result | None] = [None] * len(items)

    def set_result(self, index: int, result: Result) -> None:
        """Store the result of one item. The last one completes the request."""
        self.results[index] = result
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.results)  # type: ignore[arg-type]  # none is missing, so none is None

    def fail(self, error: Exception) -> None:
        """Fail the request unless it is already done."""
        if not self.future.done():
            self.future.set_exception(error)


class PendingWindow(Generic[Item, Result]):
    """One distinct item in flight, and all requests that wait for its result.

    Args:
        item: What the engine computes.
        arrived_s: When the first of the requests arrived.
    """

    __slots__ = ("arrived_s", "item", "requests")

    def __init__(self, item: Item, arrived_s: float) -> None:
        self.item = item
        self.arrived_s = arrived_s
        self.requests: list[tuple[PendingRequest[Item, Result], int]] = []  # with the item's index in the request

    def active_requests(self) -> list[PendingRequest[Item, Result]]:
        """Return the requests that are not done, cancelled or expired."""
        return [request for request, _ in self.requests if not request.future.done()]


class WindowQueue(Generic[Item, Result]):
    """All windows in flight, each distinct item once.

    Attributes:
        waiting: Windows that wait for a call, oldest first. A dict, because identical items join and cancelled requests
            leave anywhere in the queue.
        computing: Windows in a call, including those of a failed call that wait for their retry.
    """

    def __init__(self) -> None:
        self.waiting: dict[Item, PendingWindow[Item, Result]] = {}
        self.computing: dict[Item, PendingWindow[Item, Result]] = {}

    @property
    def windows_in_flight(self) -> int:
        """Number of windows that wait or are being computed."""
        return len(self.waiting) + len(self.computing)

    def add(self, request: PendingRequest[Item, Result], arrived_s: float) -> int:
        """Attach each item to an identical window in flight, or append it to the queue.

        Returns:
            The number of items that were attached to a window already in flight.
        """
        attached = 0
        for index, item in enumerate(request.items):
            window = self.computing.get(item) or self.waiting.get(item)
            if window is None:
                window = self.waiting[item] = PendingWindow(item, arrived_s)
            else:
                attached += 1
            window.requests.append((request, index))
        return attached

    def remove(self, request: PendingRequest[Item, Result]) -> None:
        """Remove a request from the queue, together with the windows that only this request waits for."""
        for item in request.items:
            window = self.waiting.get(item)
            if window is not None:
                window.requests = [entry for entry in window.requests if entry[0] is not request]
                if not window.requests:
                    del self.waiting[item]

    def count_new(self, items: Sequence[Item]) -> int:
        """Count the distinct items that are not in flight yet."""
        return len(set(items).difference(self.waiting, self.computing))

    def take(self, max_windows: int) -> list[PendingWindow[Item, Result]]:
        """Move up to `max_windows` of the oldest windows from waiting to computing.

        Windows without an active request are dropped on the way.
        """
        taken: list[PendingWindow[Item, Result]] = []
        abandoned: list[PendingWindow[Item, Result]] = []
        for window in self.waiting.values():
            if len(taken) == max_windows:
                break
            (taken if window.active_requests() else abandoned).append(window)
        for window in abandoned:
            del self.waiting[window.item]
        for window in taken:
            self.computing[window.item] = self.waiting.pop(window.item)
        return taken
