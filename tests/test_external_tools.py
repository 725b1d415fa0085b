"""The lookup of external programs skips or fails if they are missing."""

import pytest

from tests.external_tools import require_tool


def test_require_tool_returns_the_first_installed_program() -> None:
    assert require_tool("no-such-program", "sh").endswith("/sh")


def test_missing_tool_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLS_REQUIRED", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-program"):
        require_tool("no-such-program")


def test_missing_tool_fails_the_test_if_tools_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS_REQUIRED", "1")
    with pytest.raises(AssertionError, match="no-such-program"):
        require_tool("no-such-program")
