"""The requests of the transcript, in the order in which each server receives them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ServerName = Literal["open", "keyed", "limited", "unready"]
Sending = Literal["whole", "chunked", "stalled"]

JSON = {"Content-Type": "application/json"}
BODY_LIMIT_BYTES = 65_536  # of every server
BATCH_LIMIT = 64  # series in one request
ALLOWED_ORIGIN = "https://allowed.example"

KEYS = {name: f"pc_transcript-{name}" for name in ("client", "expired", "admin")}


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        name: Unique name, also the key of the recorded response.
        server: The server that receives it.
        sending: `chunked` sends no Content-Length. `stalled` sends the headers and `body` and then stops, although
            the headers promise a longer body.
        is_outlined: Whether only an outline of the response is recorded, because the response is long.
    """

    name: str
    server: ServerName
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    sending: Sending = "whole"
    is_outlined: bool = False


class RequestList:
    """Collects the requests of one server and gives each a unique name."""

    def __init__(self, server: ServerName) -> None:
        self.all: list[Request] = []
        self._server = server

    def get(self, name: str, path: str, headers: Mapping[str, str] | None = None, *, is_outlined: bool = False) -> None:
        """Add a GET request."""
        self.send(name, "GET", path, headers=headers, is_outlined=is_outlined)

    def post(self, name: str, path: str, content: Any, headers: Mapping[str, str] | None = None) -> None:
        """Add a POST request with a JSON body."""
        self.send(name, "POST", path, encode_json(content), headers={**JSON, **(headers or {})})

    def send(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        sending: Sending = "whole",
        is_outlined: bool = False,
    ) -> None:
        """Add any request."""
        name = f"{self._server}/{name}"
        self.all.append(Request(name, self._server, method, path, headers or {}, body, sending, is_outlined))


def encode_json(content: Any) -> bytes:
    """Encode as JSON. NaN and infinities become `NaN` and `Infinity`, which the service must reject."""
    return json.dumps(content).encode()


def key_setting(client: str, expiry: str = "") -> str:
    """Format the entry of a client's key for PRICECAST_API_KEYS or PRICECAST_ADMIN_KEYS."""
    digest = hashlib.sha256(KEYS[client].encode()).hexdigest()
    return f"{client}:{digest}" + (f":{expiry}" if expiry else "")


def bearer(client: str) -> dict[str, str]:
    """Return the header that authenticates a client."""
    return {"Authorization": f"Bearer {KEYS[client]}"}


def all_requests() -> list[Request]:
    """Generate every request. Those of one server are in the order in which they must be sent."""
    from tests.transcript import forecast_requests, infer_requests, service_requests  # they import this module

    open_requests = RequestList("open")
    forecast_requests.add_forecasts(open_requests)
    forecast_requests.add_content_errors(open_requests)
    forecast_requests.add_other_errors(open_requests)
    forecast_requests.add_batches(open_requests)
    forecast_requests.add_batch_errors(open_requests)
    infer_requests.add_inferences(open_requests)
    infer_requests.add_infer_errors(open_requests)
    service_requests.add_pages(open_requests)
    service_requests.add_models(open_requests)
    service_requests.add_repository(open_requests)
    others = [
        service_requests.keyed_requests(),
        service_requests.limited_requests(),
        service_requests.unready_requests(),
    ]
    return [request for requests in (open_requests, *others) for request in requests.all]
