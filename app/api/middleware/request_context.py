"""The request context: request ID, trace ID, request metrics and the request log."""

import random
import re
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.logs import RequestLog
from app.observability.metrics import Metrics

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
MAX_LOGGED_PATH_CHARS = 200  # paths are logged only for requests that match no route
TRACEPARENT = re.compile(  # W3C Trace Context; in version 00, nothing follows the flags
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


class RequestContextMiddleware:
    """Outermost middleware except tracing: assigns request IDs and records responses in the metrics and the log.

    The request ID is the client's `X-Request-ID`, if valid. Otherwise, it is the ID of the trace that the request
    belongs to, or of a new trace.

    Args:
        app: The application behind the middleware.
        metrics: Records each response.
        log: Records each response, unless None.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog | None) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle HTTP requests; pass everything else through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        headers = dict(scope["headers"])
        state = scope.setdefault("state", {})
        trace_id = state.get("trace_id") or _trace_id(headers)
        sent_request_id = headers.get(b"x-request-id")
        request_id = sent_request_id if sent_request_id and REQUEST_ID.fullmatch(sent_request_id) else trace_id
        state["request_id"] = request_id.decode()
        status = 500

        async def send_with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_request_id)
        finally:
            duration_s = time.perf_counter() - started_s
            # Label with route templates and known methods only: clients could invent any number of others.
            route = getattr(scope.get("route"), "path", "unmatched")
            method = "any" if route == "unmatched" or status == 405 else scope["method"]
            problem = state.get("problem")
            self._metrics.record_request(route, method, status, duration_s, problem)
            if self._log is not None:
                extra = {} if problem is None else {"problem": problem}
                if (client := state.get("client")) is not None:
                    extra["client"] = client.name
                if route == "unmatched":
                    extra["path"] = scope["path"][:MAX_LOGGED_PATH_CHARS]
                self._log.add(state["request_id"], trace_id.decode(), method, route, status, duration_s, extra)


def _trace_id(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the trace ID of the `traceparent` header, or a new one if the header is absent or invalid."""
    match = TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    return match[1] if match else b"%032x" % random.getrandbits(128)
