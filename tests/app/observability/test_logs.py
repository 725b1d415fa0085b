"""Log lines are valid JSON, and those of requests are written in batches."""

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

from app.observability.logs import (
    FLUSH_INTERVAL_S,
    MAX_WRITE_BYTES,
    JsonFormatter,
    RequestLog,
    configure_logging,
)
from tests.virtual_time import in_virtual_time, run, sleep_until

COMMON_FIELDS = {"time", "process", "level", "logger", "message"}


class RecordingStream(io.StringIO):
    """A stream that records each write, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.flush_count = 0
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        self.writes.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.flush_count += 1

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def add_line(log: RequestLog, number: int = 1, extra: dict[str, str] | None = None) -> None:
    log.add(f"request-{number}", "0af7651916cd43dd8448eb211c80319c", "POST", "/predict", 200, 0.0012345, extra or {})


# JsonFormatter and configure_logging


def test_formatter_escapes_newlines_and_tracebacks() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("app", logging.ERROR, "", 0, "%s was\nwrong", ("it",), failure)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.keys() == COMMON_FIELDS | {"traceback"}
    assert (fields["level"], fields["logger"], fields["message"]) == ("error", "app", "it was\nwrong")
    assert fields["process"] == os.getpid()
    assert fields["traceback"].endswith("ValueError: two\nlines")
    assert fields["time"].endswith("+00:00")


@pytest.fixture
def _fresh_root_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root logger as in a new process. It is restored after the test."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)


@pytest.mark.usefixtures("_fresh_root_logger")
def test_configure_logging_writes_from_its_level_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    logging.getLogger("app.somewhere").warning("it is %s", "odd")
    logging.getLogger("app.somewhere").info("it is even")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert json.loads(line)["message"] == "it is odd"


# RequestLog: when it writes


@in_virtual_time
async def test_request_log_writes_lines_in_batches() -> None:
    stream = RecordingStream()
    log = RequestLog(stream)
    add_line(log, 1)
    await sleep_until(FLUSH_INTERVAL_S / 2)
    add_line(log, 2)
    add_line(log, 3)
    await sleep_until(FLUSH_INTERVAL_S * 0.99)
    assert stream.writes == []
    await sleep_until(FLUSH_INTERVAL_S)
    assert len(stream.writes) == stream.flush_count == 1
    assert [line["request_id"] for line in stream.lines] == ["request-1", "request-2", "request-3"]
    await sleep_until(5.0)
    assert len(stream.writes) == 1, "an idle log does not poll"
    add_line(log, 4)
    await sleep_until(5.0 + FLUSH_INTERVAL_S)
    assert len(stream.writes) == 2
    assert stream.lines[-1]["request_id"] == "request-4"


@in_virtual_time
async def test_request_log_flush_writes_each_line_once() -> None:
    stream = RecordingStream()
    log = RequestLog(stream)
    add_line(log, 1)
    log.flush()
    assert len(stream.lines) == 1
    add_line(log, 2)
    await sleep_until(5.0)
    assert [line["request_id"] for line in stream.lines] == ["request-1", "request-2"]
    log.flush()
    assert len(stream.lines) == 2


@given(st.lists(st.integers(0, MAX_WRITE_BYTES + 100), min_size=1, max_size=20))
def test_request_log_splits_large_writes_between_lines(sizes: list[int]) -> None:
    async def scenario() -> RecordingStream:
        stream = RecordingStream()
        log = RequestLog(stream)
        for number, size in enumerate(sizes):
            add_line(log, number, {"path": "x" * size})
        log.flush()
        return stream

    stream = run(scenario())
    assert [line["request_id"] for line in stream.lines] == [f"request-{number}" for number in range(len(sizes))]
    assert stream.flush_count == len(stream.writes)
    for written, following in zip(stream.writes, [*stream.writes[1:], ""], strict=True):
        assert written == "" or written.endswith("\n")
        assert len(written) <= MAX_WRITE_BYTES or written.count("\n") == 1, "only a single line may exceed the limit"
        assert not following or len(written) + len(following.splitlines(keepends=True)[0]) > MAX_WRITE_BYTES


# RequestLog: the content of a line


@in_virtual_time
async def test_request_log_line_has_all_fields() -> None:
    stream = RecordingStream()
    log = RequestLog(stream)
    log.add("my-id", "0af7651916cd43dd8448eb211c80319c", "GET", "/models/{name}", 404, 0.0012345, {"problem": "gone"})
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
async def test_request_log_line_matches_json_formatter() -> None:
    stream = RecordingStream()
    log = RequestLog(stream)
    add_line(log)
    log.flush()
    record = logging.LogRecord("app.request", logging.INFO, "", 0, "POST /predict 200", (), None)
    other = json.loads(JsonFormatter().format(record))
    (line,) = stream.lines
    fields = COMMON_FIELDS - {"time"}
    assert list(line)[: len(other)] == list(other)
    assert {name: line[name] for name in fields} == {name: other[name] for name in fields}
    assert len(line["time"]) == len(other["time"])
    assert line["time"][-6:] == other["time"][-6:] == "+00:00"


@given(st.dictionaries(st.sampled_from(["problem", "client", "path"]), st.text()))
def test_request_log_escapes_extra_fields(extra: dict[str, str]) -> None:
    async def scenario() -> RecordingStream:
        stream = RecordingStream()
        log = RequestLog(stream)
        add_line(log, extra=extra)
        log.flush()
        return stream

    stream = run(scenario())
    assert stream.getvalue().count("\n") == 1
    (line,) = stream.lines
    assert {name: line[name] for name in line.keys() & {"problem", "client", "path"}} == {
        name: value for name, value in extra.items() if value
    }
    assert line.keys() - extra.keys() == COMMON_FIELDS | {
        "request_id", "trace_id", "method", "route", "status", "took_ms",
    }  # fmt: skip


@given(
    st.lists(
        st.one_of(
            st.floats(0, 4e9),
            st.integers(0, 4 * 10**9).map(float),
            st.integers(1, 4 * 10**9).map(lambda second: second - 2.0**-20),  # a microsecond before a full second
        ),
        min_size=1,
        max_size=5,
    )
)
def test_request_log_truncates_the_time_to_milliseconds(times: list[float]) -> None:
    async def scenario() -> RecordingStream:
        stream = RecordingStream()
        log = RequestLog(stream)
        with pytest.MonkeyPatch.context() as patch:
            for now in times:
                patch.setattr(time, "time", lambda now=now: now)
                add_line(log)
        log.flush()
        return stream

    for now, line in zip(times, run(scenario()).lines, strict=True):
        assert len(line["time"]) == len("2031-02-03T04:05:06.007+00:00")
        logged = datetime.fromisoformat(line["time"])
        assert logged.tzinfo == UTC
        assert 0 <= now - logged.timestamp() < 0.001 + 1e-6


# RequestLog: where it writes


@in_virtual_time
@pytest.mark.parametrize("error", [BrokenPipeError("the reader has gone"), OSError("full"), ValueError("closed")])
async def test_request_log_drops_lines_that_cannot_be_written(error: Exception) -> None:
    stream = RecordingStream()
    log = RequestLog(stream)
    stream.error = error
    add_line(log, 1)
    await sleep_until(1.0)
    add_line(log, 2)
    log.flush()
    stream.error = None
    add_line(log, 3)
    await sleep_until(2.0)
    assert [line["request_id"] for line in stream.lines] == ["request-3"], "failed lines do not pile up"


@in_virtual_time
async def test_request_log_ignores_a_closed_stream() -> None:
    stream = RecordingStream()
    log = RequestLog(stream)
    stream.close()
    add_line(log)
    await asyncio.sleep(1.0)
    log.flush()


@in_virtual_time
async def test_request_log_writes_to_stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    log = RequestLog()
    add_line(log)
    log.flush()
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["request_id"] == "request-1"
