"""`python -m app`: the commands, and the messages for invalid settings."""

import pytest

from app import __main__ as command_line
from app import api_keys
from app.server import supervisor, uvicorn_server
from app.settings import Settings

pytestmark = pytest.mark.usefixtures("_no_settings_in_the_environment")


# key


def test_key_command_prints_key_and_settings_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["key", "alice"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    key_line, entry_line = out.splitlines()
    key, entry = key_line.rpartition(" ")[2], entry_line.rpartition(" ")[2]
    assert "PRICECAST_API_KEYS" in entry_line
    assert "PRICECAST_ADMIN_KEYS" in entry_line
    monkeypatch.setenv("PRICECAST_API_KEYS", entry)
    found = api_keys.find(Settings().api_keys, key.encode())
    assert found is not None
    assert (found.client, found.expires) == ("alice", None)


@pytest.mark.parametrize("client", ["Alice", "", "-alice ", "al ice", "alice:bob", "a" * 65, "alice,bob", "älice"])
def test_key_command_rejects_invalid_client_name(client: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["key", "--", client]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"invalid client name {client!r}: use up to 64 lower-case letters, digits, - and _, "
        "starting with a letter or digit\n"
    )


@pytest.mark.parametrize("arguments", [["key"], ["serve"], ["key", "alice", "bob"]])
def test_invalid_arguments_print_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m app" in capsys.readouterr().err


# Serving


@pytest.fixture
def start_calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replace the server and the supervisor by fakes. Records the log level, then which of them `main` started."""
    start_calls: list[object] = []

    class FakeSupervisor:
        def __init__(self, settings: Settings) -> None:
            self._settings = settings

        def run(self) -> int:
            start_calls.append(("supervisor", self._settings))
            return 7

    def serve(settings: Settings) -> int:
        start_calls.append(("server", settings))
        return 5

    monkeypatch.setattr(command_line, "configure_logging", start_calls.append)
    monkeypatch.setattr(supervisor, "Supervisor", FakeSupervisor)
    monkeypatch.setattr(uvicorn_server, "serve", serve)
    return start_calls


def test_main_without_command_serves_in_process(monkeypatch: pytest.MonkeyPatch, start_calls: list[object]) -> None:
    monkeypatch.setenv("PRICECAST_PORT", "8123")
    monkeypatch.setenv("PRICECAST_LOG_LEVEL", "warning")
    assert command_line.main([]) == 5
    assert start_calls == ["warning", ("server", Settings())]


def test_several_workers_run_under_a_supervisor(monkeypatch: pytest.MonkeyPatch, start_calls: list[object]) -> None:
    monkeypatch.setenv("PRICECAST_WORKERS", "2")
    assert command_line.main([]) == 7
    assert start_calls == ["info", ("supervisor", Settings())]


def test_invalid_settings_are_reported_and_nothing_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start_calls: list[object]
) -> None:
    key, _ = api_keys.generate("alice")
    monkeypatch.setenv("PRICECAST_PORT", "http")
    monkeypatch.setenv("PRICECAST_API_KEYS", key)
    assert command_line.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = sorted(err.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("PRICECAST_API_KEYS: entry 1 is not CLIENT:SHA256")
    assert lines[1].startswith("PRICECAST_PORT: ")
    assert key not in err
    assert start_calls == []


def test_inconsistent_settings_are_reported_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], start_calls: list[object]
) -> None:
    monkeypatch.setenv("PRICECAST_HOST", "0.0.0.0")
    assert command_line.main([]) == 2
    err = capsys.readouterr().err
    assert err.startswith("PRICECAST_API_KEYS is empty, but PRICECAST_HOST '0.0.0.0' is not a loopback address.")
    assert len(err.splitlines()) == 1
    assert start_calls == []
