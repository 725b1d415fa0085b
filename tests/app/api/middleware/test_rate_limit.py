"""Tests of the client limits: request rate, and windows in flight."""

import asyncio
import itertools
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.middleware.auth import ANONYMOUS, Authenticator, AuthMiddleware
from app.api.middleware.rate_limit import BURST_S, ClientLimiter
from app.api.middleware.request_context import RequestContextMiddleware
from app.api_keys import Key
from app.errors import RateLimited, TooManyWindows
from app.observability.metrics import Metrics
from app.settings import Settings
from tests.app.api.app_client import running_app
from tests.app.api.middleware.auth_keys import ALICE, ALICE_2, BOB, bearer, parse_keys
from tests.fakes import ManualClock
from tests.prices import PRICES

# ClientLimiter


rates = st.floats(-2, 3).map(lambda exponent: float(10**exponent))  # requests per second
start_times_s = st.floats(0, 1e6)
waits_s = st.one_of(st.just(0.0), st.floats(0, 0.01), st.floats(0, 3), st.floats(0, 100))


@settings(max_examples=200, deadline=None)
@given(rates, start_times_s, st.lists(waits_s, max_size=100))
def test_rate_plus_burst_is_never_exceeded(rate: float, start_s: float, waits_s: list[float]) -> None:
    limiter = ClientLimiter("alice", rate, 0)
    accepted_s: list[float] = []
    for now_s in itertools.accumulate(waits_s, initial=start_s):
        try:
            limiter.count_request(now_s)
        except RateLimited:
            continue
        accepted_s.append(now_s)
    burst_s = max(BURST_S, 1 / rate)
    for first, last in itertools.combinations_with_replacement(range(len(accepted_s)), 2):
        assert last - first + 1 <= rate * (accepted_s[last] - accepted_s[first] + burst_s) + 1e-3


@settings(max_examples=200, deadline=None)
@given(rates, start_times_s, st.lists(waits_s, min_size=1, max_size=50))
def test_retry_after_is_sufficient_and_necessary(rate: float, start_s: float, waits_s: list[float]) -> None:
    limiter = ClientLimiter("alice", rate, 0)
    clock = ManualClock(start_s)
    for wait_s in waits_s:
        clock.advance(wait_s)
        for _ in range(2000):
            try:
                limiter.count_request(clock())
            except RateLimited as error:
                early_s = error.retry_after_s * 0.999
                if early_s > 1e-6:
                    with pytest.raises(RateLimited):
                        limiter.count_request(clock() + error.retry_after_s - early_s / 1000)
                clock.advance(error.retry_after_s)
                limiter.count_request(clock())
                break


@settings(max_examples=100, deadline=None)
@given(rates, start_times_s)
def test_client_within_its_rate_is_never_limited(rate: float, start_s: float) -> None:
    limiter = ClientLimiter("alice", rate, 0)
    for i in range(100):
        limiter.count_request(start_s + i * 1.000001 / rate)


def test_rate_of_ten_allows_a_burst_of_ten() -> None:
    limiter = ClientLimiter("alice", 10, 0)
    for _ in range(10):
        limiter.count_request(1000.0)
    with pytest.raises(RateLimited, match="client alice exceeds 10 requests per second") as error_info:
        limiter.count_request(1000.0)
    assert error_info.value.retry_after_s == pytest.approx(0.1)
    limiter.count_request(1000.1)
    with pytest.raises(RateLimited):
        limiter.count_request(1000.1)


def test_unlimited_client_is_never_limited() -> None:
    limiter = ClientLimiter("alice", 0, 0)
    for _ in range(1000):
        limiter.count_request(0.0)
        limiter.acquire(1000)


@given(st.integers(1, 100), st.lists(st.integers(1, 50), max_size=30), st.data())
def test_windows_in_flight_never_exceed_the_limit(limit: int, requests: list[int], data: st.DataObject) -> None:
    limiter = ClientLimiter("alice", 0, limit)
    acquired: list[int] = []
    for windows in requests:
        if data.draw(st.booleans()) and acquired:
            limiter.release(acquired.pop(data.draw(st.integers(0, len(acquired) - 1))))
        try:
            limiter.acquire(windows)
        except TooManyWindows:
            assert sum(acquired) + windows > limit
        else:
            acquired.append(windows)
            assert sum(acquired) <= limit


# AuthMiddleware


class RecordingApp:
    """An application that records the client of each request it receives."""

    def __init__(self) -> None:
        self.clients: list[str | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope["state"].get("client")
        self.clients.append(client.name if client else None)
        await Response()(scope, receive, send)


def get_all(middleware: AuthMiddleware, *requests: tuple[str, str]) -> list[httpx.Response]:
    """Send GET requests, each a pair of a path and a key, one after the other."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=RequestContextMiddleware(middleware, Metrics(), None))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return [await http.get(path, headers={"authorization": f"Bearer {key}"}) for path, key in requests]

    return asyncio.run(send())


def rate_limited(app: RecordingApp, clock: ManualClock, *settings: str, requests_per_s: float) -> AuthMiddleware:
    api_keys: list[Key] = list(parse_keys(*settings))
    return AuthMiddleware(app, Authenticator(api_keys, ()), requests_per_s, 0, clock)


def test_keys_of_one_client_share_its_rate() -> None:
    app, clock = RecordingApp(), ManualClock(1e5)
    middleware = rate_limited(app, clock, ALICE.entry, ALICE_2.entry, BOB.entry, requests_per_s=2)
    alice, alice_2, bob = ("/models", ALICE.key), ("/models", ALICE_2.key), ("/models", BOB.key)
    responses = get_all(middleware, alice, alice_2, alice, alice_2, bob, bob, bob)
    assert [response.status_code for response in responses] == [200, 200, 429, 429, 200, 200, 429]
    assert app.clients == ["alice", "alice", "bob", "bob"]
    clock.advance(0.5)
    assert [response.status_code for response in get_all(middleware, alice_2, alice, bob)] == [200, 429, 200]


def test_limited_client_is_accepted_after_retry_after() -> None:
    clock = ManualClock()
    middleware = rate_limited(RecordingApp(), clock, ALICE.entry, requests_per_s=0.1)
    alice = ("/models", ALICE.key)
    _, response = get_all(middleware, alice, alice)
    problem = response.json()
    assert (response.status_code, problem["type"]) == (429, "urn:pricecast:rate-limited")
    assert problem["detail"] == "client alice exceeds 0.1 requests per second"
    assert response.headers["retry-after"] == "10"
    clock.advance(float(response.headers["retry-after"]))
    assert get_all(middleware, alice)[0].status_code == 200


def test_public_paths_and_invalid_keys_do_not_count() -> None:
    app = RecordingApp()
    middleware = rate_limited(app, ManualClock(), ALICE.entry, requests_per_s=1)
    public = get_all(middleware, *[(path, ALICE.key) for path in ("/health/ready", "/docs", "/")] * 3)
    assert {response.status_code for response in public} == {200}
    assert {response.status_code for response in get_all(middleware, *[("/models", "wrong")] * 9)} == {401}
    assert get_all(middleware, ("/models", ALICE.key))[0].status_code == 200
    assert app.clients == [None] * 9 + ["alice"]


def test_anonymous_requests_share_one_rate(shipped: Path) -> None:
    with running_app(Settings(models_dir=shipped, max_requests_per_s_per_client=0.001)) as client:
        assert client.get("/models").status_code == 200
        response = client.post("/predict", json={"prices": PRICES}, headers=bearer(ALICE))
        assert (response.status_code, response.json()["type"]) == (429, "urn:pricecast:rate-limited")
        assert ANONYMOUS in response.json()["detail"]
        assert 1 <= int(response.headers["retry-after"]) <= 1000
        assert client.get("/health/ready").status_code == 200
        assert client.metrics()['pricecast_problems_total{reason="rate-limited"}'] == 1
