"""Ctrl-C, where it may not come at any moment."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def defer_signals() -> Iterator[Callable[[], None]]:
    """Holds signals back until the function that it gives is called, or its block ends.

    Python raises KeyboardInterrupt between any two instructions. Where those are called by the native code of a
    backend, or by the garbage collector, it is lost, or ends the process by a segmentation fault.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # no signal is handled here
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    def hold() -> None:
        for number in SIGNALS:
            signal.signal(number, note)

    def release() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came.pop())

    def let_through() -> None:
        if came:
            release()
            hold()

    hold()
    try:
        yield let_through
    finally:
        release()
