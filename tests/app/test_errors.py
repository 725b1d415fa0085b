"""The error classes: the tree in the docstring is complete, and the messages are readable."""

import re
from pathlib import Path

import pytest

from app import errors
from app.errors import (
    ArtifactError,
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Draining,
    EngineFailed,
    FieldError,
    Forbidden,
    InvalidContent,
    InvalidHeader,
    NotReady,
    Overloaded,
    PricecastError,
    RateLimited,
    TooManyWindows,
    Unauthorized,
    Unavailable,
    UnknownModel,
    UnsupportedMediaType,
)


def documented_parents() -> dict[str, str | None]:
    """Return each class in the docstring's tree, with its parent."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)([A-Z]\w+)(  |$)", line):
            branch, name = found[1], found[2]
            depth = len(branch) // 4
            path[depth:] = [name]
            parents[name] = path[depth - 1] if depth else None
    return parents


def actual_parents() -> dict[str, str | None]:
    """Return each error class that the module defines, with its base class."""
    parents: dict[str, str | None] = {"PricecastError": None}
    rest: list[type[PricecastError]] = [PricecastError]
    while rest:
        base = rest.pop()
        children = [child for child in base.__subclasses__() if child.__module__ == errors.__name__]
        parents |= dict.fromkeys((child.__name__ for child in children), base.__name__)
        rest += children
    return parents


def test_documented_parents_reads_the_tree() -> None:
    assert documented_parents()["PricecastError"] is None
    assert documented_parents()["NotReady"] == "Unavailable"
    assert documented_parents()["DeadlineExceeded"] == "PricecastError"


def test_documented_tree_matches_the_classes() -> None:
    assert documented_parents() == actual_parents()


def test_every_exception_is_in_the_tree() -> None:
    every = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert every == set(actual_parents())


@pytest.mark.parametrize(
    ("field_errors", "message"),
    [
        ([FieldError("/prices/17", "is odd")], "/prices/17: is odd"),
        ([FieldError("", "is not JSON")], "the body: is not JSON"),
        ([FieldError("/a", "is odd"), FieldError("/b", "is even")], "/a: is odd (and 1 more)"),
        ([FieldError("", "is odd", id="AAPL")] * 20, "the body: is odd (and 19 more)"),
    ],
)
def test_invalid_content_shows_first_error_and_count_of_others(field_errors: list[FieldError], message: str) -> None:
    error = InvalidContent(field_errors)
    assert str(error) == message
    assert error.field_errors == tuple(field_errors)


def test_field_error_id_is_optional() -> None:
    assert FieldError("/series/0", "is odd").id is None
    assert FieldError("/series/0", "is odd", "AAPL") == FieldError("/series/0", "is odd", id="AAPL")


def test_invalid_content_copies_its_field_errors() -> None:
    field_errors = [FieldError("/a", "is odd")]
    error = InvalidContent(field_errors)
    field_errors.clear()
    assert len(error.field_errors) == 1


@pytest.mark.parametrize("kind", [Unavailable, NotReady, Overloaded, Draining, RateLimited, TooManyWindows])
def test_unavailable_has_a_retry_delay_of_one_second_by_default(kind: type[Unavailable]) -> None:
    assert kind("not now").retry_after_s == 1.0
    assert kind("not now", retry_after_s=7.5).retry_after_s == 7.5
    assert str(kind("not now", 7.5)) == "not now"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BodyTooLarge(1024), "the body exceeds the limit of 1024 bytes"),
        (UnsupportedMediaType("it must be JSON"), "it must be JSON"),
        (InvalidHeader("X-Request-Timeout-Ms", "it must be a number"), "X-Request-Timeout-Ms: it must be a number"),
        (Unauthorized("no key"), "no key"),
        (Forbidden("another key"), "another key"),
        (UnknownModel("no such model"), "no such model"),
        (DeadlineExceeded("too late"), "too late"),
        (BodyTooSlow(0.25), "the body was not received within 0.25 s"),
        (EngineFailed("no number"), "no number"),
        (ArtifactError(Path("m") / "1", "is gone"), f"{Path('m', '1')}: is gone"),
    ],
)
def test_error_message(error: PricecastError, message: str) -> None:
    assert str(error) == message


def test_artifact_error_keeps_path_and_reason() -> None:
    error = ArtifactError(Path("m/1/model.onnx"), "is gone")
    assert (error.path, error.reason) == (Path("m/1/model.onnx"), "is gone")
