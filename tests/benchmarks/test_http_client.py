import asyncio

import pytest

from benchmarks.http_client import post_all
from tests.benchmarks.http_server import stub_server


@pytest.mark.parametrize("chunked", [False, True])
def test_post_all_returns_responses_in_request_order(chunked: bool) -> None:
    bodies = [b'{"number": %d}' % number for number in range(20)]
    with stub_server(lambda content: (200, content["number"] * 2), chunked=chunked) as url:
        responses = asyncio.run(post_all(url + "/predict", bodies, connections=3, timeout_s=5))
    assert responses == [(200, number * 2) for number in range(20)]


def test_post_all_returns_error_content_as_text() -> None:
    with stub_server(lambda content: (422, {"detail": "no"})) as url:
        assert asyncio.run(post_all(url + "/predict", [b"{}"], 1, 5)) == [(422, '{"detail": "no"}')]
