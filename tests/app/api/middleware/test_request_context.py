"""`RequestContextMiddleware` around minimal applications: request IDs, metrics and log lines."""

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware.request_context import MAX_LOGGED_PATH_CHARS, RequestContextMiddleware
from app.observability.logs import RequestLog
from app.observability.metrics import Metrics

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def respond_with(status: int = 200, route: str | None = "/predict", **state: Any) -> Application:
    """Return an application that responds with `status`, and sets the matched route and the request's state."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if route is not None:
            scope["route"] = SimpleNamespace(path=route)
        scope["state"].update(state)
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b""})

    return application


class Exchange:
    """One request through the middleware: the messages sent, the metrics and the log lines."""

    def __init__(
        self,
        application: Application,
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        path: str = "/predict",
        has_log: bool = True,
        **state: Any,
    ) -> None:
        self.metrics = Metrics()
        self.sent: list[Message] = []
        self.error: Exception | None = None
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self.scope: Scope = {"type": "http", "method": method, "path": path, "headers": encoded}
        if state:
            self.scope["state"] = state
        stream = io.StringIO()

        async def receive() -> Message:
            raise AssertionError("the middleware does not read the body")

        async def send(message: Message) -> None:
            self.sent.append(message)

        async def handle() -> None:
            log = RequestLog(stream) if has_log else None
            try:
                await RequestContextMiddleware(application, self.metrics, log)(self.scope, receive, send)
            except LookupError as error:
                self.error = error
            if log is not None:
                log.flush()

        asyncio.run(handle())
        self.log_lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    @property
    def request_id(self) -> str:
        """The request ID in the response, which is the same in the state and in the log."""
        (sent_id,) = [value for name, value in self.sent[0]["headers"] if name == b"x-request-id"]
        assert sent_id.decode() == self.scope["state"]["request_id"] == self.log_lines[0]["request_id"]
        return str(sent_id.decode())

    def sample(self, name: str, /, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def count(self, **labels: str) -> float | None:
        return self.sample("pricecast_requests_total", **labels)


# Counting and logging


def test_request_is_counted_and_logged_with_problem_and_client() -> None:
    exchange = Exchange(respond_with(422, problem="invalid-content", client=SimpleNamespace(name="alice")))
    assert exchange.count(route="/predict", method="POST", status="422") == 1
    assert exchange.sample("pricecast_problems_total", reason="invalid-content") == 1
    (line,) = exchange.log_lines
    assert (line["message"], line["status"]) == ("POST /predict 422", 422)
    assert (line["problem"], line["client"]) == ("invalid-content", "alice")
    assert "path" not in line
    assert (b"x-own", b"1") in exchange.sent[0]["headers"]
    assert len(exchange.sent) == 2


def test_log_line_omits_missing_problem_client_and_path() -> None:
    (line,) = Exchange(respond_with()).log_lines
    assert not {"problem", "client", "path"} & line.keys()


def test_request_without_a_log_is_counted() -> None:
    exchange = Exchange(respond_with(), has_log=False)
    assert exchange.log_lines == []
    assert exchange.count(route="/predict", method="POST", status="200") == 1


def test_unmatched_path_is_one_route_and_logged_truncated() -> None:
    exchange = Exchange(respond_with(404, route=None), method="BREW", path="/" + 'x"\n' * MAX_LOGGED_PATH_CHARS)
    assert exchange.count(route="unmatched", method="any", status="404") == 1
    (line,) = exchange.log_lines
    assert line["message"] == "any unmatched 404"
    assert line["path"] == ("/" + 'x"\n' * MAX_LOGGED_PATH_CHARS)[:MAX_LOGGED_PATH_CHARS]


def test_method_not_allowed_is_counted_without_the_method() -> None:
    exchange = Exchange(respond_with(405), method="BREW")
    assert exchange.count(route="/predict", method="any", status="405") == 1


def test_exception_in_the_application_is_counted_as_500() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("it broke")

    exchange = Exchange(failing)
    assert isinstance(exchange.error, LookupError)
    assert exchange.count(route="unmatched", method="any", status="500") == 1
    assert exchange.log_lines[0]["status"] == 500


def test_websocket_passes_through_unchanged() -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def unused(*_: Any) -> Any:
        raise AssertionError("nothing is sent or received")

    scope = {"type": "websocket", "path": "/predict/live"}
    asyncio.run(RequestContextMiddleware(application, Metrics(), None)(scope, unused, unused))
    assert seen == [{"type": "websocket", "path": "/predict/live"}]


# Request and trace IDs


def test_request_id_header_takes_precedence_over_the_trace() -> None:
    trace = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    assert Exchange(respond_with(), {"x-request-id": "my-id.1", **trace}).request_id == "my-id.1"
    assert Exchange(respond_with(), trace).request_id == TRACE_ID
    assert re.fullmatch("[0-9a-f]{32}", Exchange(respond_with()).request_id)
    assert Exchange(respond_with()).request_id != Exchange(respond_with()).request_id


def test_trace_id_is_logged_with_any_request_id() -> None:
    trace = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    for headers in ({"x-request-id": "my-id"}, {}):
        assert Exchange(respond_with(), headers | trace).log_lines[0]["trace_id"] == TRACE_ID


def test_trace_id_in_the_state_takes_precedence_over_the_header() -> None:
    exchange = Exchange(respond_with(), {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}, trace_id=b"f" * 32)
    assert exchange.request_id == exchange.log_lines[0]["trace_id"] == "f" * 32


@pytest.mark.parametrize("sent", ["", "a b", 'a"b', "a\\b", "ü", "x" * 129, "a,b", "<script>"])
def test_unsafe_request_id_is_ignored(sent: str) -> None:
    exchange = Exchange(respond_with(), {"x-request-id": sent, "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
    assert exchange.request_id == TRACE_ID


@given(st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True))
def test_safe_request_id_is_kept(sent: str) -> None:
    assert Exchange(respond_with(), {"x-request-id": sent}).request_id == sent


HEX_DIGITS = "0123456789abcdef"


@st.composite
def traceparents(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a valid traceparent header and the trace ID in it."""
    version, trace, span, flags = (draw(st.text(HEX_DIGITS, min_size=size, max_size=size)) for size in (2, 32, 16, 2))
    assume(version != "ff" and set(trace) != {"0"} and set(span) != {"0"})
    header = f"{version}-{trace}-{span}-{flags}"
    suffixes = st.text(st.characters(min_codepoint=33, max_codepoint=126))  # later versions may append fields
    return header + (draw(suffixes.map("-{}".format)) if version != "00" else ""), trace


@given(traceparents())
def test_valid_traceparent_sets_the_request_id(header: tuple[str, str]) -> None:
    sent, trace = header
    assert Exchange(respond_with(), {"traceparent": sent}).request_id == trace


@pytest.mark.parametrize(
    "sent",
    [
        "",
        TRACE_ID,
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}0-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01-",
        f"01-{TRACE_ID}-{SPAN_ID}-01.",
        f"0-{TRACE_ID}-{SPAN_ID}-01",
        f" 00-{TRACE_ID}-{SPAN_ID}-01",
    ],
)
def test_invalid_traceparent_is_ignored(sent: str) -> None:
    exchange = Exchange(respond_with(), {"traceparent": sent})
    assert re.fullmatch("[0-9a-f]{32}", exchange.request_id)
    assert exchange.request_id not in (TRACE_ID, "0" * 32)


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_any_traceparent_yields_a_valid_trace_id(sent: str) -> None:
    exchange = Exchange(respond_with(), {"traceparent": sent})
    assert re.fullmatch("[0-9a-f]{32}", exchange.request_id)
    assert exchange.log_lines[0]["trace_id"] == exchange.request_id
