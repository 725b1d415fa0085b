"""Stateful tests of the registry: it is compared with a model while Hypothesis changes the models directory.

Hypothesis chooses the changes of the directory and the operations (refresh, load and unload), of which several run at a
time. While they run, the registry is checked after every iteration of the event loop: the live version changes only as
the model predicts, a live model is never missing in between, and no served version has been retired.
"""

import asyncio
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.artifact import store
from app.errors import NotReady, PricecastError, UnknownModel
from app.serving.served_models import LoadedModel
from tests.app.serving.registry_model import UNREADABLE, RegistryModel
from tests.fakes import FakeModelStore, FakeRegistry, fake_to_thread
from tests.virtual_time import VirtualTimeLoop

NAMES = ("a", "a", "b")
VERSIONS = ("1", "2", "10")
IN_MEMORY = "/dev/shm"  # on Linux, a file system in memory: on a disk, these tests would mostly wait for it
Step = tuple[Any, ...]  # the name of a method, and its arguments


def weighted(groups: dict[tuple[Step, ...], int]) -> st.SearchStrategy[Step]:
    """Draw a step. The weight of a group is divided evenly among its steps.

    A step is drawn as one choice, because drawing each argument separately would take several times longer.
    """
    scale = math.lcm(*map(len, groups))
    return st.sampled_from(
        [step for group, weight in groups.items() for step in group * (weight * scale // len(group))]
    )


CHANGES = weighted(
    {
        tuple(itertools.product(["publish"], NAMES, VERSIONS, [None, None, None, "corrupt"], [False, True])): 4,
        tuple(itertools.product(["set_fault"], NAMES, VERSIONS, [None, None, "corrupt", "incomplete"])): 4,
        tuple(itertools.product(["set_current"], NAMES, [*VERSIONS, UNREADABLE])): 4,
        tuple(itertools.product(["remove"], NAMES)): 1,
        (("move_directory",),): 1,
        (("toggle_write_permission",),): 1,
    }
)
OPERATIONS = weighted(
    {
        tuple(itertools.product(["refresh"], [False, True])): 2,
        tuple(itertools.product(["load"], NAMES, [None, None, None, *VERSIONS])): 2,
        tuple(itertools.product(["unload"], NAMES)): 1,
    }
)


@dataclass
class Operation:
    """An operation that was started on the registry.

    Attributes:
        task: The operation.
        outcome: Expected outcome: the type of an error, the reference of the live version, or None.
    """

    task: "asyncio.Task[Any]"
    outcome: type[PricecastError] | str | None


class RegistryMachine(RuleBasedStateMachine):
    """Compares the registry with its model. The directory changes only while no operation runs."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.directory = Path(tempfile.mkdtemp(dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
        self.model_store = FakeModelStore(self.directory / "models")
        self.operations: list[Operation] = []
        # The live version of each model: the one now, followed by those that the running operations will make live.
        self.live_sequence: dict[str, list[str | None]] = {"a": [None], "b": [None]}
        self.patches: list[Any] = [
            patch.object(asyncio, "to_thread", fake_to_thread),
            patch.object(store, "write_current", self.write_current),
        ]
        for each in self.patches:
            each.start()

    @initialize(
        versions_served=st.integers(1, 3), default_model=st.sampled_from(["a", "absent"]), is_writable=st.booleans()
    )
    def start(self, versions_served: int, default_model: str, is_writable: bool) -> None:
        self.model = RegistryModel(versions_served, default_model, is_writable=is_writable)
        self.registry = FakeRegistry(self.model_store.directory, default_model, versions_served=versions_served)
        for version in ("1", "2", "10"):
            self.publish("a", version, fault=None, is_current=True)

    def write_current(self, models_dir: Path, name: str, version: str) -> None:
        if not self.model.is_writable:
            raise PermissionError(13, "Permission denied")
        self.model_store.set_current(name, version)

    @rule(step=CHANGES)
    def change_directory(self, step: Step) -> None:
        self.settle()
        method, *arguments = step
        if self.model.is_directory_gone:
            self.move_directory()
        else:
            getattr(self, method)(*arguments)

    def publish(self, name: str, version: str, fault: str | None, is_current: bool) -> None:
        is_current = is_current or name not in self.model.published
        if version not in self.model.published.get(name, {}):
            self.model_store.publish(name, version, fault=fault, is_current=is_current)
            self.model.published.setdefault(name, {})[version] = fault
            if is_current:
                self.model.current[name] = version

    def set_fault(self, name: str, version: str, fault: str | None) -> None:
        if version in self.model.published.get(name, {}):
            self.model_store.set_fault(name, version, fault)
            self.model.published[name][version] = fault

    def set_current(self, name: str, current: str) -> None:
        if name in self.model.published:
            self.model_store.set_current(name, current)
            self.model.current[name] = current

    def remove(self, name: str) -> None:
        if name in self.model.published:
            self.model_store.remove(name)
            del self.model.published[name], self.model.current[name]

    def move_directory(self) -> None:
        """Move the models directory away, or back."""
        source, target = self.model_store.directory, self.directory / "elsewhere"
        if self.model.is_directory_gone:
            source, target = target, source
        source.rename(target)
        self.model.is_directory_gone = not self.model.is_directory_gone

    def toggle_write_permission(self) -> None:
        self.model.is_writable = not self.model.is_writable

    @rule(steps=st.lists(OPERATIONS, min_size=1, max_size=3), iterations=st.integers(0, 9))
    def start_operations(self, steps: list[Step], iterations: int) -> None:
        for method, *arguments in steps:
            getattr(self, method)(*arguments)
        for _ in range(iterations):
            self.loop.run_once()
            self.check_live_versions()

    def refresh(self, only_if_changed: bool) -> None:
        self.model.refresh(only_if_changed=only_if_changed)
        self.start_operation(self.registry.refresh(only_if_changed=only_if_changed), None)

    def load(self, name: str, version: str | None) -> None:
        self.start_operation(self.registry.load(name, version), self.model.load(name, version))

    def unload(self, name: str) -> None:
        self.start_operation(self.registry.unload(name), self.model.unload(name))

    def start_operation(self, coroutine: Coroutine[Any, Any, Any], outcome: type[PricecastError] | str | None) -> None:
        self.operations.append(Operation(self.loop.create_task(coroutine), outcome))
        for name, versions in self.live_sequence.items():
            if versions[-1] != self.model.live.get(name):
                versions.append(self.model.live.get(name))

    def settle(self) -> None:
        """Run all operations to their end, and check their outcomes."""
        while not all(operation.task.done() for operation in self.operations):
            self.loop.run_once()
            self.check_live_versions()
        for operation in self.operations:
            if isinstance(operation.outcome, type):
                assert type(operation.task.exception()) is operation.outcome
            else:
                result = operation.task.result()
                assert (result.reference if isinstance(result, LoadedModel) else None) == operation.outcome
        self.operations = []
        assert all(len(versions) == 1 for versions in self.live_sequence.values())
        self.check_settled()

    @invariant()
    def check_live_versions(self) -> None:
        """Live versions follow the model's sequence, and each loaded version is either served or retired."""
        if not hasattr(self, "registry"):
            return
        models = self.registry.models
        for name, versions in self.live_sequence.items():
            live = models[name].manifest.version if name in models else None
            while versions[0] != live:
                versions.pop(0)
                assert versions, f"{name}@{live} is not the next live version"
        served = [model.runner for model in self.registry.served]
        assert {model.runner for model in models.values()} <= set(served)
        assert sorted([*served, *self.registry.retired]) == list(range(len(self.registry.started_versions)))

    def check_settled(self) -> None:
        model, registry = self.model, self.registry
        assert {name: loaded.manifest.version for name, loaded in registry.models.items()} == model.live
        for name in ("a", "b"):
            assert registry.versions(name) == sorted(model.served.get(name, ()), key=int)
            assert len(registry.versions(name)) <= model.versions_served
            for reference in (name, *(f"{name}@{version}" for version in ("1", "2", "10"))):
                self.check_get(name, reference)
            if name in model.published and not model.is_directory_gone:
                assert self.model_store.current(name) == model.current[name]
        assert registry.failures == model.failures
        assert sorted(registry.reported) == sorted(model.reported)

    def check_get(self, name: str, reference: str) -> None:
        """A request gets the version it asks for, or the right error."""
        version = reference.partition("@")[2] or self.model.live.get(name)
        try:
            found = self.registry.get(reference)
        except NotReady:
            assert name in self.model.failures
            assert name not in self.model.live
        except UnknownModel:
            assert name in self.model.live or name not in self.model.failures
        else:
            assert found.reference == f"{name}@{version}"
            assert version in self.model.served[name]
            return
        assert version not in self.model.served.get(name, ())

    def teardown(self) -> None:
        try:
            if hasattr(self, "registry"):
                self.settle()
        finally:
            for each in self.patches:
                each.stop()
            for operation in self.operations:
                operation.task.cancel()
            self.loop.settle()
            self.loop.close()
            shutil.rmtree(self.directory)


FEW = settings(max_examples=80, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
MANY = settings(FEW, max_examples=400, stateful_step_count=100)


def test_registry_agrees_with_its_model() -> None:
    run_state_machine_as_test(RegistryMachine, settings=FEW)


@pytest.mark.slow
@pytest.mark.no_cover  # the short run covers the same lines, and tracing would take as long as the test
def test_registry_agrees_with_its_model_in_long_runs() -> None:
    run_state_machine_as_test(RegistryMachine, settings=MANY)
