"""Metrics count what they are told, and every request gets an id, a count and a line in the log."""

import asyncio
import io
import json
import os
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware.request_context import MAX_LOGGED_PATH_CHARS, RequestContextMiddleware
from app.artifact.store import Artifact
from app.observability.logs import RequestLog
from app.observability.metrics import (
    MULTIPROC_DIR_VARIABLE,
    Metrics,
    all_processes_registry,
    metrics_server,
)
from app.serving.batcher import Call
from tests.server_process import free_port


def metric(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


# Counting


def test_an_engine_call_is_counted_with_its_windows_wait_and_duration() -> None:
    metrics = Metrics()
    metrics.called(Call(windows=7, waited_s=0.5, took_s=0.25, failed=False))
    metrics.called(Call(windows=3, waited_s=0.0, took_s=0.25, failed=True))
    assert metric(metrics, "pricecast_call_windows_sum") == 10
    assert metric(metrics, "pricecast_queue_seconds_sum") == 0.5
    assert metric(metrics, "pricecast_engine_seconds_count") == 2
    assert metric(metrics, "pricecast_calls_failed_total") == 1


def test_a_request_is_counted_by_route_method_and_status() -> None:
    metrics = Metrics()
    for status in (200, 200, 422):
        metrics.answered("/predict", "POST", status, 0.001)
    assert metric(metrics, "pricecast_requests_total", route="/predict", method="POST", status="200") == 2
    assert metric(metrics, "pricecast_request_seconds_count", route="/predict") == 3
    assert b'pricecast_requests_total{method="POST",route="/predict",status="422"} 1.0' in metrics.exposition()


def test_a_problem_is_counted_by_its_kind() -> None:
    metrics = Metrics()
    for status, problem in ((200, None), (503, "overloaded"), (503, "draining"), (503, "overloaded")):
        metrics.answered("/predict", "POST", status, 0.001, problem)
    assert metric(metrics, "pricecast_problems_total", reason="overloaded") == 2
    assert metric(metrics, "pricecast_problems_total", reason="draining") == 1
    assert metric(metrics, "pricecast_requests_total", route="/predict", method="POST", status="503") == 3


def test_windows_that_were_not_computed_again_are_counted() -> None:
    metrics = Metrics()
    assert metric(metrics, "pricecast_coalesced_windows_total") == 0
    metrics.joined(3)
    metrics.joined(1)
    assert metric(metrics, "pricecast_coalesced_windows_total") == 4


def test_warnings_are_counted_by_code() -> None:
    metrics = Metrics()
    for code in ("outside_training_range", "constant_window", "outside_training_range"):
        metrics.warned(code)
    assert metric(metrics, "pricecast_warnings_total", code="outside_training_range") == 2
    assert metric(metrics, "pricecast_warnings_total", code="constant_window") == 1


def test_versions_that_could_not_be_loaded_are_counted_by_name() -> None:
    metrics = Metrics()
    metrics.load_failed("default")
    metrics.load_failed("default")
    assert metric(metrics, "pricecast_load_failures_total", name="default") == 2


def test_a_version_is_shown_as_served_until_it_is_not(default: Artifact) -> None:
    metrics = Metrics()
    labels = {"name": "default", "version": default.manifest.version, "engine": "onnx"}
    assert metric(metrics, "pricecast_model_info", **labels) is None
    metrics.serving(default.manifest, "onnx")
    assert metric(metrics, "pricecast_model_info", **labels) == 1
    metrics.serving(default.manifest, "onnx", is_served=False)
    assert metric(metrics, "pricecast_model_info", **labels) == 0


def test_no_metric_is_shared_between_two_applications_of_a_process() -> None:
    one, other = Metrics(), Metrics()
    one.joined(1)
    assert metric(other, "pricecast_coalesced_windows_total") == 0


# A request's scope

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def answering(status: int = 200, route: str | None = "/predict", **state: Any) -> Application:
    """An application that has matched this route, and notes this in the request's state."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if route is not None:
            scope["route"] = SimpleNamespace(path=route)
        scope["state"].update(state)
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b""})

    return application


class Asked:
    """One request through `RequestContextMiddleware`: what came back, what was counted, what was logged."""

    def __init__(
        self,
        application: Application,
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        path: str = "/predict",
        is_logged: bool = True,
        **state: Any,
    ) -> None:
        self.metrics = Metrics()
        self.sent: list[Message] = []
        self.failure: Exception | None = None
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self.scope: Scope = {"type": "http", "method": method, "path": path, "headers": encoded}
        if state:
            self.scope["state"] = state
        stream = io.StringIO()

        async def receive() -> Message:
            raise AssertionError("nobody reads the body")

        async def send(message: Message) -> None:
            self.sent.append(message)

        async def ask() -> None:
            log = RequestLog(stream) if is_logged else None
            try:
                await RequestContextMiddleware(application, self.metrics, log)(self.scope, receive, send)
            except LookupError as error:
                self.failure = error
            if log is not None:
                log.flush()

        asyncio.run(ask())
        self.logged = [json.loads(line) for line in stream.getvalue().splitlines()]

    @property
    def id(self) -> str:
        """What was answered as the request's id; everywhere else it is the same."""
        (answered,) = [value for name, value in self.sent[0]["headers"] if name == b"x-request-id"]
        assert answered.decode() == self.scope["state"]["request_id"] == self.logged[0]["request_id"]
        return str(answered.decode())

    def count(self, **labels: str) -> float | None:
        return metric(self.metrics, "pricecast_requests_total", **labels)


def test_a_request_is_counted_and_logged_when_it_is_answered() -> None:
    asked = Asked(answering(422, problem="invalid-content", client=SimpleNamespace(name="alice")))
    assert asked.count(route="/predict", method="POST", status="422") == 1
    assert metric(asked.metrics, "pricecast_problems_total", reason="invalid-content") == 1
    (line,) = asked.logged
    assert (line["message"], line["status"]) == ("POST /predict 422", 422)
    assert (line["problem"], line["client"]) == ("invalid-content", "alice")
    assert "path" not in line
    assert (b"x-own", b"1") in asked.sent[0]["headers"]
    assert len(asked.sent) == 2


def test_a_request_without_problem_or_client_has_neither_in_its_line() -> None:
    (line,) = Asked(answering()).logged
    assert not {"problem", "client", "path"} & line.keys()


def test_without_a_log_a_request_is_counted_all_the_same() -> None:
    asked = Asked(answering(), is_logged=False)
    assert asked.logged == []
    assert asked.count(route="/predict", method="POST", status="200") == 1


def test_a_path_that_nothing_has_is_counted_as_one_and_logged_cut() -> None:
    asked = Asked(answering(404, route=None), method="BREW", path="/" + 'x"\n' * MAX_LOGGED_PATH_CHARS)
    assert asked.count(route="unmatched", method="any", status="404") == 1
    (line,) = asked.logged
    assert line["message"] == "any unmatched 404"
    assert line["path"] == ("/" + 'x"\n' * MAX_LOGGED_PATH_CHARS)[:MAX_LOGGED_PATH_CHARS]


def test_a_method_that_a_route_has_not_is_not_counted_by_its_name() -> None:
    asked = Asked(answering(405), method="BREW")
    assert asked.count(route="/predict", method="any", status="405") == 1


def test_a_request_that_breaks_the_application_is_counted_as_failed() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("it broke")

    asked = Asked(breaks)
    assert isinstance(asked.failure, LookupError)
    assert asked.count(route="unmatched", method="any", status="500") == 1
    assert asked.logged[0]["status"] == 500


def test_what_is_no_request_passes_untouched() -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nothing is sent or received")

    scope = {"type": "websocket", "path": "/predict/live"}
    asyncio.run(RequestContextMiddleware(application, Metrics(), None)(scope, nothing, nothing))
    assert seen == [{"type": "websocket", "path": "/predict/live"}]


def test_the_id_that_was_sent_goes_before_that_of_the_trace() -> None:
    trace = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    assert Asked(answering(), {"x-request-id": "my-id.1", **trace}).id == "my-id.1"
    assert Asked(answering(), trace).id == TRACE
    assert re.fullmatch("[0-9a-f]{32}", Asked(answering()).id)
    assert Asked(answering()).id != Asked(answering()).id


def test_the_trace_is_logged_whatever_the_id_is() -> None:
    trace = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    for headers in ({"x-request-id": "my-id"}, {}):
        assert Asked(answering(), headers | trace).logged[0]["trace_id"] == TRACE


def test_a_trace_that_is_known_already_goes_before_that_of_the_header() -> None:
    asked = Asked(answering(), {"traceparent": f"00-{TRACE}-{SPAN}-01"}, trace_id=b"f" * 32)
    assert asked.id == asked.logged[0]["trace_id"] == "f" * 32


@pytest.mark.parametrize("sent", ["", "a b", 'a"b', "a\\b", "ü", "x" * 129, "a,b", "<script>"])
def test_an_id_that_could_do_harm_in_a_log_is_not_taken_over(sent: str) -> None:
    asked = Asked(answering(), {"x-request-id": sent, "traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert asked.id == TRACE


@given(st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True))
def test_every_other_id_is_taken_over(sent: str) -> None:
    assert Asked(answering(), {"x-request-id": sent}).id == sent


HEX = "0123456789abcdef"


@st.composite
def traceparents(draw: st.DrawFn) -> tuple[str, str]:
    """A header as it should be, and the trace in it."""
    version, trace, span, flags = (draw(st.text(HEX, min_size=size, max_size=size)) for size in (2, 32, 16, 2))
    assume(version != "ff" and set(trace) != {"0"} and set(span) != {"0"})
    header = f"{version}-{trace}-{span}-{flags}"
    later = st.text(st.characters(min_codepoint=33, max_codepoint=126))  # what a later version may add
    return header + (draw(later.map("-{}".format)) if version != "00" else ""), trace


@given(traceparents())
def test_a_trace_that_a_request_is_part_of_is_honoured(header: tuple[str, str]) -> None:
    sent, trace = header
    assert Asked(answering(), {"traceparent": sent}).id == trace


@pytest.mark.parametrize(
    "sent",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01.",
        f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_a_trace_that_is_none_is_ignored(sent: str) -> None:
    asked = Asked(answering(), {"traceparent": sent})
    assert re.fullmatch("[0-9a-f]{32}", asked.id)
    assert asked.id not in (TRACE, "0" * 32)


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_whatever_is_sent_as_a_trace_the_id_is_one(sent: str) -> None:
    asked = Asked(answering(), {"traceparent": sent})
    assert re.fullmatch("[0-9a-f]{32}", asked.id)
    assert asked.logged[0]["trace_id"] == asked.id


# A port of their own


def is_free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def test_metrics_are_shown_on_their_port_while_it_is_entered() -> None:
    metrics = Metrics()
    port = free_port()
    with metrics_server("127.0.0.1", port, metrics.registry):
        metrics.joined(5)
        with httpx.Client(trust_env=False) as client:
            response = client.get(f"http://127.0.0.1:{port}/metrics")
        assert response.status_code == 200
        assert "pricecast_coalesced_windows_total 5.0" in response.text
    assert is_free(port)


def test_the_port_is_free_again_though_the_server_failed() -> None:
    port = free_port()
    with pytest.raises(LookupError), metrics_server("127.0.0.1", port, CollectorRegistry()):
        raise LookupError("the server failed")
    assert is_free(port)


def test_without_a_port_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.metrics.start_http_server", None)
    with metrics_server("127.0.0.1", 0, CollectorRegistry()):
        pass


def test_a_port_that_is_taken_ends_the_start_with_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SystemExit) as caught,
            metrics_server("127.0.0.1", port, CollectorRegistry()),
        ):
            pytest.fail("never entered")
    assert caught.value.code == f"cannot listen on 127.0.0.1:{port}: Address already in use"


# Of several processes


def counted(directory: Path, process: int, windows: float) -> None:
    """What a worker that has coalesced so many windows leaves in the directory that all share."""
    values = MmapedDict(str(directory / f"counter_{process}.db"))
    key = mmap_key("pricecast_coalesced_windows", "pricecast_coalesced_windows_total", [], [], "Windows.")
    values.write_value(key, windows, 0.0)
    values.close()


def test_the_metrics_of_all_workers_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    counted(tmp_path, 17, 3.0)
    counted(tmp_path, 18, 4.0)
    assert all_processes_registry().get_sample_value("pricecast_coalesced_windows_total") == 7
    metrics = Metrics()
    metrics.warned("of this process alone, and in no file")
    exposition = metrics.exposition()
    assert b"pricecast_coalesced_windows_total 7.0" in exposition
    assert b"of this process alone" not in exposition


def test_one_process_shows_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MULTIPROC_DIR_VARIABLE, raising=False)
    assert MULTIPROC_DIR_VARIABLE not in os.environ
    metrics = Metrics()
    Counter("elsewhere", "In no registry of ours.", registry=CollectorRegistry()).inc()
    metrics.joined(2)
    assert b"pricecast_coalesced_windows_total 2.0" in metrics.exposition()
    assert b"elsewhere" not in metrics.exposition()
