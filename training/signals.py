"""Defer SIGINT and SIGTERM during native calls."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

DEFERRED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def defer_signals() -> Iterator[Callable[[], None]]:
    """Defer SIGINT and SIGTERM until the block ends, or until the yielded function is called.

    Python raises KeyboardInterrupt between any two instructions. If the native code of a Keras backend or the garbage
    collector runs these instructions, the exception is lost, or the process ends with a segmentation fault.

    Outside the main thread, where Python never handles signals, this does nothing.

    Yields:
        A function that delivers the latest pending signal, if there is one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pending: list[int] = []
    handlers = {number: signal.getsignal(number) for number in DEFERRED_SIGNALS}

    def record(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    def install() -> None:
        for number in DEFERRED_SIGNALS:
            signal.signal(number, record)

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending.pop())

    def deliver_pending() -> None:
        if pending:
            restore()
            install()

    install()
    try:
        yield deliver_pending
    finally:
        restore()
