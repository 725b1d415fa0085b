"""Reduces responses to the parts that must not change, and compares them.

Wording may change: details, titles, summaries and reasons are reduced to whether there is any text. Everything that a
program could depend on is kept: statuses, headers, problem types, pointers, ids, numbers and names of fields.
"""

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.transcript.request_list import Request

TOLERANCE = 1e-6  # relative; CPUs differ in the order of float32 operations
DIGITS = 9  # significant, of recorded floats
LONG = 4  # longer arrays are outlined by their length, first and last element
TEXT = "(text)"
PRESENT = "(present)"

KEPT_HEADERS = (
    "access-control-allow-headers", "access-control-allow-methods", "access-control-allow-origin",
    "access-control-expose-headers", "connection", "content-encoding", "content-type", "location", "vary",
    "www-authenticate", "x-content-type-options", "x-frame-options",
)  # fmt: skip
PRESENT_HEADERS = ("content-security-policy", "inference-header-content-length", "retry-after", "x-request-id")
WORDING = {"detail", "reason", "summary"}
POINTER = re.compile(r"(/\S*?): ")  # at the front of each message of an error under /v2


class Response(NamedTuple):
    """A response. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def reduce_response(request: Request, response: Response) -> dict[str, Any]:
    """Reduce a response to the parts that are recorded."""
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    headers |= {name: PRESENT for name in PRESENT_HEADERS if name in response.headers}
    if "location" in headers:
        headers["location"] = urlsplit(headers["location"]).path  # the rest is the server's address
    if "allow" in response.headers:
        headers["allow"] = ", ".join(sorted(response.headers["allow"].split(", ")))  # a set, in any order
    sent = [value for name, value in request.headers.items() if name.lower() in ("x-request-id", "traceparent")]
    if sent and response.headers["x-request-id"] in sent[0]:
        headers["x-request-id"] = response.headers["x-request-id"]
    reduced: dict[str, Any] = {"status": response.status, "headers": headers}
    if response.body and (body := _reduce_body(request, response)) is not None:
        reduced["body"] = body
    return reduced


def _reduce_body(request: Request, response: Response) -> Any:
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if media_type == "application/problem+json":
        return _reduce_problem(json.loads(response.body), response)
    if media_type == "application/octet-stream":
        return _reduce_tensors(response)
    if media_type != "application/json" or request.path == "/openapi.json":
        return None
    content = json.loads(response.body)
    if request.path.startswith("/v2") and isinstance(content, dict) and "error" in content:
        pointers = [found[1] for part in content["error"].split("; ") if (found := POINTER.match(part))]
        return {"fields": sorted(content), "pointers": pointers}
    if request.path == "/v2":
        content["version"] = TEXT  # it changes with every release
    content = _without_wording(content)
    return _outline(content) if request.is_outlined else content


def _reduce_problem(problem: dict[str, Any], response: Response) -> dict[str, Any]:
    assert problem["status"] == response.status
    assert problem["request_id"] == response.headers["x-request-id"]
    reduced: dict[str, Any] = {"fields": sorted(problem), "type": problem["type"]}
    if "errors" in problem:
        reduced["errors"] = [[each["pointer"], *([each["id"]] if "id" in each else [])] for each in problem["errors"]]
    return reduced


def _reduce_tensors(response: Response) -> dict[str, Any]:
    """Decode the JSON and the little-endian doubles that follow it."""
    length = int(response.headers["inference-header-content-length"])
    head = json.loads(response.body[:length])
    rest = response.body[length:]
    for output in head["outputs"]:
        if size := output.get("parameters", {}).get("binary_data_size"):
            output["bytes"] = list(struct.unpack(f"<{size // 8}d", rest[:size]))
            rest = rest[size:]
    assert not rest
    return {"content": _without_wording(head)}


def _without_wording(value: Any, name: str = "") -> Any:
    """Round floats, and replace text that may be reworded."""
    if isinstance(value, dict):
        if name == "failures":  # by model or version, why it cannot be served
            return dict.fromkeys(value, TEXT)
        return {key: _without_wording(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_wording(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, str) and name in WORDING:
        return TEXT if value else ""
    if isinstance(value, str) and name == "warnings":  # JSON as text, as a parameter under /v2 has to be
        return [_without_wording(each) for each in json.loads(value)]
    return value


def _outline(value: Any) -> Any:
    """Shorten long arrays to their length and their ends."""
    if isinstance(value, dict):
        return {key: _outline(each) for key, each in value.items()}
    if isinstance(value, list) and len(value) > LONG:
        return {"(length)": len(value), "(first)": _outline(value[0]), "(last)": _outline(value[-1])}
    return [_outline(each) for each in value] if isinstance(value, list) else value


def differences(recorded: Any, found: Any, place: str = "") -> Iterator[str]:
    """Compare two reduced responses, and describe each place where they differ."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in sorted(recorded.keys() | found.keys()):
            if key not in found:
                yield f"{place}/{key} is missing"
            elif key not in recorded:
                yield f"{place}/{key} is new: {found[key]!r:.80}"
            else:
                yield from differences(recorded[key], found[key], f"{place}/{key}")
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        for index, (was, now) in enumerate(zip(recorded, found, strict=True)):
            yield from differences(was, now, f"{place}/{index}")
    elif isinstance(recorded, float) and isinstance(found, float):
        if not math.isclose(recorded, found, rel_tol=TOLERANCE):
            yield f"{place} was {recorded!r} and is {found!r}"
    elif type(recorded) is not type(found) or recorded != found:
        yield f"{place} was {recorded!r:.200} and is {found!r:.200}"
