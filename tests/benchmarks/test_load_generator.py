import json
from pathlib import Path

import pytest

from benchmarks.load_generator import LoadResult, LoadSpec, choose_generator, generate_load, parse_wrk_output
from benchmarks.processes import free_port
from tests.benchmarks.http_server import stub_server

NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}
PRINTED = {"duration_us": 2_000_000, "requests": 500, "p50_us": 100, "p90_us": 200, "p99_us": 3000, "max_us": 4000}


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    path = tmp_path / "bodies.jsonl"
    path.write_text("".join(f'{{"number": {number}}}\n' for number in range(100)))
    return path


def load_spec(url: str, bodies: Path) -> LoadSpec:
    return LoadSpec(url + "/predict", bodies, connections=4, duration_s=0.1, timeout_s=5)


def test_wrk_output_is_parsed_into_s_and_ms() -> None:
    output = "Running 2s test\n  Thread Stats\n" + json.dumps(PRINTED | {"errors": NO_ERRORS}) + "\n"
    result = parse_wrk_output(output)
    assert result == LoadResult(2.0, 500, 0.1, 0.2, 3.0, 4.0, {})
    assert result.requests_per_s == 250
    assert result.failure is None


def test_result_with_errors_is_a_failure() -> None:
    result = parse_wrk_output(json.dumps(PRINTED | {"errors": NO_ERRORS | {"timeout": 3, "status": 1}}))
    assert result.failure == "1 status errors, 3 timeout errors"


def test_result_without_responses_is_a_failure() -> None:
    assert LoadResult(1.0, 0, 0, 0, 0, 0, {}).failure == "no request was answered"


def test_wrk_output_without_result_is_quoted() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        parse_wrk_output("unable to connect to 127.0.0.1:1")


def test_default_generator_is_wrk_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert choose_generator(None) == "asyncio"
    with pytest.raises(FileNotFoundError):
        choose_generator("wrk")
    monkeypatch.setattr("shutil.which", lambda name: "/bin/wrk")
    assert choose_generator(None) == "wrk"
    assert choose_generator("asyncio") == "asyncio"


def test_asyncio_generator_cycles_through_bodies(bodies: Path) -> None:
    received: list[int] = []

    def respond(content: dict[str, int]) -> tuple[int, object]:
        received.append(content["number"])
        return 200, {"forecast": [1.0]}

    with stub_server(respond) as url:
        result = generate_load("asyncio", load_spec(url, bodies))
    assert result.failure is None
    assert result.requests > 0
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms <= result.max_ms
    first = received[:100]
    assert sorted(first) == sorted(number % 100 for number in range(len(first)))  # each once before any repeats


def test_asyncio_generator_counts_error_statuses(bodies: Path) -> None:
    with stub_server(lambda content: (503, {})) as url:
        result = generate_load("asyncio", load_spec(url, bodies))
    assert result.errors["status"] >= result.requests > 0


def test_asyncio_generator_counts_refused_connections(bodies: Path) -> None:
    result = generate_load("asyncio", load_spec(f"http://127.0.0.1:{free_port()}", bodies))
    assert result.errors["connect"] > 0
    assert result.requests == 0
