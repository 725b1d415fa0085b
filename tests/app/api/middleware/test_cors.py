"""Tests of cross-origin resource sharing (CORS)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import api_keys
from app.settings import Settings
from tests.app.api.app_client import AppClient, running_app
from tests.prices import PRICES

ALLOWED_ORIGIN, OTHER_ORIGIN = "https://prices.example", "https://elsewhere.example"
KEY, KEY_SETTING = api_keys.generate("alice")
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def cors_client(shipped: Path) -> Iterator[AppClient]:
    """A server that requires keys and allows one origin."""
    with running_app(
        Settings(models_dir=shipped, cors_origins=(ALLOWED_ORIGIN,), api_keys=api_keys.parse(KEY_SETTING))
    ) as client:
        yield client


def test_cors_is_disabled_by_default(client: AppClient) -> None:
    for headers in ({"origin": ALLOWED_ORIGIN}, {"origin": ALLOWED_ORIGIN} | PREFLIGHT):
        for method, path in (("POST", "/predict"), ("OPTIONS", "/predict"), ("GET", "/models"), ("GET", "/docs")):
            response = client.request(method, path, headers=headers)
            assert not [name for name in response.headers if name.startswith("access-control-")]
    assert client.request("OPTIONS", "/predict", headers={"origin": ALLOWED_ORIGIN} | PREFLIGHT).status_code == 405


def test_preflight_from_allowed_origin_succeeds(cors_client: AppClient) -> None:
    response = cors_client.request("OPTIONS", "/predict", headers={"origin": ALLOWED_ORIGIN} | PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert "POST" in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"].lower()
    for name in ("authorization", "content-type", "x-request-timeout-ms", "traceparent", "x-request-id"):
        assert name in allowed
    assert "access-control-allow-credentials" not in response.headers


def test_allowed_origin_can_read_response_headers(cors_client: AppClient) -> None:
    headers = {"origin": ALLOWED_ORIGIN, "authorization": f"Bearer {KEY}"}
    response = cors_client.post("/predict", json={"prices": PRICES}, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert response.headers["vary"] == "Origin"
    exposed = response.headers["access-control-expose-headers"].lower()
    assert "retry-after" in exposed
    assert "x-request-id" in exposed


def test_allowed_origin_can_read_errors(cors_client: AppClient) -> None:
    response = cors_client.post("/predict", json={"prices": PRICES}, headers={"origin": ALLOWED_ORIGIN})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, ALLOWED_ORIGIN)


@pytest.mark.parametrize(
    "origin",
    [
        OTHER_ORIGIN,
        "null",
        f"{ALLOWED_ORIGIN}.evil.example",
        ALLOWED_ORIGIN.replace("https", "http"),
        f"{ALLOWED_ORIGIN}:8",
    ],
)
def test_other_origins_are_rejected(cors_client: AppClient, origin: str) -> None:
    preflight = cors_client.request("OPTIONS", "/predict", headers={"origin": origin} | PREFLIGHT)
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    headers = {"origin": origin, "authorization": f"Bearer {KEY}"}
    response = cors_client.post("/predict", json={"prices": PRICES}, headers=headers)
    assert "access-control-allow-origin" not in response.headers
