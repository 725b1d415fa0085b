import tomllib
from pathlib import Path

import pytest

from benchmarks.reporting.goals import TIMES_PEER
from benchmarks.servers.peer_catalog import PEERS, peers
from benchmarks.servers.peers.tuning import Tuning

ROOT = Path(__file__).parents[3]
DIRECTORIES = sorted({peer.directory for peer in PEERS.values() if peer.directory})


def test_a_tuning_reaches_the_server_through_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(workers=2, threads=1, batch=16, wait_ms=0.5)
    for name, value in tuning.environment().items():
        monkeypatch.setenv(name, value)
    assert Tuning.told() == tuning


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_every_peer_is_pinned_with_hashes_and_installed_by_make(directory: str) -> None:
    pins = (ROOT / "requirements" / f"peer-{directory}.txt").read_text()
    assert "--hash=sha256:" in pins
    assert "index-url" not in pins
    assert "://" not in pins
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert f"peer-{directory}" in groups
    [listed] = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PEERS = ")]
    assert directory in listed.split()


def test_every_target_names_a_peer() -> None:
    assert {*TIMES_PEER, "mosec-tuned", "sync"} <= set(PEERS)


def test_peers_that_are_not_installed_say_how_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.servers.peer_catalog.ENVIRONMENTS", tmp_path)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "install.log").write_text("Collecting ray\nERROR: No matching distribution found\n")
    absent = {peer.name: peer.absent for peer in peers()}
    assert absent["mosec"] == "not installed: make .peers/mosec/ready"
    assert absent["ray"] == "not installed: ERROR: No matching distribution found"
    assert absent["sync"] is None


def test_no_peer_reports_to_its_makers() -> None:
    for peer in peers():
        assert peer.environment["BENTOML_DO_NOT_TRACK"] == "True"
        assert peer.environment["RAY_USAGE_STATS_ENABLED"] == "0"
