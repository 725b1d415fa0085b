"""Stand-ins for what is slow, random or out of reach: each does as it is told, and remembers what was asked of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


def answer(item: int) -> str:
    """What `FakeCall` makes of one item."""
    return f"<{item}>"


class BadItems(Exception):
    """What `FakeCall` raises for the items it was told to fail on."""

    def __init__(self, items: list[int]) -> None:
        self.items = items
        super().__init__(f"cannot compute {items}")


@dataclass
class Made:
    """One call that was made of a `FakeCall`."""

    started_s: float
    items: list[int]
    ended_s: float | None = None  # None while it runs, and if it was cancelled


@dataclass
class FakeCall:
    """The async callable behind a batcher: items in, as many answers out, after a while on the loop's clock."""

    takes_s: float = 1.0  # each call
    takes_s_per_item: float = 0.0  # and for each item in it
    bad: set[int] = field(default_factory=set)  # a call that holds one of these raises BadItems
    lost: set[int] = field(default_factory=set)  # these get no answer, so the others come back too few
    hangs: bool = False  # a call made while this holds never ends
    made: list[Made] = field(default_factory=list)

    @property
    def seen(self) -> list[tuple[float, list[int]]]:
        """When each call started, and with what."""
        return [(call.started_s, call.items) for call in self.made]

    async def __call__(self, items: list[int]) -> list[str]:
        loop = asyncio.get_running_loop()
        items = list(items)
        call = Made(loop.time(), items)
        self.made.append(call)
        if self.hangs:
            await loop.create_future()
        await asyncio.sleep(self.takes_s + self.takes_s_per_item * len(items))
        call.ended_s = loop.time()
        if bad := [item for item in items if item in self.bad]:
            raise BadItems(bad)
        return [answer(item) for item in items if item not in self.lost]


@dataclass
class TurnedClock:
    """A clock turned by hand, or one that follows another; it can break."""

    now_s: float = 0.0
    follows: Callable[[], float] = lambda: 0.0
    broken: Exception | None = None
    read: int = 0  # how often

    def __call__(self) -> float:
        self.read += 1
        if self.broken is not None:
            raise self.broken
        return self.now_s + self.follows()

    def turn(self, by_s: float) -> None:
        self.now_s += by_s
