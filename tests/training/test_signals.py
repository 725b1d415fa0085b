"""Deferred signals are delivered once, on request or at the end of the block, to the previous handler."""

import signal
from collections.abc import Iterator
from threading import Thread

import pytest

from training.signals import DEFERRED_SIGNALS, defer_signals

pytestmark = pytest.mark.parametrize("number", DEFERRED_SIGNALS)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that the previous handler receives."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: numbers.append(number)) for number in DEFERRED_SIGNALS
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_defer_signals_delivers_at_the_end_of_the_block(number: int, received: list[int]) -> None:
    with defer_signals():
        signal.raise_signal(number)
        assert received == []
    assert received == [number]
    signal.raise_signal(number)
    assert received == [number, number]


def test_defer_signals_delivers_on_request_and_defers_again(number: int, received: list[int]) -> None:
    with defer_signals() as deliver_pending:
        deliver_pending()
        assert received == []
        for count in (1, 2):
            signal.raise_signal(number)
            assert len(received) == count - 1
            deliver_pending()
            deliver_pending()
            assert len(received) == count
    assert len(received) == 2


def test_defer_signals_nested_passes_to_the_outer_block(number: int, received: list[int]) -> None:
    with defer_signals():
        with defer_signals():
            signal.raise_signal(number)
        assert received == []
    assert received == [number]


def test_defer_signals_handler_exception_leaves_the_block(number: int, received: list[int]) -> None:
    signal.signal(number, signal.default_int_handler)
    ended = False

    @defer_signals()
    def work() -> None:
        nonlocal ended
        signal.raise_signal(number)
        ended = True

    with pytest.raises(KeyboardInterrupt):
        work()
    assert ended
    assert signal.getsignal(number) is signal.default_int_handler


def test_defer_signals_delivers_if_the_block_fails(number: int, received: list[int]) -> None:
    @defer_signals()
    def fail() -> None:
        signal.raise_signal(number)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert received == [number]


def test_defer_signals_keeps_a_signal_raised_in_a_finalizer(number: int, received: list[int]) -> None:
    """Python prints an exception raised in a finalizer and continues."""

    class SignalOnDelete:
        def __del__(self) -> None:
            signal.raise_signal(number)

    signal.signal(number, signal.default_int_handler)

    @defer_signals()
    def work() -> None:
        SignalOnDelete()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_defer_signals_ignored_signal_stays_ignored(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with defer_signals() as deliver_pending:
            signal.raise_signal(number)
            deliver_pending()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_defer_signals_in_another_thread_does_nothing(number: int) -> None:
    before = signal.getsignal(number)
    handlers: list[object] = []

    def work() -> None:
        with defer_signals() as deliver_pending:
            deliver_pending()
            handlers.append(signal.getsignal(number))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
