import pytest

from benchmarks.servers.peers.tuning import Tuning


def test_tuning_round_trips_through_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(workers=2, threads=1, batch=16, wait_ms=0.5)
    for name, value in tuning.to_env().items():
        monkeypatch.setenv(name, value)
    assert Tuning.from_env() == tuning
