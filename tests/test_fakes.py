"""The stand-ins do as they are told, and remember."""

import asyncio
from pathlib import Path

import pytest

from app.artifact import store
from app.errors import ArtifactError
from tests.fakes import BadItems, FakeCall, QuickRegistry, Shelf, TurnedClock, answer, in_turns
from tests.virtual_time import Deadlock, in_virtual_time, now, run, until


@in_virtual_time
async def test_a_call_answers_each_item_in_order_after_its_time() -> None:
    call = FakeCall(takes_s=2.0, takes_s_per_item=0.25)
    assert await call([3, 1]) == [answer(3), answer(1)] == ["<3>", "<1>"]
    assert now() == 2.5


@in_virtual_time
async def test_calls_are_remembered_with_their_times() -> None:
    call = FakeCall(takes_s=2.0)
    items = [1, 2]
    first = asyncio.create_task(call(items))
    await until(1.0)
    items.append(9)  # what was asked is remembered as it was
    second = asyncio.create_task(call([3]))
    await until(2.5)
    assert call.seen == [(0.0, [1, 2]), (1.0, [3])]
    assert [made.ended_s for made in call.made] == [2.0, None]
    assert await first == ["<1>", "<2>"]
    assert await second == ["<3>"]
    assert [made.ended_s for made in call.made] == [2.0, 3.0]


@in_virtual_time
async def test_a_call_takes_as_long_as_it_was_told_when_it_started() -> None:
    call = FakeCall(takes_s=1.0)
    slow = asyncio.create_task(call([1]))
    await until(0.5)
    call.takes_s = 4.0
    assert await slow == ["<1>"]
    assert now() == 1.0
    assert await call([2]) == ["<2>"]
    assert now() == 5.0


@in_virtual_time
async def test_a_call_fails_on_bad_items_after_its_time() -> None:
    call = FakeCall(bad={2, 3, 7})
    with pytest.raises(BadItems, match=r"cannot compute \[3, 2\]") as caught:
        await call([1, 3, 2])
    assert caught.value.items == [3, 2]
    assert now() == 1.0
    assert await call([1]) == ["<1>"]


@in_virtual_time
async def test_a_lost_item_gets_no_answer() -> None:
    call = FakeCall(lost={2})
    assert await call([1, 2, 3]) == ["<1>", "<3>"]


def test_a_call_that_hangs_never_ends() -> None:
    call = FakeCall(hangs=True)
    with pytest.raises(Deadlock):
        run(call([1]))
    assert call.seen == [(0.0, [1])]
    assert call.made[0].ended_s is None


def test_a_turned_clock_moves_only_when_turned() -> None:
    clock = TurnedClock(now_s=5.0)
    assert clock() == clock() == 5.0
    clock.turn(0.5)
    assert clock() == 5.5
    assert clock.read == 3


@in_virtual_time
async def test_a_turned_clock_can_follow_another() -> None:
    clock = TurnedClock(now_s=100.0, follows=now)
    await until(1.5)
    assert clock() == 101.5


def test_a_turned_clock_can_break() -> None:
    clock = TurnedClock(broken=OSError("no clock"))
    with pytest.raises(OSError, match="no clock"):
        clock()
    clock.broken = None
    assert clock() == 0.0


@in_virtual_time
async def test_what_runs_in_turns_lets_others_have_theirs_before_and_after() -> None:
    seen: list[str] = []

    def noted(word: str) -> str:
        seen.append(word)
        return word.upper()

    async def other() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    assert await in_turns(noted, "mine") == "MINE"
    assert seen == ["other", "mine", "other"]
    with pytest.raises(ZeroDivisionError):
        await in_turns(divmod, 1, 0)
    await others


def test_a_shelf_is_a_models_directory(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.publish("a", "1")
    shelf.publish("a", "2", is_current=False)
    shelf.publish("b", "7")
    assert store.model_names(shelf.directory) == ["a", "b"]
    assert store.versions(shelf.directory, "a") == ["1", "2"]
    assert store.current_version(shelf.directory, "a") == shelf.pointed("a") == "1"
    shelf.point("a", "2")
    shelf.remove("b")
    assert store.current_version(shelf.directory, "a") == "2"
    assert store.model_names(shelf.directory) == ["a"]


def test_a_quick_registry_reads_what_is_on_its_shelf_and_remembers(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    shelf.publish("a", "1")
    shelf.publish("a", "2", fault="it is odd")
    registry = QuickRegistry(shelf.directory, versions_served=1)
    with pytest.raises(ArtifactError, match="it is odd"):
        registry._read("a", "2")
    with pytest.raises(ArtifactError, match="it is not there"):
        registry._read("a", "3")
    asyncio.run(registry.refresh())
    shelf.spoil("a", "2", None)
    asyncio.run(registry.refresh())
    assert registry.get().reference == "a@2"
    assert registry.read == ["a@2", "a@3", "a@2", "a@1", "a@2"]
    assert registry.told == ["a"]
    assert registry.started == ["a@1", "a@2"]
    assert registry.retired == [0]
