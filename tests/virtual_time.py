"""An event loop whose time is virtual: where nothing is ready, its clock jumps to the next timer instead of sleeping.

An hour costs as much as a millisecond, and the times a test sees are exact (to the bit, where they are sums of binary
fractions such as 0.25). There is no I/O to wait for and there are no threads: `run_in_executor` has no place here.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Returned = TypeVar("Returned")
Parameters = ParamSpec("Parameters")

END_S = 2.0**22  # 48 days: not far beyond it asyncio's tolerance of 1 ns is lost in rounding, and timers never fire


class Deadlock(Exception):
    """Nothing is ready and nothing is scheduled: whoever still waits would wait for ever."""


class Unhandled(Exception):
    """A callback failed, or a task whose outcome nobody asked for; asyncio alone would only log it."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks: the time it should have slept is added to its clock."""

    now_s = 0.0
    when_settled: Callable[[], None] | None = None  # called instead of jumping, once

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.when_settled is not None:
            self.when_settled()
            self.when_settled = None
            return []
        if timeout is None:
            raise Deadlock("deadlock: nothing is ready and nothing is scheduled, so nothing can ever happen again")
        self.now_s += timeout
        if self.now_s > END_S:
            raise OverflowError(f"still not done after {END_S:.0f} s of virtual time")
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Can be driven from outside, a turn or a moment at a time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def turn(self) -> None:
        """One turn: what is ready now runs, and what that makes ready does not."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> None:
        """Runs until nothing is ready. No time passes."""
        self._jumping.when_settled = self.stop
        self.run_forever()

    def advance(self, by_s: float) -> None:
        """Lets so much time pass, and settles."""
        self.call_later(by_s, self.stop)
        self.run_forever()
        self.settle()


def run(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """What the coroutine returns, on a loop of its own. Tasks it leaves behind are cancelled.

    Raises:
        Deadlock: the coroutine waits for something that cannot come.
        OverflowError: it is not done after 48 virtual days.
        Unhandled: it returned, and something else failed unseen.
    """
    unseen: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        returned = runner.run(coroutine)
    if unseen:
        raise Unhandled(unseen[0]["message"]) from unseen[0].get("exception")
    return returned


def in_virtual_time(
    test: Callable[Parameters, Coroutine[Any, Any, Returned]],
) -> Callable[Parameters, Returned]:
    """Makes an async test one that pytest can call."""

    @functools.wraps(test)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        return run(test(*args, **kwargs))

    return wrapper


def now() -> float:
    """The running loop's time, in seconds."""
    return asyncio.get_running_loop().time()


async def until(at_s: float) -> None:
    """Sleeps until the clock reads `at_s`; gives way once if it already does."""
    await asyncio.sleep(at_s - now())
