"""Tests of the security headers of pages and other responses."""

import asyncio
import base64
import hashlib
import re

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware.security_headers import SecurityHeadersMiddleware
from tests.app.api.app_client import AppClient


def send_through_middleware(*messages: Message) -> list[Message]:
    """Send messages through the middleware, and return the messages that reach the server."""
    forwarded: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def send(message: Message) -> None:
        forwarded.append(message)

    async def receive() -> Message:
        raise AssertionError("the application does not read the request")

    asyncio.run(SecurityHeadersMiddleware(app)({"type": "http"}, receive, send))
    return forwarded


def test_docs_page_csp_allows_only_its_own_scripts(client: AppClient) -> None:
    page = client.get("/docs")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    inline_scripts = re.findall(rb"<script>(.*?)</script>", page.content, re.DOTALL)
    assert inline_scripts
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in inline_scripts]
    assert policy["script-src"].split() == ["'self'", *hashes]
    assert page.content.count(b"<script") == len(inline_scripts) + page.content.count(b"<script src=")
    assert int(page.headers["content-length"]) == len(page.content)


def test_docs_page_has_framing_and_referrer_headers(client: AppClient) -> None:
    headers = client.get("/docs").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/models", "/openapi.json", "/nowhere", "/static-offline-docs/swagger-ui-bundle.js"])
def test_non_html_response_has_no_csp(client: AppClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in headers


def test_responses_do_not_reveal_server_software(client: AppClient) -> None:
    for method, path in (("GET", "/docs"), ("POST", "/predict"), ("GET", "/nowhere"), ("PUT", "/models")):
        response = client.request(method, path)
        assert "server" not in response.headers
        assert "x-powered-by" not in response.headers


def test_chunked_page_is_sent_whole_with_its_csp() -> None:
    start, body = send_through_middleware(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html; charset=utf-8")]},
        {"type": "http.response.body", "body": b"<p><script>on", "more_body": True},
        {"type": "http.response.body", "more_body": True},
        {"type": "http.response.body", "body": b"e()</script><script src='x'></script>"},
    )
    assert body == {"type": "http.response.body", "body": b"<p><script>one()</script><script src='x'></script>"}
    policy = dict(start["headers"])[b"content-security-policy"].decode()
    assert policy.count("'sha256-") == 1
    assert base64.b64encode(hashlib.sha256(b"one()").digest()).decode() in policy


def test_non_html_response_is_streamed_unchanged() -> None:
    chunks: list[Message] = [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
    ]
    start, *bodies = send_through_middleware({"type": "http.response.start", "status": 200, "headers": []}, *chunks)
    assert bodies == chunks
    assert dict(start["headers"]) == {b"x-content-type-options": b"nosniff"}
