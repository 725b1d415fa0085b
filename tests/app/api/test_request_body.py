"""A request's body: in how many pieces it comes, how it is coded, and when it is too much or too late."""

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

from app.api.request_body import _decompressed
from app.errors import BodyTooLarge, InvalidContent
from app.settings import Settings
from tests.app.api.conftest import Client, exchange, start

PRICES = [100.0 + i % 7 for i in range(60)]
BODY = json.dumps({"prices": PRICES}).encode()
LIMIT = 2**20  # of the fixture `client`
Pack = Callable[[bytes], bytes]
PACKERS: list[Pack] = [gzip.compress, zlib.compress]


def raw_deflate(content: bytes) -> bytes:
    """Without zlib's header and checksum: what some clients take for `deflate`, and RFC 9110 does not."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def sent(client: Client, content: bytes, coding: str, path: str = "/predict") -> httpx.Response:
    headers = {"content-type": "application/json", "content-encoding": coding}
    return client.post(path, content=content, headers=headers)


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        (" gzip ", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
    ],
    ids=["gzip", "spelled otherwise", "with blanks", "deflate", "identity"],
)
def test_a_compressed_body_is_answered_as_the_body_itself_is(client: Client, coding: str, content: bytes) -> None:
    response = sent(client, content, coding)
    assert response.status_code == 200
    assert response.json() == client.post("/predict", json={"prices": PRICES}).json()


def test_a_batch_and_the_choice_of_a_version_may_be_compressed_as_well(client: Client) -> None:
    batch = json.dumps({"series": [{"prices": PRICES}] * 200}).encode()
    response = sent(client, gzip.compress(batch), "gzip", "/predict/batch")
    assert len(response.json()["forecasts"]) == 200
    version = client.get("/models/default").json()["version"]
    choice = gzip.compress(json.dumps({"version": version}).encode())
    assert sent(client, choice, "gzip", "/models/default/load").status_code == 200


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip,", "", "x-gzip"])
def test_a_coding_that_is_not_read_here_is_refused_and_those_that_are_named(client: Client, coding: str) -> None:
    response = sent(client, gzip.compress(BODY), coding)
    assert (response.status_code, response.json()["type"]) == (415, "urn:pricecast:unsupported-media-type")
    assert "gzip, deflate" in response.json()["detail"]


@pytest.mark.parametrize(
    ("coding", "content"),
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
def test_what_is_not_what_its_coding_says_cannot_be_answered(client: Client, coding: str, content: bytes) -> None:
    response = sent(client, content, coding)
    assert (response.status_code, response.json()["type"]) == (422, "urn:pricecast:invalid-content")
    [fault] = response.json()["errors"]
    assert fault["pointer"] == ""
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200


@pytest.mark.parametrize("pack", PACKERS)
def test_a_bomb_is_refused_and_never_held(client: Client, pack: Pack) -> None:
    bomb = pack(bytes(64 * LIMIT))
    assert len(bomb) < LIMIT / 8
    tracemalloc.start()
    try:
        response = sent(client, bomb, "gzip")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (response.status_code, response.json()["type"]) == (413, "urn:pricecast:body-too-large")
    assert most < 4 * LIMIT


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000), st.sampled_from(PACKERS))
def test_what_is_decompressed_is_what_was_compressed_or_it_is_too_large(content: bytes, limit: int, pack: Pack) -> None:
    if len(content) <= limit:
        assert _decompressed(pack(content), limit) == content
    else:
        with pytest.raises(BodyTooLarge):
            _decompressed(pack(content), limit)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.sampled_from(PACKERS), st.data())
def test_no_part_of_a_compressed_body_passes_for_the_whole(content: bytes, pack: Pack, data: st.DataObject) -> None:
    packed = pack(content)
    with pytest.raises(InvalidContent):
        _decompressed(packed[: data.draw(st.integers(0, len(packed) - 1))], 1000)


# Faults without number


MANY = [
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


@pytest.mark.parametrize(("path", "around", "fault"), MANY)
def test_a_body_of_nothing_but_faults_costs_no_more_than_another(
    client: Client, path: str, around: str, fault: str
) -> None:
    count = LIMIT // 16
    content = (around % "".join(fault % i if "%" in fault else fault for i in range(count))[:-1]).encode()
    assert LIMIT / 16 < len(content) < LIMIT
    tracemalloc.start()
    try:
        response = sent(client, content, "identity", path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code in {400, 422}
    assert len(response.content) < 30_000
    assert most < 32 * LIMIT


def test_too_many_faults_to_name_are_counted(client: Client) -> None:
    content = ("{" + ", ".join(f'"{i}": 0' for i in range(20_000)) + "}").encode()
    [fault] = sent(client, content, "identity").json()["errors"]
    assert fault == {
        "pointer": "",
        "detail": "20001 field_errors, which are too many to name",
    }  # there are no prices either


# Pieces


def whole(content: bytes) -> Message:
    return {"type": "http.request", "body": content, "more_body": False}


def piece(content: bytes) -> Message:
    return {"type": "http.request", "body": content, "more_body": True}


def status(client: Client, *messages: Any, **headers: str) -> int:
    """Of the answer to a request that comes in these messages, and in no more."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return int(client.run(lambda _: exchange(client.app, messages, named))[0]["status"])


def test_a_body_in_one_piece_or_in_many_is_the_same(client: Client) -> None:
    assert status(client, whole(BODY)) == 200
    assert status(client, *[piece(BODY[i : i + 1]) for i in range(len(BODY))], {"type": "http.request"}) == 200
    assert status(client, piece(BODY[:9]), piece(b""), whole(BODY[9:])) == 200


def test_a_body_that_is_too_large_is_refused_in_one_piece_and_in_pieces(client: Client) -> None:
    assert status(client, whole(bytes(LIMIT + 1))) == 413
    assert status(client, piece(bytes(LIMIT)), piece(b"x")) == 413
    assert status(client, piece(bytes(LIMIT // 2)), whole(bytes(LIMIT // 2 + 1))) == 413


@pytest.mark.parametrize("length", ["-5", "1e3", "²", ""])
def test_a_length_that_is_none_is_taken_for_unknown(client: Client, length: str) -> None:
    assert status(client, whole(BODY), content_length=length) == 200


def test_a_body_that_stops_coming_or_never_begins_is_given_up_at_the_deadline(client: Client) -> None:
    assert status(client, x_request_timeout_ms="20") == 504
    assert status(client, piece(BODY[:9]), x_request_timeout_ms="20") == 504
    assert status(client, piece(BODY[:9]), piece(BODY[9:]), x_request_timeout_ms="20") == 504
    assert client.metrics()['pricecast_problems_total{reason="deadline-exceeded"}'] == 3


@pytest.fixture(scope="module")
def hasty(shipped: Path) -> Iterator[Client]:
    yield from start(Settings(models_dir=shipped, deadline_s=0.02))


def test_a_body_for_which_no_deadline_was_stated_has_the_servers(hasty: Client) -> None:
    assert status(hasty, piece(BODY[:9])) == 504


def test_a_client_that_leaves_in_the_middle_of_its_body_or_before_it_is_no_error(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    before = client.metrics().get('pricecast_problems_total{reason="client-gone"}', 0)
    gone: Message = {"type": "http.disconnect"}
    assert status(client, gone) == 499
    assert status(client, piece(b'{"pri'), gone) == 499
    assert not caplog.records
    assert client.metrics()['pricecast_problems_total{reason="client-gone"}'] == before + 2


def test_a_request_that_is_cancelled_while_its_body_comes_leaves_nothing_behind(client: Client) -> None:
    async def cancelled(_: httpx.AsyncClient) -> None:
        request = asyncio.create_task(exchange(client.app, [piece(b'{"pri')]))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    client.run(cancelled)
    assert status(client, whole(BODY)) == 200
