import json

import pytest

from benchmarks.reporting.rounds import Figures, format_rounds, print_rounds

ROUNDS: list[Figures] = [{"p50_ms": 1.0, "failures": 0}, {"p50_ms": 3.0, "failures": 0, "status_503": 7}]
TABLE = """\
p50_ms                          2.000  (1.000 to 3.000)
failures                        0.000  (0.000 to 0.000)
status_503                      7.000  (7.000 to 7.000)"""


def test_table_includes_figures_missing_in_some_rounds() -> None:
    assert format_rounds(ROUNDS) == TABLE


def test_rounds_are_printed_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.processes.prevent_orphans", lambda: None)
    print_rounds(iter(ROUNDS))
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.err.splitlines()] == ROUNDS
    machine, _, rest = printed.out.partition("\n")
    assert "cores" in json.loads(machine)
    assert rest == TABLE + "\n"
