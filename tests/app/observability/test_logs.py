"""Log lines are JSON whatever is in them, and those of requests are written together."""

import asyncio
import io
import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.logs import AT_ONCE, FLUSH_S, JsonLines, RequestLog, log_to_stderr
from tests.virtual_time import in_virtual_time, run, sleep_until

COMMON = {"time", "process", "level", "logger", "message"}


class Stream(io.StringIO):
    """Remembers each write, and can break."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.flushed = 0
        self.broken: Exception | None = None

    def write(self, text: str) -> int:
        if self.broken is not None:
            raise self.broken
        self.writes.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.flushed += 1

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def note(log: RequestLog, number: int = 1, more: dict[str, str] | None = None) -> None:
    log.line(f"request-{number}", "0af7651916cd43dd8448eb211c80319c", "POST", "/predict", 200, 0.0012345, more or {})


# Of what happens beside requests


def test_a_log_record_is_one_line_of_json_whatever_is_in_it() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("app", logging.ERROR, "", 0, "%s was\nwrong", ("it",), failure)
    line = JsonLines().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert read.keys() == COMMON | {"traceback"}
    assert (read["level"], read["logger"], read["message"]) == ("error", "app", "it was\nwrong")
    assert read["process"] == os.getpid()
    assert read["traceback"].endswith("ValueError: two\nlines")
    assert read["time"].endswith("+00:00")


@pytest.fixture
def _no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root logger as it is in a fresh process; afterwards as it was."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)


@pytest.mark.usefixtures("_no_handlers")
def test_every_logger_writes_to_standard_error_from_its_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("warning")
    logging.getLogger("app.somewhere").warning("it is %s", "odd")
    logging.getLogger("app.somewhere").info("it is even")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert json.loads(line)["message"] == "it is odd"


# Of requests


@in_virtual_time
async def test_the_lines_of_requests_are_written_together_a_moment_later() -> None:
    stream = Stream()
    log = RequestLog(stream)
    note(log, 1)
    await sleep_until(FLUSH_S / 2)
    note(log, 2)
    note(log, 3)
    await sleep_until(FLUSH_S * 0.99)
    assert stream.writes == []
    await sleep_until(FLUSH_S)
    assert len(stream.writes) == stream.flushed == 1
    assert [line["request_id"] for line in stream.lines] == ["request-1", "request-2", "request-3"]
    await sleep_until(5.0)
    assert len(stream.writes) == 1  # and nothing polls
    note(log, 4)
    await sleep_until(5.0 + FLUSH_S)
    assert len(stream.writes) == 2
    assert stream.lines[-1]["request_id"] == "request-4"


@in_virtual_time
async def test_what_there_is_can_be_written_at_once_and_is_written_once() -> None:
    stream = Stream()
    log = RequestLog(stream)
    note(log, 1)
    log.flush()
    assert len(stream.lines) == 1
    note(log, 2)
    await sleep_until(5.0)
    assert [line["request_id"] for line in stream.lines] == ["request-1", "request-2"]
    log.flush()
    assert len(stream.lines) == 2


@given(st.lists(st.integers(0, AT_ONCE + 100), min_size=1, max_size=20))
def test_more_than_a_pipe_takes_in_one_step_is_written_line_by_whole_line(sizes: list[int]) -> None:
    async def scenario() -> Stream:
        stream = Stream()
        log = RequestLog(stream)
        for number, size in enumerate(sizes):
            note(log, number, {"path": "x" * size})
        log.flush()
        return stream

    stream = run(scenario())
    assert [line["request_id"] for line in stream.lines] == [f"request-{number}" for number in range(len(sizes))]
    assert stream.flushed == len(stream.writes)
    for written, following in zip(stream.writes, [*stream.writes[1:], ""], strict=True):
        assert written == "" or written.endswith("\n")
        assert len(written) <= AT_ONCE or written.count("\n") == 1  # a line that is too long goes alone
        assert not following or len(written) + len(following.splitlines(keepends=True)[0]) > AT_ONCE


@in_virtual_time
async def test_a_line_says_what_was_asked_and_what_came_of_it() -> None:
    stream = Stream()
    log = RequestLog(stream)
    log.line("my-id", "0af7651916cd43dd8448eb211c80319c", "GET", "/models/{name}", 404, 0.0012345, {"problem": "gone"})
    log.flush()
    (line,) = stream.lines
    datetime.fromisoformat(line.pop("time"))
    assert line == {
        "process": os.getpid(),
        "level": "info",
        "logger": "app.request",
        "message": "GET /models/{name} 404",
        "request_id": "my-id",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "method": "GET",
        "route": "/models/{name}",
        "status": 404,
        "took_ms": pytest.approx(1.2345, abs=0.001),
        "problem": "gone",
    }


@in_virtual_time
async def test_it_is_in_the_form_of_every_other_line() -> None:
    stream = Stream()
    log = RequestLog(stream)
    note(log)
    log.flush()
    record = logging.LogRecord("app.request", logging.INFO, "", 0, "POST /predict 200", (), None)
    other = json.loads(JsonLines().format(record))
    (line,) = stream.lines
    assert list(line)[: len(other)] == list(other)
    assert {name: line[name] for name in COMMON - {"time"}} == {name: other[name] for name in COMMON - {"time"}}
    assert len(line["time"]) == len(other["time"])
    assert line["time"][-6:] == other["time"][-6:] == "+00:00"


@given(st.dictionaries(st.sampled_from(["problem", "client", "path"]), st.text()))
def test_whatever_else_is_known_is_written_as_it_is_on_one_line(more: dict[str, str]) -> None:
    async def scenario() -> Stream:
        stream = Stream()
        log = RequestLog(stream)
        note(log, more=more)
        log.flush()
        return stream

    stream = run(scenario())
    assert stream.getvalue().count("\n") == 1
    (line,) = stream.lines
    assert {name: line[name] for name in line.keys() & {"problem", "client", "path"}} == {
        name: value for name, value in more.items() if value
    }
    assert line.keys() - more.keys() == COMMON | {"request_id", "trace_id", "method", "route", "status", "took_ms"}


@given(
    st.lists(
        st.one_of(
            st.floats(0, 4e9),
            st.integers(0, 4 * 10**9).map(float),
            st.integers(1, 4 * 10**9).map(lambda second: second - 2.0**-20),  # a microsecond before
        ),
        min_size=1,
        max_size=5,
    )
)
def test_its_time_is_that_of_the_clock_cut_to_the_millisecond(times: list[float]) -> None:
    async def scenario() -> Stream:
        stream = Stream()
        log = RequestLog(stream)
        with pytest.MonkeyPatch.context() as patch:
            for now in times:
                patch.setattr(time, "time", lambda now=now: now)
                note(log)
        log.flush()
        return stream

    for now, line in zip(times, run(scenario()).lines, strict=True):
        assert len(line["time"]) == len("2031-02-03T04:05:06.007+00:00")
        noted = datetime.fromisoformat(line["time"])
        assert noted.tzinfo == UTC
        assert 0 <= now - noted.timestamp() < 0.001 + 1e-6


@in_virtual_time
@pytest.mark.parametrize("error", [BrokenPipeError("the reader has gone"), OSError("full"), ValueError("closed")])
async def test_a_log_that_cannot_be_written_keeps_nobody_from_being_answered(error: Exception) -> None:
    stream = Stream()
    log = RequestLog(stream)
    stream.broken = error
    note(log, 1)
    await sleep_until(1.0)
    note(log, 2)
    log.flush()
    stream.broken = None
    note(log, 3)
    await sleep_until(2.0)
    assert [line["request_id"] for line in stream.lines] == ["request-3"]  # and lines do not pile up meanwhile


@in_virtual_time
async def test_a_closed_stream_harms_nobody() -> None:
    stream = Stream()
    log = RequestLog(stream)
    stream.close()
    note(log)
    await asyncio.sleep(1.0)
    log.flush()


@in_virtual_time
async def test_it_writes_to_standard_error_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    log = RequestLog()
    note(log)
    log.flush()
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["request_id"] == "request-1"
