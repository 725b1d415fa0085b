"""An event loop with virtual time: when no callback is ready, its clock jumps to the next timer instead of sleeping.

An hour costs as much as a millisecond, and the times that a test sees are exact (to the bit if they are sums of binary
fractions such as 0.25). The loop waits for no I/O and no threads, so `run_in_executor` does not work on it.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Returned = TypeVar("Returned")
Parameters = ParamSpec("Parameters")

END_S = 2.0**22  # 48 days; much later, asyncio's tolerance of 1 ns is lost in rounding and timers never fire


class Deadlock(Exception):
    """No callback is ready and no timer is scheduled: a task that still waits would wait forever."""


class Unhandled(Exception):
    """A callback failed, or a task failed and its result was never retrieved. asyncio would only log it."""


class _VirtualSelector(selectors.DefaultSelector):
    """Adds the time it should block to its clock, instead of blocking.

    Attributes:
        now_s: The virtual time.
        stop_at_s: If set, the clock goes no further; when nothing is left to do until then, `on_stop` is called.
        on_stop: Called once, at `stop_at_s`.
    """

    now_s = 0.0
    stop_at_s: float | None = None
    on_stop: Callable[[], None] = staticmethod(lambda: None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.stop_at_s is not None:
            if self.now_s < self.stop_at_s:
                self.now_s = self.stop_at_s if timeout is None else min(self.stop_at_s, self.now_s + timeout)
            else:
                self.stop_at_s = None
                self.on_stop()
            return []
        if timeout is None:
            raise Deadlock("deadlock: no callback is ready and no timer is scheduled, so nothing can ever happen again")
        self.now_s += timeout
        if self.now_s > END_S:
            raise OverflowError(f"still not done after {END_S:.0f} s of virtual time")
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at 0 s. It can be driven from outside, one iteration or one span of time at a time."""

    def __init__(self) -> None:
        self._virtual_selector = _VirtualSelector()
        self._virtual_selector.on_stop = self.stop
        super().__init__(self._virtual_selector)

    def time(self) -> float:
        return self._virtual_selector.now_s

    def run_once(self) -> None:
        """Run the callbacks that are ready now, but not those that they schedule."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> None:
        """Run until no callback is ready. No time passes."""
        self.advance(0.0)

    def advance(self, by_s: float) -> None:
        """Let time pass, run the timers that are due, and settle."""
        self._virtual_selector.stop_at_s = self._virtual_selector.now_s + by_s
        self.run_forever()


def run(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Run a coroutine on a new loop with virtual time. Tasks that it leaves behind are cancelled.

    Raises:
        Deadlock: The coroutine waits for something that cannot happen.
        OverflowError: The coroutine is not done after 48 virtual days.
        Unhandled: The coroutine returned, but something else failed unnoticed.
    """
    unhandled: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
        returned = runner.run(coroutine)
    if unhandled:
        raise Unhandled(unhandled[0]["message"]) from unhandled[0].get("exception")
    return returned


def in_virtual_time(
    test: Callable[Parameters, Coroutine[Any, Any, Returned]],
) -> Callable[Parameters, Returned]:
    """Turn an async test into a plain one that runs in virtual time."""

    @functools.wraps(test)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        return run(test(*args, **kwargs))

    return wrapper


def now() -> float:
    """Return the running loop's time in seconds."""
    return asyncio.get_running_loop().time()


async def sleep_until(at_s: float) -> None:
    """Sleep until the running loop's clock reads `at_s`; yield once if it already does."""
    await asyncio.sleep(at_s - now())
