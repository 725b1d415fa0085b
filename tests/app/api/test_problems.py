"""Every error, as the client sees it."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from app import errors
from app.api import problems
from app.errors import PricecastError


def subclasses(root: type[PricecastError]) -> Iterator[type[PricecastError]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


def answer(error: Exception) -> httpx.Response:
    """What a route that raises `error` answers."""
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", list(subclasses(PricecastError)))
def test_every_domain_error_has_its_answer(kind: type[PricecastError]) -> None:
    assert any(parent in problems.TABLE for parent in kind.__mro__) or kind is errors.Unavailable


def test_no_two_kinds_share_a_name() -> None:
    slugs = [kind.slug for kind in problems.TABLE.values()]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize(("retry_after_s", "header"), [(0.0, "1"), (1.2, "2"), (60.0, "60")])
def test_retry_after_is_whole_seconds_and_at_least_one(retry_after_s: float, header: str) -> None:
    response = answer(errors.Overloaded("too much", retry_after_s))
    assert (response.status_code, response.headers["retry-after"]) == (503, header)


def test_a_deadline_is_a_gateway_timeout() -> None:
    assert answer(errors.DeadlineExceeded("late")).status_code == 504


def test_an_engine_failure_is_logged_and_tells_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    response = answer(errors.EngineFailed("no number"))
    assert response.status_code == 500
    assert "Traceback" not in response.text
    assert "no number" in caplog.text


def test_an_unexpected_error_tells_nothing_of_itself_but_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    response = answer(KeyError("secret-4711"))
    assert "KeyError('secret-4711')" in caplog.text
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret-4711" not in response.text


def test_a_client_that_left_in_the_middle_of_its_body_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert answer(ClientDisconnect()).status_code == 499
    assert caplog.text == ""
