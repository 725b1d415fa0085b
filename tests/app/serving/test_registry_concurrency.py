"""Tests of the registry: several operations at the same time."""

import asyncio

import pytest

from tests.app.serving.registry_harness import retired_references, served_versions
from tests.fakes import FakeModelStore, FakeRegistry, fake_to_thread
from tests.virtual_time import in_virtual_time, run


@pytest.fixture
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the order of operations deterministic."""
    monkeypatch.setattr(asyncio, "to_thread", fake_to_thread)


@pytest.mark.usefixtures("_no_threads")
@in_virtual_time
async def test_concurrent_operations_run_one_after_the_other(model_store: FakeModelStore) -> None:
    for version in ("1", "2", "3"):
        model_store.publish("a", version)
    registry = FakeRegistry(model_store.directory)
    operations = [
        registry.refresh(),
        registry.load("a", "1"),
        registry.unload("a"),
        registry.refresh(),
        registry.load("a", "2"),
        registry.refresh(only_if_changed=True),
    ]
    await asyncio.gather(*operations)
    assert served_versions(registry) == {"a": ["2", "3"]}
    assert model_store.current("a") == "2"
    assert registry.started_versions == ["a@3", "a@2", "a@1", "a@2", "a@3"]
    assert sorted(retired_references(registry)) == ["a@1", "a@2", "a@3"]
    assert registry.failures == {}


@pytest.mark.usefixtures("_no_threads")
def test_swap_always_leaves_a_live_version(model_store: FakeModelStore) -> None:
    model_store.publish("a", "1")

    async def versions_seen() -> list[str]:
        registry = FakeRegistry(model_store.directory, versions_served=1)
        await registry.refresh()
        model_store.publish("a", "2")
        refreshing = asyncio.create_task(registry.refresh())
        seen = []
        while not refreshing.done():
            live = registry.get("a")
            assert live.runner not in registry.retired
            seen.append(live.manifest.version)
            await asyncio.sleep(0)
        return [*seen, registry.get().manifest.version]

    seen = run(versions_seen())
    assert seen == sorted(seen)
    assert set(seen) == {"1", "2"}


def test_cancelled_refresh_does_not_block_the_next(fake_registry: FakeRegistry, model_store: FakeModelStore) -> None:
    model_store.publish("a", "3")

    async def scenario() -> None:
        refreshing = asyncio.create_task(fake_registry.refresh())
        await asyncio.sleep(0)
        refreshing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await refreshing
        await fake_registry.refresh(only_if_changed=True)

    asyncio.run(scenario())
    assert served_versions(fake_registry)["a"] == ["3", "2"]
