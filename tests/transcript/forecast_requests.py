"""Requests to `/predict` and `/predict/batch`."""

import gzip
import json
import math
import zlib
from typing import Any

from tests.transcript.request_list import ALLOWED_ORIGIN, BATCH_LIMIT, BODY_LIMIT_BYTES, JSON, RequestList, encode_json
from tests.transcript.series import WINDOW, replaced, split, stale, tutorial_walk, walk

HORIZON = 20  # of the model `default`
LEVELS = [50, 80, 90, 95]
WINDOW_BODY = {"prices": walk(1), "levels": [80]}


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # without the time, so that the request is always the same


def add_forecasts(requests: RequestList) -> None:
    """Add requests to `/predict` that return a forecast."""

    def predict(name: str, prices: list[Any], headers: dict[str, str] | None = None, **options: Any) -> None:
        requests.post(f"predict/{name}", "/predict", {"prices": prices} | options, headers)

    for horizon in range(1, HORIZON + 1):
        predict(f"horizon-{horizon}", walk(100 + horizon), horizon=horizon, levels=[LEVELS[horizon % 4]])
    for levels in ([], [50], [95, 50], LEVELS):
        predict(f"levels-{'-'.join(map(str, levels)) or 'none'}", walk(130 + len(levels)), horizon=2, levels=levels)
    predict("horizon-and-levels-all", walk(140), horizon=HORIZON, levels=LEVELS)
    for exponent in (-9, -2, 0, 4, 9):
        predict(f"scale-1e{exponent}", walk(150 + exponent, start=10.0**exponent), horizon=3, levels=[90])
    for length in (WINDOW + 1, 500, 4096):
        predict(f"length-{length}", walk(200 + length, length), levels=[80])
    for model in ("default", "default@2", "default@3", "spare", "spare@1", "tutorial@2"):
        predict(f"model-{model}", tutorial_walk(210), model=model)
    predict("model-null", walk(211), model=None)
    predict("integers", [100 + (7 * step) % 11 for step in range(WINDOW)])
    predict("bad-price-before-the-window", [0.0, *walk(212)])

    predict("warning-constant", [42.5] * WINDOW, levels=[95])
    predict("warning-stale-5", stale(walk(220), 5))
    predict("warning-stale-30", stale(walk(221), 30))
    predict("warning-split", split(walk(222), 40, 2))
    predict("warning-split-reverse", split(walk(223), 59, 0.1))
    predict("warning-outside-volatility", walk(224, volatility=1.5), horizon=5, levels=[95])
    predict("warning-outside-step", split(walk(225, volatility=0.0001), 59, 3.7))
    predict("warning-outside-price", walk(226, start=5_000.0), model="tutorial")
    predict("warning-several", stale(split(walk(227), 50, 10), 6))

    predict("charset", walk(230), headers={"Content-Type": "application/json; charset=utf-8"})
    predict("suffixed-media-type", walk(231), headers={"Content-Type": "application/vnd.prices+json"})
    predict("request-id", walk(232), headers={"X-Request-ID": "transcript-1"})
    predict("request-id-invalid", walk(233), headers={"X-Request-ID": "not allowed: {}"})
    predict("trace", walk(234), headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    predict("timeout", walk(235), headers={"X-Request-Timeout-Ms": "9000"})
    predict("cors-allowed", walk(236), headers={"Origin": ALLOWED_ORIGIN})
    predict("cors-other", walk(237), headers={"Origin": "https://other.example"})
    body = encode_json(WINDOW_BODY)
    for name, coding, content in [
        ("gzip", "gzip", _gzipped(body)),
        ("deflate", "deflate", zlib.compress(body)),
        ("identity", "identity", body),
        ("upper-case", "GZIP", _gzipped(body)),
    ]:
        headers = JSON | {"Content-Encoding": coding}
        requests.send(f"predict/coding-{name}", "POST", "/predict", content, headers=headers)
    requests.send("predict/chunked", "POST", "/predict", body, headers=JSON, sending="chunked")


def add_content_errors(requests: RequestList) -> None:
    """Add requests to `/predict` with invalid content, which lead to every form of pointer."""
    prices = walk(300)
    for name, raw in {
        "empty": b"",
        "half": b'{"prices": [1',
        "text": b"prices",
        "not-utf-8": b'{"prices": "\xff"}',
        "array": b"[]",
        "null": b"null",
        "number": b"1.5",
        "deep": b"[" * 3000,
        "two-documents": encode_json(WINDOW_BODY) * 2,
    }.items():
        requests.send(f"predict/body-{name}", "POST", "/predict", raw, headers=JSON)
    for name, wrong in {
        "missing": {},
        "null": {"prices": None},
        "text": {"prices": "1, 2, 3"},
        "object": {"prices": {"0": 1.0}},
        "none": {"prices": []},
        "one": {"prices": [1.0]},
        "one-too-few": {"prices": prices[1:]},
        "too-many": {"prices": walk(301, 4097)},
        "element-null": {"prices": replaced(prices, 17, None)},
        "element-text": {"prices": replaced(prices, 0, "100")},
        "element-true": {"prices": replaced(prices, 59, True)},
        "element-list": {"prices": replaced(prices, 3, [100.0])},
        "element-nan": {"prices": replaced(prices, 4, math.nan)},
        "element-infinite": {"prices": replaced(prices, 5, math.inf)},
        "zero": {"prices": replaced(prices, 6, 0)},
        "negative": {"prices": replaced(prices, 59, -1.5)},
        "too-large": {"prices": replaced(prices, 8, 1e31)},
        "too-small": {"prices": replaced(prices, 9, 1e-31)},
        "jump": {"prices": [*prices[:30], *(price * 1e7 for price in prices[30:])]},
        "zero-in-a-long-series": {"prices": replaced(walk(302, 300), 290, 0)},
        "too-large-for-tutorial": {"prices": replaced(prices, 10, -1e31), "model": "tutorial"},
    }.items():
        requests.post(f"predict/prices-{name}", "/predict", wrong)
    options: dict[str, dict[str, Any]] = {
        "horizon-0": {"horizon": 0},
        "horizon-negative": {"horizon": -1},
        "horizon-too-far": {"horizon": HORIZON + 1},
        "horizon-huge": {"horizon": 10**30},
        "horizon-text": {"horizon": "1"},
        "horizon-fraction": {"horizon": 1.5},
        "horizon-true": {"horizon": True},
        "horizon-null": {"horizon": None},
        "levels-0": {"levels": [0]},
        "levels-100": {"levels": [80, 100]},
        "levels-unoffered": {"levels": [80, 81, 50, 7]},
        "levels-twice": {"levels": [80, 90, 80]},
        "levels-text": {"levels": ["80"]},
        "levels-fraction": {"levels": [50, 80.5]},
        "levels-number": {"levels": 80},
        "levels-null": {"levels": None},
        "levels-too-many": {"levels": [80] * 100},
        "levels-of-tutorial": {"levels": [80], "model": "tutorial"},
        "horizon-of-tutorial": {"horizon": 2, "model": "tutorial"},
        "model-empty": {"model": ""},
        "model-upper-case": {"model": "Default"},
        "model-version-0": {"model": "default@0"},
        "model-path": {"model": "../default"},
        "model-number": {"model": 1},
        "unknown-field": {"price": 1},
        "unknown-field-escaped": {"a/b~c d": 1},
        "unknown-field-long": {"x" * 500: 1},
        "unknown-fields": dict.fromkeys("abc", 1),
        "all-options": {"horizon": 99, "levels": [1, 80, 80]},
    }
    for name, option in options.items():
        requests.post(f"predict/{name}", "/predict", {"prices": prices, **option})
    everything_wrong = {"prices": replaced(prices, 2, 0), "horizon": 21, "levels": [60]}
    requests.post("predict/all-model-faults", "/predict", everything_wrong)
    requests.post(
        "predict/all-schema-faults", "/predict", {"prices": [1, "2"], "horizon": 0, "levels": [0], "model": 1}
    )


def add_other_errors(requests: RequestList) -> None:
    """Add requests to `/predict` that are rejected for other reasons: model, headers, size, timeout, path."""
    for model in ("absent", "default@9", "default@1", "spare@2", "broken", "broken@1", "undecided"):
        requests.post(f"predict/model-{model}", "/predict", WINDOW_BODY | {"levels": [], "model": model})
    for milliseconds in ("0", "-1", "1.5", "soon", "", "9999999999"):
        name = f"predict/timeout-{milliseconds or 'empty'}"
        requests.post(name, "/predict", WINDOW_BODY, {"X-Request-Timeout-Ms": milliseconds})
    body = encode_json(WINDOW_BODY)
    for name, headers in {
        "missing": {},
        "text": {"Content-Type": "text/plain"},
        "form": {"Content-Type": "application/x-www-form-urlencoded"},
        "almost": {"Content-Type": "application/jsonx"},
        "json-text": {"Content-Type": "text/json"},
    }.items():
        requests.send(f"predict/media-type-{name}", "POST", "/predict", body, headers=headers)
    packed = _gzipped(body)
    for name, coding, content in [
        ("brotli", "br", body),
        ("two", "gzip, deflate", packed),
        ("not-gzip", "gzip", body),
        ("gzip-cut", "gzip", packed[:-9]),
        ("gzip-continued", "gzip", packed + b"more"),
        ("gzip-of-text", "gzip", _gzipped(b"prices")),
        ("deflate-empty", "deflate", b""),
        ("gzip-too-large", "gzip", _gzipped(b" " * (BODY_LIMIT_BYTES + 1))),
    ]:
        headers = JSON | {"Content-Encoding": coding}
        requests.send(f"predict/coding-{name}", "POST", "/predict", content, headers=headers)
    announced = JSON | {"Content-Length": str(BODY_LIMIT_BYTES + 1)}
    requests.send("predict/too-large-announced", "POST", "/predict", b"", headers=announced, sending="stalled")
    streamed = JSON | {"Transfer-Encoding": "chunked"}
    too_much = b" " * (BODY_LIMIT_BYTES + 1)
    requests.send("predict/too-large-streamed", "POST", "/predict", too_much, headers=streamed, sending="stalled")
    stalled = JSON | {"Content-Length": "999", "X-Request-Timeout-Ms": "50"}
    requests.send("predict/body-too-slow", "POST", "/predict", b"{", headers=stalled, sending="stalled")
    requests.send("predict/get", "GET", "/predict")
    requests.send("predict/put", "PUT", "/predict", body, headers=JSON)
    requests.send("predict/slash", "POST", "/predict/", body, headers=JSON)
    requests.send("predict/absent-operation", "POST", "/predict/one", body, headers=JSON)
    for name, origin in {"allowed": ALLOWED_ORIGIN, "other": "https://other.example"}.items():
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        requests.send(f"predict/preflight-{name}", "OPTIONS", "/predict", headers=asked)


def _series(seed: int, count: int) -> list[dict[str, Any]]:
    """Generate `count` series without ids, of the window's length and longer."""
    return [{"prices": walk(seed + row, WINDOW + row % 3)} for row in range(count)]


def add_batches(requests: RequestList) -> None:
    """Add requests to `/predict/batch` that return forecasts."""

    def batch(name: str, series: list[Any], **options: Any) -> None:
        requests.post(f"batch/{name}", "/predict/batch", {"series": series} | options)

    for count in (1, 2, 3, 32, 33, BATCH_LIMIT):
        batch(f"series-{count}", _series(400 + count, count))
    batch("horizon-and-levels", _series(500, 3), horizon=4, levels=[95, 80])
    batch("tutorial", [{"prices": tutorial_walk(seed)} for seed in range(510, 514)], model="tutorial")
    batch("version", _series(520, 2), model="default@3", levels=[50])
    batch("identical-windows", [{"prices": walk(530)}] * 3)
    batch("ids", [each | {"id": f"series {row}/~ é"} for row, each in enumerate(_series(540, 4))])
    batch("some-ids", [{"id": "A", "prices": walk(550)}, {"prices": walk(551)}, {"id": None, "prices": walk(552)}])
    batch("warnings", [{"prices": [5.0] * WINDOW}, {"prices": walk(560)}, {"prices": split(walk(561), 30, 4)}])
    content = encode_json({"series": _series(570, 4)})
    headers = JSON | {"Content-Encoding": "gzip"}
    requests.send("batch/gzip", "POST", "/predict/batch", _gzipped(content), headers=headers)
    indented = json.dumps({"series": _series(575, 2), "horizon": 2}, indent=2).encode()
    requests.send("batch/indented", "POST", "/predict/batch", indented, headers=JSON)


def add_batch_errors(requests: RequestList) -> None:
    """Add requests to `/predict/batch` that are rejected."""
    good = walk(600)
    for name, series in {
        "none": [],
        "object": {"prices": good},
        "null": None,
        "too-many": _series(610, BATCH_LIMIT + 1),
        "too-many-and-bad": [*_series(611, BATCH_LIMIT), {}],
        "element-list": [good],
        "element-null": [{"prices": good}, None],
        "prices-missing": [{"id": "A"}, {"prices": good}],
        "prices-too-few": [{"prices": good}, {"id": "B", "prices": good[1:]}],
        "prices-one": [{"id": "B", "prices": [1.0]}],
        "element-of-prices": [{"prices": good}, {"prices": replaced(good, 7, "7")}],
        "unknown-field": [{"prices": good, "name": "A"}],
        "unknown-field-escaped": [{"prices": good, "~/": 1}],
        "id-empty": [{"id": "", "prices": good}],
        "id-too-long": [{"id": "x" * 129, "prices": good}],
        "id-number": [{"id": 1, "prices": good}],
        "id-twice": [{"id": "A", "prices": good}, {"id": "B", "prices": good}, {"id": "A", "prices": good}],
        "zero": [{"prices": good}, {"id": "Z", "prices": replaced(good, 30, 0)}],
        "several": [
            {"id": "A", "prices": replaced(good, 1, -1)},
            {"id": "B", "prices": good},
            {"id": "C", "prices": [1, None]},
            {"id": "B", "prices": good},
            {"prices": good[:10]},
            17,
        ],
        "all": [{"id": f"{row}", "prices": replaced(good, row, 0)} for row in range(BATCH_LIMIT)],
    }.items():
        requests.post(f"batch/series-{name}", "/predict/batch", {"series": series})
    for name, wrong in {
        "empty-object": {},
        "unknown-field": {"series": _series(620, 1), "shop": 1},
        "prices-at-the-top": {"prices": good},
        "horizon-too-far": {"series": _series(621, 2), "horizon": 21},
        "levels-unoffered": {"series": _series(622, 2), "levels": [10, 20]},
        "model-absent": {"series": _series(623, 1), "model": "absent"},
        "model-absent-and-bad-series": {"series": [{"prices": [1, None]}], "model": "absent"},
        "model-invalid-and-bad-series": {"series": [{"prices": good[1:]}, {}], "model": 7},
        "model-not-ready": {"series": _series(624, 1), "model": "broken"},
        "option-and-series": {"series": [{"prices": good}, {"prices": good[1:]}], "horizon": 0, "levels": [80, 80]},
        "option-and-series-of-the-model": {"series": [{"prices": good[1:]}], "horizon": 30, "levels": [85]},
    }.items():
        requests.post(f"batch/{name}", "/predict/batch", wrong)
    requests.send("batch/half", "POST", "/predict/batch", b'{"series": [', headers=JSON)
    requests.send("batch/array", "POST", "/predict/batch", b"[]", headers=JSON)
    requests.send("batch/media-type", "POST", "/predict/batch", b"{}", headers={"Content-Type": "text/csv"})
    requests.send("batch/get", "GET", "/predict/batch")
    requests.send("batch/delete", "DELETE", "/predict/batch")
