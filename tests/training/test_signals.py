"""Holding Ctrl-C back: it comes when it is let through or at the end, once, and to whoever handled it before."""

import signal
from collections.abc import Iterator
from threading import Thread

import pytest

from training.signals import SIGNALS, defer_signals

pytestmark = pytest.mark.parametrize("number", SIGNALS)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that came to the handler of before."""
    numbers: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: numbers.append(number)) for number in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_waits_for_the_end_of_the_block(number: int, heard: list[int]) -> None:
    with defer_signals():
        signal.raise_signal(number)
        assert heard == []
    assert heard == [number]
    signal.raise_signal(number)
    assert heard == [number, number]


def test_a_signal_comes_where_it_is_let_through_and_the_next_is_held_again(number: int, heard: list[int]) -> None:
    with defer_signals() as let_through:
        let_through()
        assert heard == []
        for count in (1, 2):
            signal.raise_signal(number)
            assert len(heard) == count - 1
            let_through()
            let_through()
            assert len(heard) == count
    assert len(heard) == 2


def test_an_inner_block_hands_it_on_to_the_outer(number: int, heard: list[int]) -> None:
    with defer_signals():
        with defer_signals():
            signal.raise_signal(number)
        assert heard == []
    assert heard == [number]


def test_what_a_handler_raises_leaves_the_block(number: int, heard: list[int]) -> None:
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


def test_a_signal_is_heard_though_the_block_fails(number: int, heard: list[int]) -> None:
    @defer_signals()
    def fail() -> None:
        signal.raise_signal(number)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert heard == [number]


def test_it_is_not_lost_in_a_finaliser(number: int, heard: list[int]) -> None:
    """Where Python writes down what is raised, and goes on."""

    class Signals:
        def __del__(self) -> None:
            signal.raise_signal(number)

    signal.signal(number, signal.default_int_handler)

    @defer_signals()
    def work() -> None:
        Signals()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_what_was_ignored_is_ignored(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with defer_signals() as let_through:
            signal.raise_signal(number)
            let_through()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_thread_that_no_signal_comes_to_may_use_it_too(number: int) -> None:
    before = signal.getsignal(number)
    handlers: list[object] = []

    def work() -> None:
        with defer_signals() as let_through:
            let_through()
            handlers.append(signal.getsignal(number))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
