import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.load_generator import Load, Order, answers, choose, make, read_wrk
from benchmarks.processes import free_port
from tests.benchmarks.http_server import answering

QUIET = {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}
PRINTED = {"duration_us": 2_000_000, "requests": 500, "p50_us": 100, "p90_us": 200, "p99_us": 3000, "max_us": 4000}


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    path = tmp_path / "bodies.jsonl"
    path.write_text("".join(f'{{"number": {number}}}\n' for number in range(100)))
    return path


def order(url: str, bodies: Path) -> Order:
    return Order(url + "/predict", bodies, connections=4, seconds=0.1, timeout_s=5)


def test_what_wrk_prints_is_read_in_seconds_and_milliseconds() -> None:
    output = "Running 2s test\n  Thread Stats\n" + json.dumps(PRINTED | {"errors": QUIET}) + "\n"
    load = read_wrk(output)
    assert load == Load(2.0, 500, 0.1, 0.2, 3.0, 4.0, {})
    assert load.requests_per_s == 250
    assert load.failure is None


def test_every_kind_of_error_makes_a_load_a_failure() -> None:
    load = read_wrk(json.dumps(PRINTED | {"errors": QUIET | {"timeout": 3, "status": 1}}))
    assert load.failure == "1 status errors, 3 timeout errors"


def test_a_load_without_answers_is_a_failure() -> None:
    assert Load(1.0, 0, 0, 0, 0, 0, {}).failure == "no request was answered"


def test_a_wrk_that_prints_no_result_is_quoted() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        read_wrk("unable to connect to 127.0.0.1:1")


def test_the_generator_is_wrk_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert choose(None) == "asyncio"
    with pytest.raises(FileNotFoundError):
        choose("wrk")
    monkeypatch.setattr("shutil.which", lambda name: "/bin/wrk")
    assert choose(None) == "wrk"
    assert choose("asyncio") == "asyncio"


def test_the_generator_of_our_own_cycles_through_the_bodies(bodies: Path) -> None:
    seen: list[int] = []

    def answer(content: dict[str, int]) -> tuple[int, object]:
        seen.append(content["number"])
        return 200, {"forecast": [1.0]}

    with answering(answer) as url:
        load = make("asyncio", order(url, bodies))
    assert load.failure is None
    assert load.requests > 0
    assert 0 < load.p50_ms <= load.p90_ms <= load.p99_ms <= load.max_ms
    assert sorted(seen[:100]) == sorted(number % 100 for number in range(len(seen[:100])))  # each once, then again


def test_answers_that_are_no_success_are_counted(bodies: Path) -> None:
    with answering(lambda content: (503, {})) as url:
        load = make("asyncio", order(url, bodies))
    assert load.errors["status"] >= load.requests > 0


def test_nobody_listening_is_an_error(bodies: Path) -> None:
    load = make("asyncio", order(f"http://127.0.0.1:{free_port()}", bodies))
    assert load.errors["connect"] > 0
    assert load.requests == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_answers_come_in_the_order_of_the_questions(chunked: bool) -> None:
    questions = [b'{"number": %d}' % number for number in range(20)]
    with answering(lambda content: (200, content["number"] * 2), chunked=chunked) as url:
        found = asyncio.run(answers(url + "/predict", questions, connections=3, timeout_s=5))
    assert found == [(200, number * 2) for number in range(20)]


def test_an_answer_that_is_no_success_is_told_as_it_came() -> None:
    with answering(lambda content: (422, {"detail": "no"})) as url:
        assert asyncio.run(answers(url + "/predict", [b"{}"], 1, 5)) == [(422, '{"detail": "no"}')]
