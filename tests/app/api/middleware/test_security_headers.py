"""What browsers are told: which pages may call, what a page may do, and nothing of what runs here."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from app import api_keys
from app.api.middleware.security_headers import SecurityHeadersMiddleware
from app.settings import Settings
from tests.app.api.conftest import Client, start

PRICES = [100.0 + i % 7 for i in range(60)]
OURS, OTHERS = "https://prices.example", "https://elsewhere.example"
KEY, SETTING = api_keys.generate("alice")
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def shared(shipped: Path) -> Iterator[Client]:
    """A server that pages of one origin may call, if they have a key."""
    yield from start(Settings(models_dir=shipped, cors_origins=(OURS,), api_keys=api_keys.parse(SETTING)))


# Who may call


def test_unless_asked_for_no_other_origin_is_let_in(client: Client) -> None:
    for headers in ({"origin": OURS}, {"origin": OURS} | PREFLIGHT):
        for method, path in (("POST", "/predict"), ("OPTIONS", "/predict"), ("GET", "/models"), ("GET", "/docs")):
            response = client.request(method, path, headers=headers)
            assert not [name for name in response.headers if name.startswith("access-control-")]
    assert client.request("OPTIONS", "/predict", headers={"origin": OURS} | PREFLIGHT).status_code == 405


def test_a_page_of_a_named_origin_may_ask_before_it_sends_its_key(shared: Client) -> None:
    response = shared.request("OPTIONS", "/predict", headers={"origin": OURS} | PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OURS
    assert "POST" in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"].lower()
    for name in ("authorization", "content-type", "x-request-timeout-ms", "traceparent", "x-request-id"):
        assert name in allowed
    assert "access-control-allow-credentials" not in response.headers


def test_a_page_of_a_named_origin_gets_its_answer_and_reads_when_to_come_back(shared: Client) -> None:
    headers = {"origin": OURS, "authorization": f"Bearer {KEY}"}
    response = shared.post("/predict", json={"prices": PRICES}, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OURS
    assert response.headers["vary"] == "Origin"
    exposed = response.headers["access-control-expose-headers"].lower()
    assert "retry-after" in exposed
    assert "x-request-id" in exposed


def test_a_page_of_a_named_origin_can_read_why_it_is_refused(shared: Client) -> None:
    response = shared.post("/predict", json={"prices": PRICES}, headers={"origin": OURS})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, OURS)


@pytest.mark.parametrize("origin", [OTHERS, "null", f"{OURS}.evil.example", OURS.replace("https", "http"), f"{OURS}:8"])
def test_no_other_origin_is_let_in(shared: Client, origin: str) -> None:
    preflight = shared.request("OPTIONS", "/predict", headers={"origin": origin} | PREFLIGHT)
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    headers = {"origin": origin, "authorization": f"Bearer {KEY}"}
    answer = shared.post("/predict", json={"prices": PRICES}, headers=headers)
    assert "access-control-allow-origin" not in answer.headers


# What a page may do


def test_the_docs_page_may_run_its_own_scripts_and_no_others(client: Client) -> None:
    page = client.get("/docs")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    inline = re.findall(rb"<script>(.*?)</script>", page.content, re.DOTALL)
    assert inline
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(each).digest()).decode()}'" for each in inline]
    assert policy["script-src"].split() == ["'self'", *hashes]
    assert page.content.count(b"<script") == len(inline) + page.content.count(b"<script src=")
    assert int(page.headers["content-length"]) == len(page.content)


def test_a_page_is_shown_in_no_frame_and_tells_nobody_where_it_was(client: Client) -> None:
    headers = client.get("/docs").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/models", "/openapi.json", "/nowhere", "/static-offline-docs/swagger-ui-bundle.js"])
def test_what_is_no_page_is_not_taken_for_one(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in headers


def test_no_answer_says_what_runs_here(client: Client) -> None:
    for method, path in (("GET", "/docs"), ("POST", "/predict"), ("GET", "/nowhere"), ("PUT", "/models")):
        response = client.request(method, path)
        assert "server" not in response.headers
        assert "x-powered-by" not in response.headers


def through(*messages: Message) -> list[Message]:
    """What becomes of these messages of an application."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody asks")

    asyncio.run(SecurityHeadersMiddleware(app)({"type": "http"}, receive, send))
    return sent


def test_a_page_that_is_sent_in_pieces_is_sent_on_whole() -> None:
    start, body = through(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html; charset=utf-8")]},
        {"type": "http.response.body", "body": b"<p><script>on", "more_body": True},
        {"type": "http.response.body", "more_body": True},
        {"type": "http.response.body", "body": b"e()</script><script src='x'></script>"},
    )
    assert body == {"type": "http.response.body", "body": b"<p><script>one()</script><script src='x'></script>"}
    policy = dict(start["headers"])[b"content-security-policy"].decode()
    assert policy.count("'sha256-") == 1
    assert base64.b64encode(hashlib.sha256(b"one()").digest()).decode() in policy


def test_what_is_no_page_is_sent_on_in_the_pieces_it_comes_in() -> None:
    pieces: list[Message] = [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
    ]
    start, *bodies = through({"type": "http.response.start", "status": 200, "headers": []}, *pieces)
    assert bodies == pieces
    assert dict(start["headers"]) == {b"x-content-type-options": b"nosniff"}
