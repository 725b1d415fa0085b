"""Pins in a directory: what one worker notes, every other finds, whole."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.serving.version_overrides import VersionOverride, VersionOverrideStore

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
VERSIONS = st.integers(1, 10**9).map(str)
PINS = st.builds(VersionOverride, VERSIONS, st.one_of(st.none(), VERSIONS))


def test_what_one_worker_notes_every_other_finds(tmp_path: Path) -> None:
    one, other = VersionOverrideStore(tmp_path), VersionOverrideStore(tmp_path)
    one["default"] = VersionOverride(instead_of="2", version="1")
    assert other["default"] == VersionOverride("2", "1")
    assert dict(other) == {"default": VersionOverride("2", "1")}
    other["default"] = VersionOverride("3", "2")
    assert one["default"] == VersionOverride("3", "2")
    del other["default"]
    assert dict(one) == {}


def test_a_pin_to_nothing_is_not_one_to_a_version(tmp_path: Path) -> None:
    overrides = VersionOverrideStore(tmp_path)
    overrides["default"] = VersionOverride("2", None)
    assert overrides["default"] == VersionOverride("2", None)
    assert overrides["default"].version is None


def test_a_name_without_a_pin_is_missing(tmp_path: Path) -> None:
    overrides = VersionOverrideStore(tmp_path)
    assert overrides.get("default") is None
    assert overrides.pop("default", None) is None
    assert "default" not in overrides
    with pytest.raises(KeyError, match="default"):
        overrides["default"]


def test_a_pin_is_deleted_once(tmp_path: Path) -> None:
    overrides = VersionOverrideStore(tmp_path)
    overrides["default"] = VersionOverride("2", "1")
    assert overrides.pop("default") == VersionOverride("2", "1")
    assert len(overrides) == 0


def test_a_pin_that_another_worker_has_just_deleted_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = VersionOverrideStore(tmp_path)
    monkeypatch.setattr(
        VersionOverrideStore, "__getitem__", lambda overrides, name: VersionOverride("2", "1")
    )  # it was there, a moment ago
    assert overrides.pop("default", None) == VersionOverride("2", "1")


def test_other_files_in_the_directory_are_no_pins(tmp_path: Path) -> None:
    (tmp_path / "counter_17.db").write_text("metrics")
    (tmp_path / f"default.{os.getpid()}").write_text("half of a p")
    overrides = VersionOverrideStore(tmp_path)
    assert (list(overrides), len(overrides)) == ([], 0)
    overrides["default"] = VersionOverride("2", "1")
    assert (list(overrides), len(overrides)) == (["default"], 1)


def test_a_pin_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[VersionOverride | None] = []
    one, other = VersionOverrideStore(tmp_path), VersionOverrideStore(tmp_path)
    one["default"] = VersionOverride("2", "1")
    write_text, replace = Path.write_text, Path.replace

    def write_watched(self: Path, *args: str, **how: str) -> int:
        seen.append(other.get("default"))
        written = write_text(self, *args, **how)
        seen.append(other.get("default"))
        return written

    def replace_watched(self: Path, target: Path) -> Path:
        seen.append(other.get("default"))
        return replace(self, target)

    monkeypatch.setattr(Path, "write_text", write_watched)
    monkeypatch.setattr(Path, "replace", replace_watched)
    one["default"] = VersionOverride("3", "2")
    assert seen == [VersionOverride("2", "1")] * 3
    assert other["default"] == VersionOverride("3", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["default.override"]


def test_two_workers_that_write_at_the_same_time_write_to_different_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = VersionOverrideStore(tmp_path), VersionOverrideStore(tmp_path)
    replace = Path.replace

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(os, "getpid", lambda: 4711)
        other["default"] = VersionOverride("2", None)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    one["default"] = VersionOverride("2", "1")
    assert one["default"] == VersionOverride("2", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["default.override"]


@given(st.lists(st.tuples(NAMES, st.one_of(st.none(), PINS)), max_size=8))
def test_it_keeps_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, VersionOverride | None]]
) -> None:
    directory = tmp_path_factory.mktemp("overrides")
    kept: dict[str, VersionOverride] = {}
    for name, override in changes:
        overrides = VersionOverrideStore(directory)  # whichever worker it is
        if override is None:
            assert overrides.pop(name, None) == kept.pop(name, None)
        else:
            overrides[name] = kept[name] = override
        assert dict(VersionOverrideStore(directory)) == kept
        assert len(overrides) == len(kept)
