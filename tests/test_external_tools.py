"""The finder of programs is honest about what is missing."""

import pytest

from tests.external_tools import tool


def test_the_first_program_that_there_is_is_found() -> None:
    assert tool("no-such-program", "sh").endswith("/sh")


def test_a_missing_program_skips_and_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLS_REQUIRED", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-program"):
        tool("no-such-program")


def test_where_tools_are_required_a_missing_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS_REQUIRED", "1")
    with pytest.raises(AssertionError, match="no-such-program"):
        tool("no-such-program")
