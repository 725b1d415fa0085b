"""The requests of the transcript, in the order in which each server gets them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ServerName = Literal["open", "keyed", "limited", "unready"]
Sending = Literal["whole", "chunked", "stalled"]

JSON = {"Content-Type": "application/json"}
BODY_LIMIT_BYTES = 65_536  # of every server of the transcript
BATCH_LIMIT = 64  # series in one request
ALLOWED_ORIGIN = "https://allowed.example"

KEYS = {"shop": "pc_transcript-shop", "former": "pc_transcript-former", "boss": "pc_transcript-boss"}


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        name: Unique; also the key of the recorded answer.
        server: Which server gets it.
        sending: `chunked` announces no length. `stalled` sends the headers and `body`, and then nothing more, though
            the headers announce more.
        is_outlined: Whether only the outline of the answer is recorded, because the answer is long.
    """

    name: str
    server: ServerName
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    sending: Sending = "whole"
    is_outlined: bool = False


class Requests:
    """Collects the requests of one server and gives each a unique name."""

    def __init__(self, server: ServerName) -> None:
        self.all: list[Request] = []
        self._server = server

    def get(self, name: str, path: str, headers: Mapping[str, str] | None = None, *, is_outlined: bool = False) -> None:
        """Add a GET request."""
        self.send(name, "GET", path, headers=headers, is_outlined=is_outlined)

    def post(self, name: str, path: str, content: Any, headers: Mapping[str, str] | None = None) -> None:
        """Add a POST request with a JSON body."""
        self.send(name, "POST", path, encoded(content), headers={**JSON, **(headers or {})})

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


def encoded(content: Any) -> bytes:
    """Encode as JSON. NaN and infinities become `NaN` and `Infinity`, which the service must refuse."""
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

    in_order = Requests("open")
    forecast_requests.add_forecasts(in_order)
    forecast_requests.add_content_errors(in_order)
    forecast_requests.add_other_errors(in_order)
    forecast_requests.add_batches(in_order)
    forecast_requests.add_batch_errors(in_order)
    infer_requests.add_inferences(in_order)
    infer_requests.add_infer_errors(in_order)
    service_requests.add_pages(in_order)
    service_requests.add_models(in_order)
    service_requests.add_repository(in_order)
    others = [service_requests.keyed(), service_requests.limited(), service_requests.unready()]
    return [request for requests in (in_order, *others) for request in requests.all]
