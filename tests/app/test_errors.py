"""The tree of errors is the one that is drawn, and each error says itself in words."""

import re
from pathlib import Path

import pytest

from app import errors
from app.errors import (
    ArtifactError,
    BodyTooLarge,
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


def drawn() -> dict[str, str | None]:
    """Each class in the drawing, and the one that it hangs from."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)([A-Z]\w+)(  |$)", line):
            branch, name = found[1], found[2]
            depth = len(branch) // 4
            above[depth:] = [name]
            parents[name] = above[depth - 1] if depth else None
    return parents


def real() -> dict[str, str | None]:
    """Each error that the module defines, and its base."""
    parents: dict[str, str | None] = {"PricecastError": None}
    rest: list[type[PricecastError]] = [PricecastError]
    while rest:
        base = rest.pop()
        below = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
        parents |= dict.fromkeys((each.__name__ for each in below), base.__name__)
        rest += below
    return parents


def test_the_drawing_is_read_as_it_is_meant() -> None:
    assert drawn()["PricecastError"] is None
    assert drawn()["NotReady"] == "Unavailable"
    assert drawn()["DeadlineExceeded"] == "PricecastError"


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert drawn() == real()


def test_every_error_of_the_module_is_in_the_tree() -> None:
    every = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert every == set(real())


@pytest.mark.parametrize(
    ("field_errors", "words"),
    [
        ([FieldError("/prices/17", "is odd")], "/prices/17: is odd"),
        ([FieldError("", "is not JSON")], "the body: is not JSON"),
        ([FieldError("/a", "is odd"), FieldError("/b", "is even")], "/a: is odd (and 1 more)"),
        ([FieldError("", "is odd", id="AAPL")] * 20, "the body: is odd (and 19 more)"),
    ],
)
def test_invalid_content_says_its_first_fault_and_counts_the_rest(field_errors: list[FieldError], words: str) -> None:
    error = InvalidContent(field_errors)
    assert str(error) == words
    assert error.field_errors == tuple(field_errors)


def test_a_fault_may_carry_the_callers_own_name() -> None:
    assert FieldError("/series/0", "is odd").id is None
    assert FieldError("/series/0", "is odd", "AAPL") == FieldError("/series/0", "is odd", id="AAPL")


def test_faults_are_kept_as_they_were() -> None:
    field_errors = [FieldError("/a", "is odd")]
    error = InvalidContent(field_errors)
    field_errors.clear()
    assert len(error.field_errors) == 1


@pytest.mark.parametrize("kind", [Unavailable, NotReady, Overloaded, Draining, RateLimited, TooManyWindows])
def test_what_is_unavailable_can_be_tried_again_in_a_second_unless_it_says_when(kind: type[Unavailable]) -> None:
    assert kind("not now").retry_after_s == 1.0
    assert kind("not now", retry_after_s=7.5).retry_after_s == 7.5
    assert str(kind("not now", 7.5)) == "not now"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BodyTooLarge(1024), "the body has more than 1024 bytes, the most that one request may have"),
        (UnsupportedMediaType("it must be JSON"), "it must be JSON"),
        (InvalidHeader("X-Request-Timeout-Ms", "it must be a number"), "X-Request-Timeout-Ms: it must be a number"),
        (Unauthorized("no key"), "no key"),
        (Forbidden("another key"), "another key"),
        (UnknownModel("no such model"), "no such model"),
        (DeadlineExceeded("too late"), "too late"),
        (EngineFailed("no number"), "no number"),
        (ArtifactError(Path("m") / "1", "is gone"), f"{Path('m', '1')}: is gone"),
    ],
)
def test_an_error_says_itself_in_words(error: PricecastError, words: str) -> None:
    assert str(error) == words


def test_an_artifact_error_names_file_and_reason() -> None:
    error = ArtifactError(Path("m/1/model.onnx"), "is gone")
    assert (error.path, error.reason) == (Path("m/1/model.onnx"), "is gone")
