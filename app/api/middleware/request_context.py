"""The request ID, and the metrics and the log line of every request."""

import random
import re
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.logs import RequestLog
from app.observability.metrics import Metrics

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
LONGEST_PATH = 200  # of what is logged of a path that nothing here has
TRACEPARENT = re.compile(  # W3C; version 00 ends with the flags
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


class RequestContextMiddleware:
    """Middleware around the whole application: gives a request its id, counts it and logs it when it is answered.

    The id is the one sent as X-Request-ID, or else that of the trace (W3C Trace Context) that the request is part of.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog | None) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        state = scope.setdefault("state", {})
        trace_id = state.get("trace_id") or _trace_id(headers)
        sent = headers.get(b"x-request-id")
        request_id = sent if sent and REQUEST_ID.fullmatch(sent) else trace_id
        state["request_id"] = request_id.decode()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            took_s = time.perf_counter() - started
            # Never the path itself, nor a method that no route has: anyone can invent those.
            route = getattr(scope.get("route"), "path", "unmatched")
            method = "any" if route == "unmatched" or status == 405 else scope["method"]
            problem = state.get("problem")
            self._metrics.record_request(route, method, status, took_s, problem)
            if self._log is not None:
                more = {} if problem is None else {"problem": problem}
                if (client := state.get("client")) is not None:
                    more["client"] = client.name
                if route == "unmatched":
                    more["path"] = scope["path"][:LONGEST_PATH]
                self._log.add(state["request_id"], trace_id.decode(), method, route, status, took_s, more)


def _trace_id(headers: Mapping[bytes, bytes]) -> bytes:
    """Of the trace that a request says it is part of, or a new one."""
    parent = TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    return parent[1] if parent else b"%032x" % random.getrandbits(128)
