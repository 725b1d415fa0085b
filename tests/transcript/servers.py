"""The servers of the transcript, and the models that they serve."""

import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.server_process import running_server
from tests.transcript.request_list import (
    ALLOWED_ORIGIN,
    BATCH_LIMIT,
    BODY_LIMIT_BYTES,
    Request,
    ServerName,
    all_requests,
    key_setting,
)
from tests.transcript.responses import Response

SHIPPED_MODELS_DIR = Path(__file__).parents[2] / "models"
TIMEOUT_S = 60.0

SETTINGS: Mapping[ServerName, Mapping[str, str]] = {
    "open": {"cors_origins": ALLOWED_ORIGIN},
    "keyed": {
        "api_keys": f"{key_setting('client')},{key_setting('expired', '2020-01-01')}",
        "admin_keys": key_setting("admin"),
    },
    "limited": {"max_requests_per_s_per_client": "0.001"},
    "unready": {"default_model": "broken", "admin_keys": key_setting("admin")},
}
COMMON = {
    "engine": "onnx",
    "models_poll_s": "3600",  # served versions change only by request
    "max_body_bytes": str(BODY_LIMIT_BYTES),
    "max_request_windows": str(BATCH_LIMIT),
}


def replay() -> dict[str, tuple[Request, Response]]:
    """Start the servers, send every request in order, and return the responses by the request's name.

    The servers run concurrently. Each receives one request at a time, each over a new connection.
    """
    by_server: dict[ServerName, list[Request]] = {name: [] for name in SETTINGS}
    for request in all_requests():
        by_server[request.server].append(request)
    with ThreadPoolExecutor(len(by_server)) as pool:
        replayed = pool.map(_replay_server, by_server.keys(), by_server.values())
        return {request.name: (request, response) for pairs in replayed for request, response in pairs}


def _replay_server(name: ServerName, requests: list[Request]) -> list[tuple[Request, Response]]:
    with TemporaryDirectory() as directory:
        models = Path(directory) / "models"
        create_models_dir(models)
        with running_server(models_dir=str(models), **COMMON, **SETTINGS[name]) as (_, client):
            address = client.base_url.host, client.base_url.port
            assert address[1] is not None
            return [(request, _send(address[0], address[1], request)) for request in requests]


def _send(host: str, port: int, request: Request) -> Response:
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        if request.sending == "stalled":
            connection.putrequest(request.method, request.path, skip_accept_encoding=True)
            for header, value in request.headers.items():
                connection.putheader(header, value)
            connection.endheaders()
            body = request.body or b""
            connection.send(b"%x\r\n%b\r\n" % (len(body), body) if "Transfer-Encoding" in request.headers else body)
        else:
            chunks = _chunks(request.body or b"") if request.sending == "chunked" else request.body
            is_chunked = request.sending == "chunked"
            connection.request(request.method, request.path, chunks, request.headers, encode_chunked=is_chunked)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers, response.read())
    finally:
        connection.close()


def _chunks(body: bytes, size: int = 100) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def create_models_dir(directory: Path) -> None:
    """Create a models directory from the shipped models. Most of the added versions must not be served.

    | model | version | |
    |---|---|---|
    | `default` | 1 | its manifest names another version |
    | | 2 | as shipped |
    | | 3 | the same network |
    | `tutorial` | 2 | as shipped |
    | `spare` | 1 | the network of `tutorial` |
    | | 2 | one byte of `model.onnx` has changed |
    | `broken` | 1 | its manifest is empty |
    | `undecided` | 1 | its file `current` names no version |

    Args:
        directory: Directory to create. It must not exist.
    """
    shutil.copytree(SHIPPED_MODELS_DIR, directory)
    default, tutorial = directory / "default" / "2", directory / "tutorial" / "2"
    shutil.copytree(default, directory / "default" / "1")
    _copy(default, directory / "default" / "3")
    _copy(tutorial, directory / "spare" / "1", current="1")
    _copy(tutorial, directory / "spare" / "2")
    altered = directory / "spare" / "2" / "model.onnx"
    content = altered.read_bytes()
    altered.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    _copy(tutorial, directory / "broken" / "1", current="1")
    (directory / "broken" / "1" / "manifest.json").write_text("{}")
    _copy(tutorial, directory / "undecided" / "1", current="latest")


def _copy(source: Path, target: Path, current: str | None = None) -> None:
    """Copy an artifact, and set the model and version in its manifest to match the new directory."""
    shutil.copytree(source, target)
    path = target / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    manifest |= {"name": target.parent.name, "version": target.name}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    if current is not None:
        (target.parent / "current").write_text(f"{current}\n")
