import json

import pytest

from benchmarks.micro.gpu import encode_requests, time_calls


@pytest.mark.parametrize("series", [1, 3])
def test_encoded_series_all_differ(series: int) -> None:
    bodies = [json.loads(body) for body in encode_requests(series, 4, 60)]
    rows = [row for body in bodies for row in ([body] if series == 1 else body["series"])]
    assert len({tuple(row["prices"]) for row in rows}) == 4 * series
    assert all(len(row["prices"]) == 60 for row in rows)


def test_first_call_is_not_timed() -> None:
    calls: list[None] = []
    assert len(time_calls(lambda: calls.append(None), duration_s=0)) == len(calls) - 1 == 3
