"""`python -m app`: which verb does what, and what a mistake in the settings is answered with."""

import os

import pytest

from app import __main__ as verbs
from app import api_keys
from app.server import supervisor, uvicorn_server
from app.settings import PREFIX, Settings


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


# Keys


def test_a_key_is_shown_once_with_what_to_write_into_the_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verbs.main(["key", "alice"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    key_line, setting_line = out.splitlines()
    key, setting = key_line.rpartition(" ")[2], setting_line.rpartition(" ")[2]
    assert "PRICECAST_API_KEYS" in setting_line
    assert "PRICECAST_ADMIN_KEYS" in setting_line
    monkeypatch.setenv("PRICECAST_API_KEYS", setting)
    found = api_keys.find(Settings().api_keys, key.encode())
    assert found is not None
    assert (found.client, found.expires) == ("alice", None)


@pytest.mark.parametrize("client", ["Alice", "", "-alice ", "al ice", "alice:bob", "a" * 65, "alice,bob", "älice"])
def test_a_name_that_is_none_for_a_client_makes_no_key(client: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verbs.main(["key", "--", client]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{client!r} is no name for a client: lower-case letters, digits, - and _, 64 at most\n"


@pytest.mark.parametrize("arguments", [["key"], ["serve"], ["key", "alice", "bob"]])
def test_what_it_does_not_know_it_says(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        verbs.main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m app" in capsys.readouterr().err


# Serving


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been started: the level of the log, then the server or the supervisor with its settings."""
    started: list[object] = []

    class Supervisor:
        def __init__(self, settings: Settings) -> None:
            self._settings = settings

        def run(self) -> int:
            started.append(("supervisor", self._settings))
            return 7

    def serve(settings: Settings) -> int:
        started.append(("server", settings))
        return 5

    monkeypatch.setattr(verbs, "log_to_stderr", started.append)
    monkeypatch.setattr(supervisor, "Supervisor", Supervisor)
    monkeypatch.setattr(uvicorn_server, "serve", serve)
    return started


def test_without_a_verb_it_serves_in_this_process(monkeypatch: pytest.MonkeyPatch, started: list[object]) -> None:
    monkeypatch.setenv("PRICECAST_PORT", "8123")
    monkeypatch.setenv("PRICECAST_LOG_LEVEL", "warning")
    assert verbs.main([]) == 5
    assert started == ["warning", ("server", Settings())]


def test_several_workers_have_a_supervisor(monkeypatch: pytest.MonkeyPatch, started: list[object]) -> None:
    monkeypatch.setenv("PRICECAST_WORKERS", "2")
    assert verbs.main([]) == 7
    assert started == ["info", ("supervisor", Settings())]


def test_mistakes_in_the_settings_are_said_by_name_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], started: list[object]
) -> None:
    key, _ = api_keys.new("alice")
    monkeypatch.setenv("PRICECAST_PORT", "http")
    monkeypatch.setenv("PRICECAST_API_KEYS", key)
    assert verbs.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = sorted(err.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("PRICECAST_API_KEYS: ")
    assert "entry 1 is not CLIENT:SHA256" in lines[0]
    assert lines[1].startswith("PRICECAST_PORT: ")
    assert key not in err
    assert started == []


def test_settings_that_disagree_are_said_without_a_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], started: list[object]
) -> None:
    monkeypatch.setenv("PRICECAST_HOST", "0.0.0.0")
    assert verbs.main([]) == 2
    err = capsys.readouterr().err
    assert err.startswith("settings: ")
    assert "others can reach 0.0.0.0" in err
    assert started == []
