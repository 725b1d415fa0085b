"""Tests of request bodies: content type, compression, chunking, size limits and deadlines."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from app.api.request_body import _decompress
from app.errors import BodyTooLarge, InvalidContent
from app.settings import Settings
from tests.app.api.app_client import JSON_HEADERS, AppClient, running_app, send_messages
from tests.prices import PRICES

BODY = json.dumps({"prices": PRICES}).encode()
MAX_BODY_BYTES = 2**20  # the setting of the `client` fixture
Compress = Callable[[bytes], bytes]
COMPRESSORS: list[Compress] = [gzip.compress, zlib.compress]


def raw_deflate(content: bytes) -> bytes:
    """Compress without zlib header and checksum. Some clients send this as `deflate`, contrary to RFC 9110."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def post_encoded(client: AppClient, content: bytes, encoding: str, path: str = "/predict") -> httpx.Response:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return client.post(path, content=content, headers=headers)


def last_chunk(content: bytes) -> Message:
    return {"type": "http.request", "body": content, "more_body": False}


def chunk(content: bytes) -> Message:
    return {"type": "http.request", "body": content, "more_body": True}


def response_status(client: AppClient, *messages: Any, **headers: str) -> int:
    """Return the status of the response to a request that is sent as these ASGI messages."""
    header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return int(client.run(lambda _: send_messages(client.app, messages, header_fields))[0]["status"])


@pytest.fixture(scope="module")
def short_deadline_client(shipped: Path) -> Iterator[AppClient]:
    with running_app(Settings(models_dir=shipped, deadline_s=0.02)) as client:
        yield client


# Content type


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_non_json_content_type_returns_415(client: AppClient, path: str, media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    response = client.post(path, content=json.dumps({"prices": PRICES}).encode(), headers=headers)
    assert (response.status_code, response.json()["type"]) == (415, "urn:pricecast:unsupported-media-type")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "application/vnd.prices+json", "Application/JSON"]
)
def test_json_content_type_variants_are_accepted(client: AppClient, media_type: str) -> None:
    content = json.dumps({"prices": PRICES}).encode()
    assert client.post("/predict", content=content, headers={"content-type": media_type}).status_code == 200


# Compression


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        (" gzip ", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
    ],
    ids=["gzip", "upper case", "with spaces", "deflate", "identity"],
)
def test_compressed_body_gives_the_same_response(client: AppClient, encoding: str, content: bytes) -> None:
    response = post_encoded(client, content, encoding)
    assert response.status_code == 200
    assert response.json() == client.post("/predict", json={"prices": PRICES}).json()


def test_batch_and_load_accept_compressed_bodies(client: AppClient) -> None:
    batch = json.dumps({"series": [{"prices": PRICES}] * 200}).encode()
    response = post_encoded(client, gzip.compress(batch), "gzip", "/predict/batch")
    assert len(response.json()["forecasts"]) == 200
    version = client.get("/models/default").json()["version"]
    load_body = gzip.compress(json.dumps({"version": version}).encode())
    assert post_encoded(client, load_body, "gzip", "/models/default/load").status_code == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip,", "", "x-gzip"])
def test_unsupported_encoding_returns_415(client: AppClient, encoding: str) -> None:
    response = post_encoded(client, gzip.compress(BODY), encoding)
    assert (response.status_code, response.json()["type"]) == (415, "urn:pricecast:unsupported-media-type")
    assert "gzip, deflate" in response.json()["detail"]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", BODY),
        ("gzip", b""),
        ("gzip", b"\x1f\x8b"),
        ("gzip", gzip.compress(BODY)[:-1]),
        ("gzip", gzip.compress(BODY)[:40]),
        ("gzip", gzip.compress(BODY)[:30] + b"\x00" * 30),
        ("gzip", gzip.compress(BODY) + b"and more"),
        ("gzip", gzip.compress(b"no json")),
        ("deflate", BODY),
        ("deflate", raw_deflate(BODY)),
        ("deflate", zlib.compress(BODY)[:-2]),
        ("deflate", zlib.compress(BODY, wbits=15)[:-1] + b"\x00"),
    ],
    ids=range(12),
)
def test_corrupt_compressed_body_returns_422(client: AppClient, encoding: str, content: bytes) -> None:
    response = post_encoded(client, content, encoding)
    assert (response.status_code, response.json()["type"]) == (422, "urn:pricecast:invalid-content")
    [error] = response.json()["errors"]
    assert error["pointer"] == ""
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_decompression_bomb_is_never_held_in_memory(client: AppClient, compress: Compress) -> None:
    bomb = compress(bytes(64 * MAX_BODY_BYTES))
    assert len(bomb) < MAX_BODY_BYTES / 8
    tracemalloc.start()
    try:
        response = post_encoded(client, bomb, "gzip")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (response.status_code, response.json()["type"]) == (413, "urn:pricecast:body-too-large")
    assert peak_bytes < 4 * MAX_BODY_BYTES


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000), st.sampled_from(COMPRESSORS))
def test_decompress_returns_content_or_body_too_large(content: bytes, max_bytes: int, compress: Compress) -> None:
    if len(content) <= max_bytes:
        assert _decompress(compress(content), max_bytes) == content
    else:
        with pytest.raises(BodyTooLarge):
            _decompress(compress(content), max_bytes)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.sampled_from(COMPRESSORS), st.data())
def test_decompress_rejects_every_truncation(content: bytes, compress: Compress, data: st.DataObject) -> None:
    compressed = compress(content)
    with pytest.raises(InvalidContent):
        _decompress(compressed[: data.draw(st.integers(0, len(compressed) - 1))], 1000)


# Many errors


BODIES_FULL_OF_ERRORS = [
    ("/predict", '{"prices": [1], "levels": [%s]}', '"",'),
    ("/predict", '{"prices": [%s]}', '"",'),
    ("/predict", '{"prices": [1], %s}', '"%d":0,'),
    ("/predict/batch", '{"series": [%s]}', "1,"),
    ("/predict/batch", '{"series": [{"prices": [1]}], %s}', '"%d":0,'),
    ("/predict/batch", '{"series": [{"prices": [1], %s}]}', '"%d":0,'),
    ("/models/default/load", '{"version": "1", %s}', '"%d":0,'),
    ("/v2/models/default/infer", '{"inputs": [%s]}', "1,"),
    ("/v2/models/default/infer", '{"inputs": [], "outputs": [%s]}', "1,"),
    ("/v2/models/default/infer", '{"inputs": [{"shape": [%s]}]}', '"",'),
    ("/v2/repository/models/default/load", '{"parameters": {%s}}', '"%d":0,'),
]


@pytest.mark.parametrize(("path", "template", "item"), BODIES_FULL_OF_ERRORS)
def test_body_full_of_errors_uses_bounded_memory(client: AppClient, path: str, template: str, item: str) -> None:
    count = MAX_BODY_BYTES // 16
    content = (template % "".join(item % i if "%" in item else item for i in range(count))[:-1]).encode()
    assert MAX_BODY_BYTES / 16 < len(content) < MAX_BODY_BYTES
    tracemalloc.start()
    try:
        response = post_encoded(client, content, "identity", path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code in {400, 422}
    assert len(response.content) < 30_000
    assert peak_bytes < 32 * MAX_BODY_BYTES


def test_too_many_errors_are_counted_not_listed(client: AppClient) -> None:
    content = ("{" + ", ".join(f'"{i}": 0' for i in range(20_000)) + "}").encode()
    [error] = post_encoded(client, content, "identity").json()["errors"]
    # 20,000 unknown fields, and the missing prices
    assert error == {"pointer": "", "detail": "contains 20001 errors, too many to list"}


# Size and chunking


def test_oversized_content_length_returns_413(client: AppClient) -> None:
    response = client.post("/predict", content=b" " * (2**20 + 1), headers=JSON_HEADERS)
    assert (response.status_code, response.json()["type"]) == (413, "urn:pricecast:body-too-large")
    assert response.headers["connection"] == "close"


def test_oversized_streamed_body_is_read_only_to_the_limit(client: AppClient) -> None:
    chunks_sent = 0

    async def endless_body() -> Any:
        nonlocal chunks_sent
        while True:
            chunks_sent += 1
            yield b" " * 2**16

    response = client.run(lambda http: http.post("/predict", content=endless_body(), headers=JSON_HEADERS))
    assert response.status_code == 413
    assert chunks_sent == 17, "reading stops at the first chunk beyond the limit"


def test_chunked_body_gives_the_same_response(client: AppClient) -> None:
    assert response_status(client, last_chunk(BODY)) == 200
    assert response_status(client, *[chunk(BODY[i : i + 1]) for i in range(len(BODY))], {"type": "http.request"}) == 200
    assert response_status(client, chunk(BODY[:9]), chunk(b""), last_chunk(BODY[9:])) == 200


def test_oversized_body_returns_413_however_chunked(client: AppClient) -> None:
    assert response_status(client, last_chunk(bytes(MAX_BODY_BYTES + 1))) == 413
    assert response_status(client, chunk(bytes(MAX_BODY_BYTES)), chunk(b"x")) == 413
    assert response_status(client, chunk(bytes(MAX_BODY_BYTES // 2)), last_chunk(bytes(MAX_BODY_BYTES // 2 + 1))) == 413


@pytest.mark.parametrize("length", ["-5", "1e3", "²", ""])
def test_invalid_content_length_is_ignored(client: AppClient, length: str) -> None:
    assert response_status(client, last_chunk(BODY), content_length=length) == 200


# Deadlines and disconnects


def test_stalled_body_returns_504_at_the_deadline(client: AppClient) -> None:
    assert response_status(client, x_request_timeout_ms="20") == 504
    assert response_status(client, chunk(BODY[:9]), x_request_timeout_ms="20") == 504
    assert response_status(client, chunk(BODY[:9]), chunk(BODY[9:]), x_request_timeout_ms="20") == 504
    assert client.metrics()['pricecast_problems_total{reason="deadline-exceeded"}'] == 3


def test_stalled_body_without_timeout_meets_server_deadline(short_deadline_client: AppClient) -> None:
    assert response_status(short_deadline_client, chunk(BODY[:9])) == 504


def test_disconnect_during_body_is_not_an_error(client: AppClient, caplog: pytest.LogCaptureFixture) -> None:
    before = client.metrics().get('pricecast_problems_total{reason="client-gone"}', 0)
    disconnect: Message = {"type": "http.disconnect"}
    assert response_status(client, disconnect) == 499
    assert response_status(client, chunk(b'{"pri'), disconnect) == 499
    assert not caplog.records
    assert client.metrics()['pricecast_problems_total{reason="client-gone"}'] == before + 2


def test_cancelled_body_read_leaves_server_working(client: AppClient) -> None:
    async def send_and_cancel(_: httpx.AsyncClient) -> None:
        request = asyncio.create_task(send_messages(client.app, [chunk(b'{"pri')]))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    client.run(send_and_cancel)
    assert response_status(client, last_chunk(BODY)) == 200
