"""Tests of the fakes: they behave as configured and record how they were used."""

import asyncio
from pathlib import Path

import pytest

from app.artifact import store
from app.errors import ArtifactError
from tests.fakes import BadItems, FakeEngineCall, FakeModelStore, FakeRegistry, ManualClock, fake_to_thread, result_of
from tests.virtual_time import Deadlock, in_virtual_time, now, run, sleep_until


@in_virtual_time
async def test_fake_call_returns_results_in_order_after_its_duration() -> None:
    call = FakeEngineCall(duration_s=2.0, duration_s_per_item=0.25)
    assert await call([3, 1]) == [result_of(3), result_of(1)] == ["<3>", "<1>"]
    assert now() == 2.5


@in_virtual_time
async def test_fake_call_records_items_and_times() -> None:
    call = FakeEngineCall(duration_s=2.0)
    items = [1, 2]
    first = asyncio.create_task(call(items))
    await sleep_until(1.0)
    items.append(9)  # the record keeps the items as they were
    second = asyncio.create_task(call([3]))
    await sleep_until(2.5)
    assert call.starts == [(0.0, [1, 2]), (1.0, [3])]
    assert [recorded.ended_s for recorded in call.calls] == [2.0, None]
    assert await first == ["<1>", "<2>"]
    assert await second == ["<3>"]
    assert [recorded.ended_s for recorded in call.calls] == [2.0, 3.0]


@in_virtual_time
async def test_fake_call_keeps_the_duration_it_started_with() -> None:
    call = FakeEngineCall(duration_s=1.0)
    slow = asyncio.create_task(call([1]))
    await sleep_until(0.5)
    call.duration_s = 4.0
    assert await slow == ["<1>"]
    assert now() == 1.0
    assert await call([2]) == ["<2>"]
    assert now() == 5.0


@in_virtual_time
async def test_fake_call_with_bad_items_fails_after_its_duration() -> None:
    call = FakeEngineCall(bad_items={2, 3, 7})
    with pytest.raises(BadItems, match=r"cannot compute \[3, 2\]") as caught:
        await call([1, 3, 2])
    assert caught.value.items == [3, 2]
    assert now() == 1.0
    assert await call([1]) == ["<1>"]


@in_virtual_time
async def test_fake_call_returns_no_result_for_dropped_items() -> None:
    call = FakeEngineCall(dropped_items={2})
    assert await call([1, 2, 3]) == ["<1>", "<3>"]


def test_fake_call_that_hangs_never_ends() -> None:
    call = FakeEngineCall(hangs=True)
    with pytest.raises(Deadlock):
        run(call([1]))
    assert call.starts == [(0.0, [1])]
    assert call.calls[0].ended_s is None


def test_manual_clock_moves_only_when_advanced() -> None:
    clock = ManualClock(now_s=5.0)
    assert clock() == clock() == 5.0
    clock.advance(0.5)
    assert clock() == 5.5
    assert clock.reads == 3


@in_virtual_time
async def test_manual_clock_with_base_adds_its_time() -> None:
    clock = ManualClock(now_s=100.0, base=now)
    await sleep_until(1.5)
    assert clock() == 101.5


def test_manual_clock_with_error_raises_it() -> None:
    clock = ManualClock(error=OSError("no clock"))
    with pytest.raises(OSError, match="no clock"):
        clock()
    clock.error = None
    assert clock() == 0.0


@in_virtual_time
async def test_fake_to_thread_runs_other_tasks_before_and_after() -> None:
    seen: list[str] = []

    def shout(word: str) -> str:
        seen.append(word)
        return word.upper()

    async def other_task() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    other = asyncio.create_task(other_task())
    assert await fake_to_thread(shout, "mine") == "MINE"
    assert seen == ["other", "mine", "other"]
    with pytest.raises(ZeroDivisionError):
        await fake_to_thread(divmod, 1, 0)
    await other


def test_fake_model_store_is_a_valid_models_directory(tmp_path: Path) -> None:
    model_store = FakeModelStore(tmp_path / "models")
    model_store.publish("a", "1")
    model_store.publish("a", "2", is_current=False)
    model_store.publish("b", "7")
    assert store.model_names(model_store.directory) == ["a", "b"]
    assert store.versions(model_store.directory, "a") == ["1", "2"]
    assert store.current_version(model_store.directory, "a") == model_store.current("a") == "1"
    model_store.set_current("a", "2")
    model_store.remove("b")
    assert store.current_version(model_store.directory, "a") == "2"
    assert store.model_names(model_store.directory) == ["a"]


def test_fake_registry_loads_from_the_store_and_records(tmp_path: Path) -> None:
    model_store = FakeModelStore(tmp_path / "models")
    model_store.publish("a", "1")
    model_store.publish("a", "2", fault="corrupt")
    registry = FakeRegistry(model_store.directory, versions_served=1)
    with pytest.raises(ArtifactError, match="corrupt"):
        registry._read("a", "2")
    with pytest.raises(ArtifactError, match="it is not there"):
        registry._read("a", "3")
    asyncio.run(registry.refresh())
    model_store.set_fault("a", "2", None)
    asyncio.run(registry.refresh())
    assert registry.get().reference == "a@2"
    assert registry.read_versions == ["a@2", "a@3", "a@2", "a@1", "a@2"]
    assert registry.reported == ["a"]
    assert registry.started_versions == ["a@1", "a@2"]
    assert registry.retired == [0]
