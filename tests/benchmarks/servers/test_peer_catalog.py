import tomllib
from pathlib import Path

import pytest

from benchmarks.processes import ROOT
from benchmarks.reporting.goals import MIN_RATIO_TO_PEER, PLAIN_PEER, TUNED_PEER
from benchmarks.servers.peer_catalog import PEERS, peer_servers

ENVIRONMENT_NAMES = sorted({peer.environment_name for peer in PEERS.values() if peer.environment_name})


@pytest.mark.parametrize("name", ENVIRONMENT_NAMES)
def test_peer_environment_is_pinned_and_installed_by_make(name: str) -> None:
    pins = (ROOT / "requirements" / f"peer-{name}.txt").read_text()
    assert "--hash=sha256:" in pins
    assert "index-url" not in pins
    assert "://" not in pins
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert f"peer-{name}" in groups
    [peers] = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("PEERS = ")]
    assert name in peers.split()


def test_every_goal_refers_to_a_known_peer() -> None:
    assert (TUNED_PEER, PLAIN_PEER) == ("mosec-tuned", "sync")
    assert {*MIN_RATIO_TO_PEER, TUNED_PEER, PLAIN_PEER} <= set(PEERS)


def test_missing_peer_reports_install_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.servers.peer_catalog.ENVIRONMENTS", tmp_path)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "install.log").write_text("Collecting ray\nERROR: No matching distribution found\n")
    unavailable = {peer.name: peer.unavailable for peer in peer_servers()}
    assert unavailable["mosec"] == "not installed: make .peers/mosec/ready"
    assert unavailable["ray"] == "not installed: ERROR: No matching distribution found"
    assert unavailable["sync"] is None


def test_telemetry_of_every_peer_is_disabled() -> None:
    for peer in peer_servers():
        assert peer.environment["BENTOML_DO_NOT_TRACK"] == "True"
        assert peer.environment["RAY_USAGE_STATS_ENABLED"] == "0"
