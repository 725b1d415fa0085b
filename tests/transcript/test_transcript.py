"""The servers respond as they did when the transcript was recorded."""

from collections import Counter
from typing import Any

import pytest

from tests.transcript.record import RECORDED, read_recorded, replay_and_reduce
from tests.transcript.request_list import all_requests
from tests.transcript.responses import differences

SHOWN = 40  # differences in the message of a failure


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return read_recorded()


@pytest.mark.slow
def test_replay_gives_the_recorded_responses(recorded: dict[str, Any]) -> None:
    replayed = replay_and_reduce()
    found = list(differences(recorded, replayed))
    assert not found, f"{len(found)} differences from the transcript:\n" + "\n".join(found[:SHOWN])


def test_transcript_has_each_request_once(recorded: dict[str, Any]) -> None:
    names = [request.name for request in all_requests()]
    assert len(names) == len(set(names))
    assert set(names) == recorded.keys()


def test_requests_are_the_same_each_time() -> None:
    assert all_requests() == all_requests()


def test_about_half_of_the_responses_are_errors(recorded: dict[str, Any]) -> None:
    statuses = Counter(response["status"] for response in recorded.values())
    errors = sum(count for status, count in statuses.items() if status >= 400)
    assert 0.4 < errors / statuses.total() < 0.7
    assert {200, 307, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 503, 504} == statuses.keys()


def test_transcript_is_small() -> None:
    assert RECORDED.stat().st_size < 250_000


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"status": 200}, {"status": 201}),
        ({"status": 200}, {}),
        ({}, {"status": 200}),
        ([1.0, 2.0], [1.0]),
        ([1.0, 2.0], [1.0, 2.00001]),
        ({"body": [{"pointer": "/a"}]}, {"body": [{"pointer": "/b"}]}),
        (1, 1.0),
        (1, True),
        (None, ""),
    ],
)
def test_differences_reports_each_change(was: Any, now: Any) -> None:
    assert list(differences(was, was)) == []
    assert len(list(differences(was, now))) == 1


def test_differences_ignores_float_rounding() -> None:
    assert list(differences({"forecast": [100.0]}, {"forecast": [100.00005]})) == []
