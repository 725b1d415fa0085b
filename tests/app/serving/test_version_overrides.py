"""Tests of the version overrides that server processes share."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.serving.version_overrides import VersionOverride, VersionOverrideStore

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
VERSIONS = st.integers(1, 10**9).map(str)
OVERRIDES = st.builds(VersionOverride, VERSIONS, st.one_of(st.none(), VERSIONS))


def test_override_is_visible_to_other_processes(tmp_path: Path) -> None:
    first, second = VersionOverrideStore(tmp_path), VersionOverrideStore(tmp_path)
    first["default"] = VersionOverride(instead_of="2", version="1")
    assert second["default"] == VersionOverride("2", "1")
    assert dict(second) == {"default": VersionOverride("2", "1")}
    second["default"] = VersionOverride("3", "2")
    assert first["default"] == VersionOverride("3", "2")
    del second["default"]
    assert dict(first) == {}


def test_override_without_version_reads_none(tmp_path: Path) -> None:
    overrides = VersionOverrideStore(tmp_path)
    overrides["default"] = VersionOverride("2", None)
    assert overrides["default"] == VersionOverride("2", None)
    assert overrides["default"].version is None


def test_get_without_override_raises_key_error(tmp_path: Path) -> None:
    overrides = VersionOverrideStore(tmp_path)
    assert overrides.get("default") is None
    assert overrides.pop("default", None) is None
    assert "default" not in overrides
    with pytest.raises(KeyError, match="default"):
        overrides["default"]


def test_pop_deletes_the_override(tmp_path: Path) -> None:
    overrides = VersionOverrideStore(tmp_path)
    overrides["default"] = VersionOverride("2", "1")
    assert overrides.pop("default") == VersionOverride("2", "1")
    assert len(overrides) == 0


def test_pop_after_another_process_deleted_it_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = VersionOverrideStore(tmp_path)
    # It existed when it was read, but no longer when it is deleted.
    monkeypatch.setattr(VersionOverrideStore, "__getitem__", lambda overrides, name: VersionOverride("2", "1"))
    assert overrides.pop("default", None) == VersionOverride("2", "1")


def test_other_files_in_the_directory_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "counter_17.db").write_text("metrics")
    (tmp_path / f"default.{os.getpid()}").write_text("incomplete")
    overrides = VersionOverrideStore(tmp_path)
    assert (list(overrides), len(overrides)) == ([], 0)
    overrides["default"] = VersionOverride("2", "1")
    assert (list(overrides), len(overrides)) == (["default"], 1)


def test_override_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[VersionOverride | None] = []
    first, second = VersionOverrideStore(tmp_path), VersionOverrideStore(tmp_path)
    first["default"] = VersionOverride("2", "1")
    write_text, replace = Path.write_text, Path.replace

    def watched_write_text(self: Path, *args: str, **options: str) -> int:
        seen.append(second.get("default"))
        written = write_text(self, *args, **options)
        seen.append(second.get("default"))
        return written

    def watched_replace(self: Path, target: Path) -> Path:
        seen.append(second.get("default"))
        return replace(self, target)

    monkeypatch.setattr(Path, "write_text", watched_write_text)
    monkeypatch.setattr(Path, "replace", watched_replace)
    first["default"] = VersionOverride("3", "2")
    assert seen == [VersionOverride("2", "1")] * 3
    assert second["default"] == VersionOverride("3", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["default.override"]


def test_concurrent_writers_use_different_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = VersionOverrideStore(tmp_path), VersionOverrideStore(tmp_path)
    replace = Path.replace

    def write_in_between(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(os, "getpid", lambda: 4711)
        second["default"] = VersionOverride("2", None)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", write_in_between)
    first["default"] = VersionOverride("2", "1")
    assert first["default"] == VersionOverride("2", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["default.override"]


@given(st.lists(st.tuples(NAMES, st.one_of(st.none(), OVERRIDES)), max_size=8))
def test_store_behaves_like_a_dict(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, VersionOverride | None]]
) -> None:
    directory = tmp_path_factory.mktemp("overrides")
    kept: dict[str, VersionOverride] = {}
    for name, override in changes:
        overrides = VersionOverrideStore(directory)  # a new instance each time, as in another process
        if override is None:
            assert overrides.pop(name, None) == kept.pop(name, None)
        else:
            overrides[name] = kept[name] = override
        assert dict(VersionOverrideStore(directory)) == kept
        assert len(overrides) == len(kept)
