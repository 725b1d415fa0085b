"""What the registry serves, whatever is published, spoilt and asked for: a model of it is held against it.

Hypothesis decides what happens to the models directory, and which of refresh, load and unload are asked for, several at
a time. While they are at work, the registry is looked at after every turn of the loop: what is live must go from one
version to the next as the model says, with no moment without, and nothing that is served may have been retired.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from app.artifact import store
from app.errors import ArtifactError, NotReady, PricecastError, UnknownModel
from app.serving.registry import Model
from tests.fakes import QuickRegistry, Shelf, in_turns
from tests.virtual_time import VirtualTimeLoop

NAMES = st.sampled_from(["a", "a", "b"])
VERSIONS = st.sampled_from(["1", "2", "10"])
SELDOM = st.sampled_from([False, False, False, True])
UNREADABLE = "latest"
REFRESH = st.tuples(st.just("refresh"), st.booleans())
LOAD = st.tuples(st.just("load"), NAMES, st.one_of(st.none(), VERSIONS))
UNLOAD = st.tuples(st.just("unload"), NAMES)
PUBLISH = st.tuples(st.just("publish"), NAMES, VERSIONS, SELDOM, st.booleans())
SPOIL_OR_MEND = st.tuples(
    st.just("spoil_or_mend"), NAMES, VERSIONS, st.sampled_from([None, None, "it is odd", "it is even"])
)
POINT = st.tuples(st.just("point"), NAMES, st.one_of(VERSIONS, VERSIONS, VERSIONS, st.just(UNREADABLE)))
REMOVE = st.tuples(st.just("remove"), NAMES)
OTHERS = [st.tuples(st.just(what)) for what in ("take_away_or_bring_back", "forbid_or_allow_writing")]
CHANGED = st.sampled_from([*[PUBLISH, SPOIL_OR_MEND, POINT] * 4, REMOVE, *OTHERS]).flatmap(lambda changed: changed)
ASKED = st.sampled_from([REFRESH, REFRESH, LOAD, LOAD, UNLOAD]).flatmap(lambda asked: asked)
NO_DIRECTORY = ".: the models directory does not exist"


@dataclass
class State:
    """What the directory has, and what the registry should have made of it."""

    versions: dict[str, dict[str, str | None]] = field(default_factory=dict)  # name, version: its fault
    current: dict[str, str] = field(default_factory=dict)
    is_gone: bool = False
    is_writable: bool = True
    live: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    served: dict[str, set[str]] = field(default_factory=dict)
    overrides: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # instead of which, which
    failures: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    seen: object = None

    def refresh(self, versions_served: int, default: str, *, only_if_changed: bool) -> None:
        names = set() if self.is_gone else set(self.versions)
        for name in names & self.overrides.keys():
            if self.current[name] not in (self.overrides[name][0], UNREADABLE):
                del self.overrides[name]
        found = {name: (self.current[name], sorted(self.versions[name])) for name in names}, dict(self.overrides)
        if only_if_changed and found == self.seen:
            return
        self.seen = found
        self.failures = {}  # what is not wanted any more is forgotten
        for name in names:
            self.follow(name, versions_served)
        for name in {*self.live, default} - names:
            self.fail(name, NO_DIRECTORY if self.is_gone else f"{name}: it has no published version")

    def follow(self, name: str, versions_served: int) -> None:
        instead_of, pinned = self.overrides.get(name, (None, None))
        wanted = self.current[name]
        if instead_of == wanted:
            if pinned is None:
                self.drop(name)
                return
            wanted = pinned
        failed = None
        if wanted == UNREADABLE:
            self.fail(name, f"{name}/current: it must hold a version number, such as 1")
        elif fault := self.fault(name, wanted):
            self.fail(name, fault)
            failed = wanted
        else:
            self.go_live(name, wanted)
        self.tidy(name, versions_served, failed=failed)

    def load(self, name: str, version: str | None, versions_served: int) -> type[PricecastError] | str:
        """What comes of it: an error, or the reference of what is live."""
        if self.is_gone or name not in self.versions:
            return UnknownModel
        if self.current[name] == UNREADABLE and version is None:
            return ArtifactError
        version = version or self.current[name]
        if version not in self.versions[name]:
            return UnknownModel
        if fault := self.fault(name, version):
            self.fail(f"{name}@{version}", fault)
            return ArtifactError
        self.go_live(name, version)
        if version == self.current[name] or self.is_writable:
            self.current[name] = version
            self.overrides.pop(name, None)
        elif self.current[name] != UNREADABLE:
            self.overrides[name] = self.current[name], version
        self.tidy(name, versions_served, failed=None)
        return f"{name}@{version}"

    def unload(self, name: str) -> type[PricecastError] | None:
        if name not in self.live:
            return UnknownModel
        if not self.is_gone and self.current.get(name, UNREADABLE) != UNREADABLE:
            self.overrides[name] = self.current[name], None
        self.drop(name)
        return None

    def fault(self, name: str, version: str) -> str | None:
        """Why a version cannot be served; what is served already is not read again."""
        if version in self.served.get(name, ()):
            return None
        if version not in self.versions[name]:
            return f"{name}/{version}: it is not there"
        fault = self.versions[name][version]
        return None if fault is None else f"{name}/{version}: {fault}"

    def fail(self, reference: str, reason: str) -> None:
        self.failures[reference] = reason
        self.told.append(reference)

    def go_live(self, name: str, version: str) -> None:
        if name in self.live and self.live[name] != version:
            self.before[name] = self.live[name]
        self.live[name] = version
        self.failures.pop(name, None)
        self.failures.pop(f"{name}@{version}", None)

    def tidy(self, name: str, versions_served: int, *, failed: str | None) -> None:
        """The live version, the one before it and the newest are served, as far as they can be."""
        newest = sorted((version for version in self.versions[name] if version != failed), key=int, reverse=True)
        kept: list[str] = []
        for version in dict.fromkeys([self.live.get(name), self.before.get(name), *newest]):
            if version is None or len(kept) == versions_served:
                continue
            if fault := self.fault(name, version):
                self.fail(f"{name}@{version}", fault)
            else:
                self.failures.pop(f"{name}@{version}", None)
                kept.append(version)
        self.served[name] = set(kept)
        if self.before.get(name) not in kept:
            self.before.pop(name, None)

    def drop(self, name: str) -> None:
        for known in (self.live, self.before, self.failures):
            known.pop(name, None)
        self.served.pop(name, None)


@dataclass
class Asked:
    """Something that was asked of the registry, and what must come of it."""

    task: "asyncio.Task[Any]"
    outcome: type[PricecastError] | str | None


class RegistryMachine(RuleBasedStateMachine):
    """The directory changes only while nothing is at work; `ask` has several things asked for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.directory = Path(tempfile.mkdtemp())
        self.shelf = Shelf(self.directory / "shelf")
        self.state = State()
        self.asked: list[Asked] = []
        self.coming: dict[str, list[str | None]] = {"a": [None], "b": [None]}  # live by and by; the first is so now
        self.patches: list[Any] = [
            patch.object(asyncio, "to_thread", in_turns),
            patch.object(store, "write_current", self.write_current),
        ]
        for each in self.patches:
            each.start()

    @initialize(versions_served=st.integers(1, 3), default=st.sampled_from(["a", "absent"]), is_writable=st.booleans())
    def start(self, versions_served: int, default: str, is_writable: bool) -> None:
        self.versions_served = versions_served
        self.default = default
        self.registry = QuickRegistry(self.shelf.directory, default, versions_served=versions_served)
        self.state.is_writable = is_writable
        for version in ("1", "2", "10"):
            self.publish("a", version, is_faulty=False, is_current=True)

    def write_current(self, models_dir: Path, name: str, version: str) -> None:
        if not self.state.is_writable:
            raise PermissionError(13, "Permission denied")
        self.shelf.point(name, version)

    # What may happen to the directory.

    @rule(what=CHANGED)
    def change(self, what: tuple[str, *tuple[Any, ...]]) -> None:
        self.settle()
        kind, *of_what = what
        if self.state.is_gone:
            self.take_away_or_bring_back()
        else:
            getattr(self, kind)(*of_what)

    def publish(self, name: str, version: str, is_faulty: bool, is_current: bool) -> None:
        is_current = is_current or name not in self.state.versions
        if version not in self.state.versions.get(name, {}):
            fault = "it is odd" if is_faulty else None
            self.shelf.publish(name, version, fault=fault, is_current=is_current)
            self.state.versions.setdefault(name, {})[version] = fault
            if is_current:
                self.state.current[name] = version

    def spoil_or_mend(self, name: str, version: str, fault: str | None) -> None:
        if version in self.state.versions.get(name, {}):
            self.shelf.spoil(name, version, fault)
            self.state.versions[name][version] = fault

    def point(self, name: str, current: str) -> None:
        if name in self.state.versions:
            self.shelf.point(name, current)
            self.state.current[name] = current

    def remove(self, name: str) -> None:
        if name in self.state.versions:
            self.shelf.remove(name)
            del self.state.versions[name], self.state.current[name]

    def take_away_or_bring_back(self) -> None:
        here, there = self.shelf.directory, self.directory / "elsewhere"
        if self.state.is_gone:
            here, there = there, here
        here.rename(there)
        self.state.is_gone = not self.state.is_gone

    def forbid_or_allow_writing(self) -> None:
        self.state.is_writable = not self.state.is_writable

    # What may be asked for.

    @rule(what=st.lists(ASKED, min_size=1, max_size=3), turns=st.integers(0, 9))
    def ask(self, what: list[tuple[str, *tuple[Any, ...]]], turns: int) -> None:
        for verb, *of_what in what:
            getattr(self, verb)(*of_what)
        for _ in range(turns):
            self.loop.turn()
            self.check_what_is_live()

    def refresh(self, only_if_changed: bool) -> None:
        self.state.refresh(self.versions_served, self.default, only_if_changed=only_if_changed)
        self.expect(None, self.registry.refresh(only_if_changed=only_if_changed))

    def load(self, name: str, version: str | None) -> None:
        self.expect(self.state.load(name, version, self.versions_served), self.registry.load(name, version))

    def unload(self, name: str) -> None:
        self.expect(self.state.unload(name), self.registry.unload(name))

    def expect(self, outcome: type[PricecastError] | str | None, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.asked.append(Asked(self.loop.create_task(coroutine), outcome))
        for name, coming in self.coming.items():
            if coming[-1] != self.state.live.get(name):
                coming.append(self.state.live.get(name))

    def settle(self) -> None:
        while not all(asked.task.done() for asked in self.asked):
            self.loop.turn()
            self.check_what_is_live()
        for asked in self.asked:
            if isinstance(asked.outcome, type):
                assert type(asked.task.exception()) is asked.outcome
            else:
                result = asked.task.result()
                assert (result.reference if isinstance(result, Model) else None) == asked.outcome
        self.asked = []
        assert all(len(coming) == 1 for coming in self.coming.values())
        self.check_settled()

    # What must hold.

    @invariant()
    def check_what_is_live(self) -> None:
        if not hasattr(self, "registry"):
            return
        models = self.registry.models
        for name, coming in self.coming.items():
            live = models[name].manifest.version if name in models else None
            while coming[0] != live:
                coming.pop(0)
                assert coming, f"{name}@{live} is live out of turn"
        served = [model.runner for model in self.registry.served]
        assert {model.runner for model in models.values()} <= set(served)
        assert sorted([*served, *self.registry.retired]) == list(range(len(self.registry.started)))

    def check_settled(self) -> None:
        state, registry = self.state, self.registry
        assert {name: model.manifest.version for name, model in registry.models.items()} == state.live
        for name in ("a", "b"):
            assert registry.versions(name) == sorted(state.served.get(name, ()), key=int)
            assert len(registry.versions(name)) <= self.versions_served
            for reference in (name, *(f"{name}@{version}" for version in ("1", "2", "10"))):
                self.check_found(name, reference)
            if name in state.versions and not state.is_gone:
                assert self.shelf.pointed(name) == state.current[name]
        assert registry.failures == state.failures
        assert sorted(registry.told) == sorted(state.told)

    def check_found(self, name: str, reference: str) -> None:
        """A request gets the version it asks for, or is told why not."""
        version = reference.partition("@")[2] or self.state.live.get(name)
        try:
            model = self.registry.get(reference)
        except NotReady:
            assert name in self.state.failures
            assert name not in self.state.live
        except UnknownModel:
            assert name in self.state.live or name not in self.state.failures
        else:
            assert model.reference == f"{name}@{version}"
            assert version in self.state.served[name]
            return
        assert version not in self.state.served.get(name, ())

    def teardown(self) -> None:
        try:
            if hasattr(self, "registry"):
                self.settle()
        finally:
            for each in self.patches:
                each.stop()
            for asked in self.asked:
                asked.task.cancel()
            self.loop.settle()
            self.loop.close()
            shutil.rmtree(self.directory)


FEW = settings(max_examples=80, stateful_step_count=40, deadline=None, report_multiple_bugs=False)
MANY = settings(FEW, max_examples=400, stateful_step_count=100)


def test_what_is_served_is_right_whatever_happens() -> None:
    run_state_machine_as_test(RegistryMachine, settings=FEW)


@pytest.mark.slow
def test_what_is_served_is_right_whatever_happens_for_long() -> None:
    run_state_machine_as_test(RegistryMachine, settings=MANY)
