"""Who may ask for what, and how often."""

import asyncio
import hashlib
import hmac
import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import api_keys
from app.api.middleware.auth import EVERYONE, Authenticator, AuthMiddleware
from app.api.middleware.rate_limit import BURST_S, ClientLimiter
from app.api.middleware.request_context import RequestContextMiddleware
from app.api_keys import Key
from app.errors import RateLimited, TooManyWindows
from app.observability.metrics import Metrics
from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.conftest import version_of
from tests.fakes import ManualClock

PRICES = [100.0 + i % 7 for i in range(60)]
OPEN_OPERATIONS = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
FIRST, SECOND, BOB, EXPIRED, ADMIN = (api_keys.new(name) for name in ("alice", "alice", "bob", "carol", "root"))
TODAY = datetime.now(UTC).date()


def parsed(*settings: str) -> Any:
    """Settings of keys, as a server reads them."""
    return api_keys.parse(",".join(settings))


@pytest.fixture(scope="module")
def keyed(shipped: Path) -> Iterator[Client]:
    """A server that asks for keys."""
    yield from start(
        Settings(
            models_dir=shipped,
            api_keys=parsed(FIRST[1], f"{SECOND[1]}:{TODAY + timedelta(days=2)}", BOB[1], f"{EXPIRED[1]}:2024-02-29"),
            admin_keys=parsed(ADMIN[1]),
        )
    )


@pytest.fixture(scope="module")
def administered(shipped: Path) -> Iterator[Client]:
    """A server that everyone may ask, and one may administer."""
    yield from start(Settings(models_dir=shipped, admin_keys=parsed(ADMIN[1]), models_poll_s=0))


def bearer(key: tuple[str, str]) -> dict[str, str]:
    return {"authorization": f"Bearer {key[0]}"}


def operations(client: Client) -> list[tuple[str, str]]:
    """Method and path of every operation of the OpenAPI document."""
    paths = client.app.fastapi.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def named(path: str) -> str:
    """With a model that there is not: nothing is unloaded by trying."""
    return re.sub(r"{\w+}", "nothing", path)


# Keys


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "this needs a key"),
        ({"authorization": ""}, "this needs a key"),
        ({"authorization": "Bearer"}, "this needs a key"),
        ({"authorization": "Bearer "}, "this needs a key"),
        ({"authorization": FIRST[0]}, "this needs a key"),
        ({"authorization": f"Basic {FIRST[0]}"}, "this needs a key"),
        ({"x-api-key": FIRST[0]}, "this needs a key"),
        ({"authorization": "Bearer pc_wrong"}, "is not known"),
        ({"authorization": f"Bearer {FIRST[0]}x"}, "is not known"),
        ({"authorization": f"Bearer {FIRST[0].swapcase()}"}, "is not known"),
        ({"authorization": f"Bearer {FIRST[1].partition(':')[2]}"}, "is not known"),
        ({b"authorization": b"Bearer \xff\xfe"}, "is not known"),
        (bearer(EXPIRED), "has expired on 2024-02-29"),
    ],
    ids=lambda value: re.sub("pc_.*", "KEY", repr(value)).partition(":")[2][:20],
)
def test_without_a_valid_key_nothing_is_answered_and_it_is_told_why(
    keyed: Client, headers: dict[str, str], told: str
) -> None:
    before = keyed.metrics().get('pricecast_problems_total{reason="unauthorized"}', 0)
    response = keyed.post("/predict", json={"prices": PRICES}, headers=headers)
    problem = response.json()
    assert (response.status_code, problem["status"], problem["type"]) == (401, 401, "urn:pricecast:unauthorized")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"] == problem["request_id"]
    assert told in problem["detail"]
    assert keyed.metrics()['pricecast_problems_total{reason="unauthorized"}'] == before + 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_a_valid_key_is_let_through_however_its_scheme_is_spelled(keyed: Client, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {FIRST[0]}"}
    assert keyed.post("/predict", json={"prices": PRICES}, headers=headers).status_code == 200


@pytest.mark.parametrize("key", [FIRST, SECOND, BOB, ADMIN], ids=["first", "second", "bob", "admin"])
def test_each_key_opens_forecasts_also_the_two_of_a_client_that_is_changing_its_key(
    keyed: Client, key: tuple[str, str]
) -> None:
    for method, path, body in (("POST", "/predict", {"prices": PRICES}), ("GET", "/models", None)):
        assert keyed.request(method, path, json=body, headers=bearer(key)).status_code == 200


def test_every_operation_needs_a_key_but_the_probes(keyed: Client) -> None:
    asked = operations(keyed)
    assert {("POST", "/predict"), ("GET", "/metrics"), ("POST", "/models/{name}/load")} <= set(asked)
    for method, path in asked:
        response = keyed.request(method, named(path))
        assert (response.status_code == 401) is (path not in OPEN_OPERATIONS), (method, path)


def test_whatever_else_there_is_needs_a_key_but_the_pages(keyed: Client) -> None:
    for path in ("/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui-bundle.js", "/health/ready"):
        assert keyed.get(path).status_code in {200, 307}, path
    hidden = {getattr(route, "path", "") for route in keyed.app.fastapi.routes}
    hidden -= {"/", "/docs", "/openapi.json", "/static-offline-docs", ""} | OPEN_OPERATIONS
    for path in (*hidden, "/nowhere", "/docs/", "/health", "/health/ready/", "/DOCS", "/docs%0A"):
        assert keyed.get(named(path)).status_code == 401, path


def test_a_key_opens_no_administration_and_an_administrators_opens_all(keyed: Client) -> None:
    body = {"version": version_of("default")}
    for path in (
        "/models/default/load", "/v2/repository/models/default/load", "/v2/repository/models/default/unload",
    ):  # fmt: skip
        response = keyed.post(path, json=body, headers=bearer(BOB))
        assert response.status_code == 403, path
        assert "administrator" in response.text
    assert keyed.metrics()['pricecast_problems_total{reason="forbidden"}'] == 3
    assert keyed.post("/models/default/load", json=body, headers=bearer(ADMIN)).status_code == 200
    for method, path in operations(keyed):
        assert keyed.request(method, named(path), headers=bearer(ADMIN)).status_code not in {401, 403}, path


def test_every_operation_that_changes_what_is_served_is_one_for_administrators(keyed: Client) -> None:
    for method, path in operations(keyed):
        response = keyed.request(method, named(path), headers=bearer(BOB))
        assert (response.status_code == 403) is path.endswith(("/load", "/unload")), path


@pytest.mark.parametrize("more", ["%0A", "%0D", "%00", "/", "//", "%2F", ";", "?", "#", ".", "%20"])
def test_however_a_path_is_written_it_opens_no_administration(keyed: Client, more: str) -> None:
    served = keyed.get("/models", headers=bearer(BOB)).json()
    for path in ("/models/tutorial/load", "/v2/repository/models/tutorial/unload"):
        for written in (f"{path}{more}", path.replace("/tutorial", f"/tutorial{more}"), f"{more}{path}"):
            response = keyed.request("POST", written, json={"version": "1"}, headers=bearer(BOB))
            assert response.status_code >= 300, written
    assert keyed.get("/models", headers=bearer(BOB)).json() == served


def test_with_administrators_keys_alone_everyone_may_ask_and_nobody_else_may_load(administered: Client) -> None:
    for method, path in operations(administered):
        response = administered.request(method, named(path), headers=bearer(FIRST))  # which is not known there
        assert (response.status_code == 401) is path.endswith(("/load", "/unload")), path
    assert administered.post("/predict", json={"prices": PRICES}).status_code == 200
    body = {"version": version_of("default")}
    assert administered.post("/models/default/load", json=body).status_code == 401
    assert administered.post("/models/default/load", json=body, headers=bearer(ADMIN)).status_code == 200


def test_without_any_keys_everything_is_open(client: Client) -> None:
    for method, path in operations(client):
        assert client.request(method, named(path)).status_code not in {401, 403}, path


def test_a_key_appears_in_no_answer_and_no_line_of_the_log(keyed: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    texts: list[str] = []

    def ask() -> None:
        for key, path in itertools.product((FIRST, EXPIRED, ADMIN), ("/predict", "/nowhere", "/models/default/load")):
            for scheme in ("Bearer", "Basic"):
                response = keyed.post(path, json={}, headers={"authorization": f"{scheme} {key[0]}"})
                texts.append(f"{response.headers}{response.text}")

    lines = keyed.logged(ask)
    assert len(lines) == 18
    said = "".join(texts) + str(lines) + caplog.text
    for key, setting in (FIRST, EXPIRED, ADMIN):
        assert key not in said
        assert key.removeprefix("pc_") not in said
        assert setting.rpartition(":")[2] not in said


def test_what_is_sent_is_compared_with_every_key_in_constant_time(
    keyed: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return digests_are_equal(one, other)

    digests_are_equal = hmac.compare_digest
    monkeypatch.setattr("app.api_keys.hmac.compare_digest", noted)
    kept = [bytes.fromhex(setting.rpartition(":")[2]) for _, setting in (FIRST, SECOND, BOB, EXPIRED, ADMIN)]
    for sent, status in ((FIRST[0], 200), (ADMIN[0], 200), (EXPIRED[0], 401), ("wrong", 401)):
        compared.clear()
        assert keyed.get("/models", headers={"authorization": f"Bearer {sent}"}).status_code == status
        assert compared == [(each, hashlib.sha256(sent.encode()).digest()) for each in kept]


# Limits


rates = st.floats(-2, 3).map(lambda power: float(10**power))
starts = st.floats(0, 1e6)
waits = st.one_of(st.just(0.0), st.floats(0, 0.01), st.floats(0, 3), st.floats(0, 100))


@settings(max_examples=200, deadline=None)
@given(rates, starts, st.lists(waits, max_size=100))
def test_in_no_stretch_of_time_more_pass_than_the_rate_allows_and_a_burst(
    rate: float, began_s: float, waited: list[float]
) -> None:
    client = ClientLimiter("alice", rate, 0)
    passed: list[float] = []
    for now_s in itertools.accumulate(waited, initial=began_s):
        try:
            client.count_request(now_s)
        except RateLimited:
            continue
        passed.append(now_s)
    burst_s = max(BURST_S, 1 / rate)
    for first, last in itertools.combinations_with_replacement(range(len(passed)), 2):
        assert last - first + 1 <= rate * (passed[last] - passed[first] + burst_s) + 1e-3


@settings(max_examples=200, deadline=None)
@given(rates, starts, st.lists(waits, min_size=1, max_size=50))
def test_who_comes_back_when_told_is_let_through_and_nobody_sooner(
    rate: float, began_s: float, waited: list[float]
) -> None:
    client = ClientLimiter("alice", rate, 0)
    clock = ManualClock(began_s)
    for wait_s in waited:
        clock.advance(wait_s)
        for _ in range(2000):
            try:
                client.count_request(clock())
            except RateLimited as refused:
                early_s = refused.retry_after_s * 0.999
                if early_s > 1e-6:
                    with pytest.raises(RateLimited):
                        client.count_request(clock() + refused.retry_after_s - early_s / 1000)
                clock.advance(refused.retry_after_s)
                client.count_request(clock())
                break


@settings(max_examples=100, deadline=None)
@given(rates, starts)
def test_who_keeps_to_the_rate_is_never_refused(rate: float, began_s: float) -> None:
    client = ClientLimiter("alice", rate, 0)
    for i in range(100):
        client.count_request(began_s + i * 1.000001 / rate)


def test_a_rate_of_ten_lets_ten_through_at_once_and_then_one_each_tenth_of_a_second() -> None:
    client = ClientLimiter("alice", 10, 0)
    for _ in range(10):
        client.count_request(1000.0)
    with pytest.raises(RateLimited, match="more than 10 requests per second of alice") as refused:
        client.count_request(1000.0)
    assert refused.value.retry_after_s == pytest.approx(0.1)
    client.count_request(1000.1)
    with pytest.raises(RateLimited):
        client.count_request(1000.1)


def test_without_a_limit_nothing_is_counted() -> None:
    client = ClientLimiter("alice", 0, 0)
    for _ in range(1000):
        client.count_request(0.0)
        client.acquire(1000)


@given(st.integers(1, 100), st.lists(st.integers(1, 50), max_size=30), st.data())
def test_windows_in_flight_are_never_more_than_allowed_and_refused_only_where_they_would_be(
    limit: int, requests: list[int], data: st.DataObject
) -> None:
    client = ClientLimiter("alice", 0, limit)
    taken: list[int] = []
    for windows in requests:
        if data.draw(st.booleans()) and taken:
            client.release(taken.pop(data.draw(st.integers(0, len(taken) - 1))))
        try:
            client.acquire(windows)
        except TooManyWindows:
            assert sum(taken) + windows > limit
        else:
            taken.append(windows)
            assert sum(taken) <= limit


class Behind:
    """Stands for the application behind a guard: remembers who was let through."""

    def __init__(self) -> None:
        self.let_through: list[str | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["state"].get("client")
        self.let_through.append(client.name if client else None)
        await Response()(scope, receive, send)


def asked(guard: AuthMiddleware, *requests: tuple[str, str]) -> list[httpx.Response]:
    """The answers to requests for (path, key)."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=RequestContextMiddleware(guard, Metrics(), None))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return [await http.get(path, headers={"authorization": f"Bearer {key}"}) for path, key in requests]

    return asyncio.run(ask())


def guard(behind: Behind, clock: ManualClock, *settings: str, requests_per_s: float) -> AuthMiddleware:
    api_keys: list[Key] = list(parsed(*settings))
    return AuthMiddleware(behind, Authenticator(api_keys, ()), requests_per_s, 0, clock)


def test_the_keys_of_a_client_share_its_rate_and_another_client_has_its_own() -> None:
    behind, clock = Behind(), ManualClock(1e5)
    guarding = guard(behind, clock, FIRST[1], SECOND[1], BOB[1], requests_per_s=2)
    alice, again, bob = ("/models", FIRST[0]), ("/models", SECOND[0]), ("/models", BOB[0])
    responses = asked(guarding, alice, again, alice, again, bob, bob, bob)
    assert [response.status_code for response in responses] == [200, 200, 429, 429, 200, 200, 429]
    assert behind.let_through == ["alice", "alice", "bob", "bob"]
    clock.advance(0.5)
    assert [response.status_code for response in asked(guarding, again, alice, bob)] == [200, 429, 200]


def test_who_is_refused_is_told_when_to_come_back_and_then_is_let_through() -> None:
    clock = ManualClock()
    guarding = guard(Behind(), clock, FIRST[1], requests_per_s=0.1)
    alice = ("/models", FIRST[0])
    _, refused = asked(guarding, alice, alice)
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (429, "urn:pricecast:rate-limited")
    assert problem["detail"] == "more than 0.1 requests per second of alice"
    assert refused.headers["retry-after"] == "10"
    clock.advance(float(refused.headers["retry-after"]))
    assert asked(guarding, alice)[0].status_code == 200


def test_probes_and_pages_and_wrong_keys_use_up_nothing_of_a_rate() -> None:
    behind = Behind()
    guarding = guard(behind, ManualClock(), FIRST[1], requests_per_s=1)
    free = asked(guarding, *[(path, FIRST[0]) for path in ("/health/ready", "/docs", "/")] * 3)
    assert {response.status_code for response in free} == {200}
    assert {response.status_code for response in asked(guarding, *[("/models", "wrong")] * 9)} == {401}
    assert asked(guarding, ("/models", FIRST[0]))[0].status_code == 200
    assert behind.let_through == [None] * 9 + ["alice"]


def test_where_no_keys_are_asked_for_all_are_one_client(shipped: Path) -> None:
    for client in start(Settings(models_dir=shipped, max_requests_per_s_per_client=0.001)):
        assert client.get("/models").status_code == 200
        refused = client.post("/predict", json={"prices": PRICES}, headers=bearer(FIRST))
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:pricecast:rate-limited")
        assert EVERYONE in refused.json()["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 1000
        assert client.get("/health/ready").status_code == 200
        assert client.metrics()['pricecast_problems_total{reason="rate-limited"}'] == 1


def test_what_is_no_request_is_let_through() -> None:
    passed: list[str] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def nothing(*_: object) -> Any:
        raise AssertionError

    asyncio.run(
        AuthMiddleware(behind, Authenticator(parsed(FIRST[1]), ()), 0, 0)({"type": "lifespan"}, nothing, nothing)
    )
    assert passed == ["lifespan"]
