"""Tests of authentication and admin permissions."""

import asyncio
import hashlib
import hmac
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.api.middleware.auth import Authenticator, AuthMiddleware
from app.settings import Settings
from tests.app.api.app_client import AppClient, running_app
from tests.app.api.middleware.auth_keys import ADMIN, ALICE, ALICE_2, BOB, EXPIRED, ApiKey, bearer, parse_keys
from tests.conftest import version_of
from tests.prices import PRICES

PUBLIC_OPERATIONS = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}


@pytest.fixture(scope="module")
def keyed_client(shipped: Path) -> Iterator[AppClient]:
    """A server that requires keys."""
    expires = datetime.now(UTC).date() + timedelta(days=2)
    with running_app(
        Settings(
            models_dir=shipped,
            api_keys=parse_keys(
                ALICE.entry,
                f"{ALICE_2.entry}:{expires}",
                BOB.entry,
                f"{EXPIRED.entry}:2024-02-29",
            ),
            admin_keys=parse_keys(ADMIN.entry),
        )
    ) as client:
        yield client


@pytest.fixture(scope="module")
def admin_keyed_client(shipped: Path) -> Iterator[AppClient]:
    """A server with an admin key and without API keys."""
    with running_app(Settings(models_dir=shipped, admin_keys=parse_keys(ADMIN.entry), models_poll_s=0)) as client:
        yield client


def operations(client: AppClient) -> list[tuple[str, str]]:
    """Return the method and path of every operation in the OpenAPI document."""
    paths = client.app.fastapi.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def fill_path(path: str) -> str:
    """Fill in a model that does not exist, so that no model is unloaded."""
    return re.sub(r"{\w+}", "nonexistent", path)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "an API key is required"),
        ({"authorization": ""}, "an API key is required"),
        ({"authorization": "Bearer"}, "an API key is required"),
        ({"authorization": "Bearer "}, "an API key is required"),
        ({"authorization": ALICE.key}, "an API key is required"),
        ({"authorization": f"Basic {ALICE.key}"}, "an API key is required"),
        ({"x-api-key": ALICE.key}, "an API key is required"),
        ({"authorization": "Bearer pc_wrong"}, "is not valid"),
        ({"authorization": f"Bearer {ALICE.key}x"}, "is not valid"),
        ({"authorization": f"Bearer {ALICE.key.swapcase()}"}, "is not valid"),
        ({"authorization": f"Bearer {ALICE.entry.partition(':')[2]}"}, "is not valid"),
        ({b"authorization": b"Bearer \xff\xfe"}, "is not valid"),
        (bearer(EXPIRED), "expired on 2024-02-29"),
    ],
    ids=lambda value: re.sub("pc_.*", "KEY", repr(value)).partition(":")[2][:20],
)
def test_invalid_key_returns_401_with_reason(keyed_client: AppClient, headers: dict[str, str], reason: str) -> None:
    before = keyed_client.metrics().get('pricecast_problems_total{reason="unauthorized"}', 0)
    response = keyed_client.post("/predict", json={"prices": PRICES}, headers=headers)
    problem = response.json()
    assert (response.status_code, problem["status"], problem["type"]) == (401, 401, "urn:pricecast:unauthorized")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"] == problem["request_id"]
    assert reason in problem["detail"]
    assert keyed_client.metrics()['pricecast_problems_total{reason="unauthorized"}'] == before + 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_bearer_scheme_is_case_insensitive(keyed_client: AppClient, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {ALICE.key}"}
    assert keyed_client.post("/predict", json={"prices": PRICES}, headers=headers).status_code == 200


@pytest.mark.parametrize("key", [ALICE, ALICE_2, BOB, ADMIN], ids=["first", "second", "bob", "admin"])
def test_every_key_can_forecast(keyed_client: AppClient, key: ApiKey) -> None:
    for method, path, body in (("POST", "/predict", {"prices": PRICES}), ("GET", "/models", None)):
        assert keyed_client.request(method, path, json=body, headers=bearer(key)).status_code == 200


def test_all_operations_except_probes_require_a_key(keyed_client: AppClient) -> None:
    all_operations = operations(keyed_client)
    assert {("POST", "/predict"), ("GET", "/metrics"), ("POST", "/models/{name}/load")} <= set(all_operations)
    for method, path in all_operations:
        response = keyed_client.request(method, fill_path(path))
        assert (response.status_code == 401) is (path not in PUBLIC_OPERATIONS), (method, path)


def test_non_public_paths_require_a_key(keyed_client: AppClient) -> None:
    for path in ("/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui-bundle.js", "/health/ready"):
        assert keyed_client.get(path).status_code in {200, 307}, path
    hidden = {getattr(route, "path", "") for route in keyed_client.app.fastapi.routes}
    hidden -= {"/", "/docs", "/openapi.json", "/static-offline-docs", ""} | PUBLIC_OPERATIONS
    for path in (*hidden, "/nowhere", "/docs/", "/health", "/health/ready/", "/DOCS", "/docs%0A"):
        assert keyed_client.get(fill_path(path)).status_code == 401, path


def test_admin_operations_require_an_admin_key(keyed_client: AppClient) -> None:
    body = {"version": version_of("default")}
    for path in (
        "/models/default/load", "/v2/repository/models/default/load", "/v2/repository/models/default/unload",
    ):  # fmt: skip
        response = keyed_client.post(path, json=body, headers=bearer(BOB))
        assert response.status_code == 403, path
        assert "admin key" in response.text
    assert keyed_client.metrics()['pricecast_problems_total{reason="forbidden"}'] == 3
    assert keyed_client.post("/models/default/load", json=body, headers=bearer(ADMIN)).status_code == 200
    for method, path in operations(keyed_client):
        assert keyed_client.request(method, fill_path(path), headers=bearer(ADMIN)).status_code not in {401, 403}, path


def test_only_load_and_unload_require_an_admin_key(keyed_client: AppClient) -> None:
    for method, path in operations(keyed_client):
        response = keyed_client.request(method, fill_path(path), headers=bearer(BOB))
        assert (response.status_code == 403) is path.endswith(("/load", "/unload")), path


@pytest.mark.parametrize("inserted", ["%0A", "%0D", "%00", "/", "//", "%2F", ";", "?", "#", ".", "%20"])
def test_path_variants_do_not_bypass_the_admin_check(keyed_client: AppClient, inserted: str) -> None:
    models = keyed_client.get("/models", headers=bearer(BOB)).json()
    for path in ("/models/tutorial/load", "/v2/repository/models/tutorial/unload"):
        for variant in (f"{path}{inserted}", path.replace("/tutorial", f"/tutorial{inserted}"), f"{inserted}{path}"):
            response = keyed_client.request("POST", variant, json={"version": "1"}, headers=bearer(BOB))
            assert response.status_code >= 300, variant
    assert keyed_client.get("/models", headers=bearer(BOB)).json() == models


def test_with_admin_keys_only_other_operations_are_open(admin_keyed_client: AppClient) -> None:
    for method, path in operations(admin_keyed_client):
        # The server does not know this key.
        response = admin_keyed_client.request(method, fill_path(path), headers=bearer(ALICE))
        assert (response.status_code == 401) is path.endswith(("/load", "/unload")), path
    assert admin_keyed_client.post("/predict", json={"prices": PRICES}).status_code == 200
    body = {"version": version_of("default")}
    assert admin_keyed_client.post("/models/default/load", json=body).status_code == 401
    assert admin_keyed_client.post("/models/default/load", json=body, headers=bearer(ADMIN)).status_code == 200


def test_without_keys_all_operations_are_open(client: AppClient) -> None:
    for method, path in operations(client):
        assert client.request(method, fill_path(path)).status_code not in {401, 403}, path


def test_keys_appear_in_no_response_or_log(keyed_client: AppClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    responses: list[str] = []

    def send_keys() -> None:
        for key, path in itertools.product((ALICE, EXPIRED, ADMIN), ("/predict", "/nowhere", "/models/default/load")):
            for scheme in ("Bearer", "Basic"):
                response = keyed_client.post(path, json={}, headers={"authorization": f"{scheme} {key.key}"})
                responses.append(f"{response.headers}{response.text}")

    lines = keyed_client.capture_request_log(send_keys)
    assert len(lines) == 18
    output = "".join(responses) + str(lines) + caplog.text
    for key, entry in (ALICE, EXPIRED, ADMIN):
        assert key not in output
        assert key.removeprefix("pc_") not in output
        assert entry.rpartition(":")[2] not in output


def test_keys_are_compared_in_constant_time(keyed_client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def recording_compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return original_compare(a, b)

    original_compare = hmac.compare_digest
    monkeypatch.setattr("app.api_keys.hmac.compare_digest", recording_compare)
    configured = [bytes.fromhex(each.entry.rpartition(":")[2]) for each in (ALICE, ALICE_2, BOB, EXPIRED, ADMIN)]
    for key, status in ((ALICE.key, 200), (ADMIN.key, 200), (EXPIRED.key, 401), ("wrong", 401)):
        compared.clear()
        assert keyed_client.get("/models", headers={"authorization": f"Bearer {key}"}).status_code == status
        assert compared == [(digest, hashlib.sha256(key.encode()).digest()) for digest in configured]


def test_non_http_scope_passes_through() -> None:
    scope_types: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope_types.append(scope["type"])

    async def unused(*_: object) -> Any:
        raise AssertionError

    middleware = AuthMiddleware(app, Authenticator(parse_keys(ALICE.entry), ()), 0, 0)
    asyncio.run(middleware({"type": "lifespan"}, unused, unused))
    assert scope_types == ["lifespan"]
