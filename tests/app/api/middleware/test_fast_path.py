"""Tests of the fast path: it responds like FastAPI, and passes all other requests on to FastAPI."""

import json
from typing import Any

import httpx
import pytest

from app.api import predict
from app.api.middleware.request_context import RequestContextMiddleware
from app.api.middleware.security_headers import SecurityHeadersMiddleware
from app.main import Application
from tests.app.api.app_client import JSON_HEADERS, AppClient, batch_body
from tests.prices import PRICES


def comparable_response(
    app: Any, client: AppClient, method: str, path: str, content: bytes
) -> tuple[int, dict[str, str], Any]:
    """Return the status, headers and body of the response, without the parts that differ each time."""

    async def request(_: httpx.AsyncClient) -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.request(method, path, content=content, headers=JSON_HEADERS)

    response: httpx.Response = client.run(request)
    # The fast path bypasses SecurityHeadersMiddleware, because browsers do not display its JSON.
    ignored = ("x-request-id", "x-content-type-options")
    headers = {name: value for name, value in response.headers.items() if name not in ignored}
    body = response.json() if "json" in headers.get("content-type", "") else response.text
    if isinstance(body, dict) and body.pop("request_id", None) is not None:
        del headers["content-length"]  # depends on the length of the request ID
    return response.status_code, headers, body


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/predict", {"prices": PRICES}),
        ("POST", "/predict", {"prices": PRICES, "horizon": 5, "levels": [80, 95]}),
        ("POST", "/predict", {"prices": PRICES, "model": "tutorial"}),
        ("POST", "/predict", {"prices": PRICES, "model": "unknown"}),
        ("POST", "/predict", {"prices": [1, "2"], "horizon": 0}),
        ("POST", "/predict?verbose=1", {"prices": PRICES}),
        ("POST", "/predict/", {"prices": PRICES}),
        ("POST", "/predict/batch", batch_body(3)),
        ("POST", "/predict/batch", batch_body(0)),
        ("GET", "/predict", {}),
        ("PUT", "/predict/batch", {}),
        ("GET", "/health/ready", {}),
        ("GET", "/nowhere", {}),
    ],
)
def test_fast_path_response_matches_fastapi(client: AppClient, method: str, path: str, body: Any) -> None:
    content = json.dumps(body).encode()
    metrics = client.app.lifecycle.metrics
    without_fast_path = RequestContextMiddleware(SecurityHeadersMiddleware(client.app.fastapi), metrics, None)
    expected = comparable_response(without_fast_path, client, method, path, content)
    assert comparable_response(client.app, client, method, path, content) == expected


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_unexpected_error_is_logged_and_not_exposed(
    client: AppClient, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret-4711")

    monkeypatch.setattr(predict, "extract_windows", fail)
    response = client.post(path, json={"prices": PRICES} if path == "/predict" else batch_body(1))
    assert (response.status_code, response.json()["type"]) == (500, "urn:pricecast:internal-error")
    assert response.headers.get_list("x-request-id") == [response.json()["request_id"]]
    assert "secret-4711" not in response.text
    assert "secret-4711" in caplog.text
    assert "Traceback" in caplog.text


def test_app_client_wraps_full_application(client: AppClient) -> None:
    assert isinstance(client.app, Application)


def test_disconnect_during_body_is_counted_as_499(client: AppClient, caplog: pytest.LogCaptureFixture) -> None:
    messages = iter([{"type": "http.request", "body": b'{"pri', "more_body": True}, {"type": "http.disconnect"}])
    responses: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        responses.append(message)

    async def post(_: httpx.AsyncClient) -> None:
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await client.app(scope, receive, send)

    client.run(post)
    assert responses[0]["status"] == 499
    assert not caplog.records
    assert 'route="/predict",status="499"} 1.0' in client.get("/metrics").text
