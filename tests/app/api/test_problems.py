"""Tests of error responses."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from app import errors
from app.api import problems
from app.errors import PricecastError
from tests.app.api.app_client import AppClient


def subclasses(root: type[PricecastError]) -> Iterator[type[PricecastError]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


def response_to(error: Exception) -> httpx.Response:
    """Return the response of a route that raises the error."""
    app = FastAPI()
    problems.add_error_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    return asyncio.run(get())


@pytest.mark.parametrize("error_type", list(subclasses(PricecastError)))
def test_every_domain_error_has_a_problem_type(error_type: type[PricecastError]) -> None:
    assert any(parent in problems.PROBLEM_TYPES for parent in error_type.__mro__) or error_type is errors.Unavailable


def test_problem_slugs_are_unique() -> None:
    slugs = [problem_type.slug for problem_type in problems.PROBLEM_TYPES.values()]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize(("retry_after_s", "header"), [(0.0, "1"), (1.2, "2"), (60.0, "60")])
def test_retry_after_is_rounded_up_to_at_least_one_second(retry_after_s: float, header: str) -> None:
    response = response_to(errors.Overloaded("too much", retry_after_s))
    assert (response.status_code, response.headers["retry-after"]) == (503, header)


def test_deadline_exceeded_returns_504() -> None:
    assert response_to(errors.DeadlineExceeded("late")).status_code == 504


def test_engine_failure_is_logged_and_hides_traceback(caplog: pytest.LogCaptureFixture) -> None:
    response = response_to(errors.EngineFailed("no number"))
    assert response.status_code == 500
    assert "Traceback" not in response.text
    assert "no number" in caplog.text


def test_unexpected_error_is_only_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    response = response_to(KeyError("secret-4711"))
    assert "KeyError('secret-4711')" in caplog.text
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret-4711" not in response.text


def test_disconnect_returns_499_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert response_to(ClientDisconnect()).status_code == 499
    assert caplog.text == ""


def test_unknown_path_or_method_returns_problem(client: AppClient) -> None:
    for method, path, status in (("GET", "/nope", 404), ("PUT", "/predict", 405)):
        response = client.request(method, path)
        assert (response.status_code, response.json()["status"]) == (status, status)
        assert response.headers["content-type"] == "application/problem+json"
