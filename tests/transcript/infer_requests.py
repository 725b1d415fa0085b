"""Requests to `/v2/models/…/infer`: tensors as JSON and as bytes."""

import struct
from typing import Any

from tests.transcript.request_list import BATCH_LIMIT, BODY_LIMIT_BYTES, JSON, RequestList, encode_json
from tests.transcript.series import WINDOW, replaced, split, tutorial_walk, walk

INFER = "/v2/models/default/infer"
LENGTH = "Inference-Header-Content-Length"


def _input(rows: list[list[Any]], **changes: Any) -> dict[str, Any]:
    """Describe windows as the input tensor `prices`, with flat data. A change to None leaves a field out."""
    flat = [price for row in rows for price in row]
    tensor = {"name": "prices", "shape": [len(rows), WINDOW], "datatype": "FP64", "data": flat} | changes
    return {name: value for name, value in tensor.items() if value is not None}


def _packed(rows: list[list[float]], form: str = "d") -> bytes:
    """Pack windows as little-endian floats."""
    return b"".join(struct.pack(f"<{len(row)}{form}", *row) for row in rows)


def _walks(seed: int, count: int) -> list[list[float]]:
    return [walk(seed + row) for row in range(count)]


def _binary(requests: RequestList, name: str, head: Any, tail: bytes, path: str = INFER, **headers: str) -> None:
    """Add a request whose JSON is followed by bytes."""
    text = encode_json(head)
    all_headers = {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    all_headers |= {header.replace("_", "-"): value for header, value in headers.items()}
    requests.send(f"infer/{name}", "POST", path, text + tail, headers=all_headers)


def add_inferences(requests: RequestList) -> None:
    """Add requests that return tensors."""

    def infer(name: str, tensor: dict[str, Any], path: str = INFER, **others: Any) -> None:
        requests.post(f"infer/{name}", path, {"inputs": [tensor]} | others)

    one, two = _walks(700, 1), _walks(710, 2)
    median = [{"name": "forecast"}]
    infer("all-outputs", _input(one))
    infer("flat", _input(two), outputs=median)
    infer("nested", _input(two, data=two), outputs=median)
    infer("rows-33", _input(_walks(720, 33)), outputs=median, parameters={"horizon": 1})
    infer("fp32", _input(two, datatype="FP32"), outputs=median)
    infer("horizon", _input(one), parameters={"horizon": 3}, id="request 7")
    infer("outputs-in-order", _input(one), parameters={"horizon": 1}, outputs=[{"name": "quantiles"}, *median])
    infer("timeout", _input(one), parameters={"horizon": 1, "timeout": 5_000_000})
    infer("unknown-fields", _input(one, more=1), outputs=median, parameters={"horizon": 1, "other": 2}, extra={})
    infer("warnings", _input([[7.0] * WINDOW, *one, split(walk(730), 30, 3)]), parameters={"horizon": 1})
    infer("version", _input(one), "/v2/models/default/versions/3/infer", outputs=median)
    tutorial = _input([tutorial_walk(740), tutorial_walk(741)])
    infer("tutorial", tutorial, "/v2/models/tutorial/infer")
    infer("tutorial-version", tutorial, "/v2/models/tutorial/versions/2/infer", outputs=median)
    requests.send("infer/no-media-type", "POST", INFER, encode_json({"inputs": [_input(one)], "outputs": median}))

    infer("binary-output", _input(two), parameters={"binary_data_output": True, "horizon": 2})
    mixed = [{"name": "quantiles", "parameters": {"binary_data": True}}, {"name": "forecast"}]
    infer("binary-output-of-one", _input(one), outputs=mixed, parameters={"horizon": 2})
    kept = [{"name": "forecast", "parameters": {"binary_data": False}}, {"name": "quantiles"}]
    infer("binary-output-but-one", _input(one), outputs=kept, parameters={"horizon": 2, "binary_data_output": True})
    for form, datatype in (("d", "FP64"), ("f", "FP32")):
        tail = _packed(two, form)
        tensor = _input(two, datatype=datatype, data=None, parameters={"binary_data_size": len(tail)})
        _binary(requests, f"binary-input-{datatype}", {"inputs": [tensor], "outputs": median}, tail)
    for count in (1, 3):
        raw = _packed(_walks(750, count))
        requests.send(f"infer/raw-{count}", "POST", INFER, raw, headers={LENGTH: "0"})


def add_infer_errors(requests: RequestList) -> None:
    """Add requests that are rejected, with every form of pointer."""
    rows = _walks(800, 2)
    good = _input(rows)
    for name, content in {
        "array": [],
        "empty-object": {},
        "inputs-none": {"inputs": []},
        "inputs-object": {"inputs": good},
        "input-two": {"inputs": [good, good]},
        "input-two-names": {"inputs": [good, good | {"name": "volume"}]},
        "input-name": {"inputs": [good | {"name": "price"}]},
        "input-name-missing": {"inputs": [{key: good[key] for key in ("shape", "datatype", "data")}]},
        "input-name-number": {"inputs": [good | {"name": 1}]},
        "shape-missing": {"inputs": [_input(rows, shape=None)]},
        "shape-text": {"inputs": [_input(rows, shape=["2", 60])]},
        "shape-negative": {"inputs": [_input(rows, shape=[-1, 60])]},
        "shape-flat": {"inputs": [_input(rows, shape=[120])]},
        "shape-narrow": {"inputs": [_input(rows, shape=[4, 30])]},
        "shape-no-rows": {"inputs": [_input(rows, shape=[0, 60])]},
        "shape-too-many-rows": {"inputs": [_input(rows, shape=[BATCH_LIMIT + 1, 60])]},
        "shape-huge": {"inputs": [_input(rows, shape=[2**62, 60])]},
        "shape-and-datatype": {"inputs": [_input(rows, shape=[2, 61], datatype="INT64")]},
        "datatype": {"inputs": [_input(rows, datatype="BF16")]},
        "datatype-missing": {"inputs": [_input(rows, datatype=None)]},
        "data-missing": {"inputs": [_input(rows, data=None)]},
        "data-text": {"inputs": [_input(rows, data="1")]},
        "data-too-few": {"inputs": [_input(rows, data=rows[0])]},
        "data-none": {"inputs": [_input(rows, data=[])]},
        "data-element": {"inputs": [_input(rows, data=replaced(rows[0] + rows[1], 61, "x"))]},
        "data-element-null": {"inputs": [_input(rows, data=replaced(rows[0] + rows[1], 3, None))]},
        "data-nested-element": {"inputs": [_input(rows, data=[rows[0], replaced(rows[1], 5, True)])]},
        "data-nested-and-flat": {"inputs": [_input(rows, data=[rows[0], 1.0])]},
        "data-rows": {"inputs": [_input(rows, data=rows[:1])]},
        "data-uneven": {"inputs": [_input(rows, data=[rows[0][1:], rows[1][2:]])]},
        "data-and-bytes": {"inputs": [_input(rows, parameters={"binary_data_size": 8})]},
        "data-zero": {"inputs": [_input([rows[0], replaced(rows[1], 9, 0)])]},
        "data-too-large-for-fp32": {"inputs": [_input([replaced(rows[0], 1, 1e39)], datatype="FP32")]},
        "size-negative": {"inputs": [_input(rows, data=None, parameters={"binary_data_size": -1})]},
        "size-text": {"inputs": [_input(rows, data=None, parameters={"binary_data_size": "960"})]},
        "outputs-text": {"inputs": [good], "outputs": "forecast"},
        "output-name": {"inputs": [good], "outputs": [{"name": "forecast"}, {"name": "mean"}]},
        "output-twice": {"inputs": [good], "outputs": [{"name": "forecast"}] * 2},
        "output-name-missing": {"inputs": [good], "outputs": [{}]},
        "output-binary-text": {
            "inputs": [good],
            "outputs": [{"name": "forecast", "parameters": {"binary_data": "yes"}}],
        },
        "output-classification": {
            "inputs": [good],
            "outputs": [{"name": "forecast", "parameters": {"classification": 3, "shared_memory_region": "a"}}],
        },
        "horizon-0": {"inputs": [good], "parameters": {"horizon": 0}},
        "horizon-too-far": {"inputs": [good], "parameters": {"horizon": 21}},
        "horizon-text": {"inputs": [good], "parameters": {"horizon": "1"}},
        "timeout-negative": {"inputs": [good], "parameters": {"timeout": -1}},
        "parameters-array": {"inputs": [good], "parameters": []},
        "id-number": {"inputs": [good], "id": 7},
        "several": {
            "inputs": [good | {"name": "volume"}],
            "outputs": [{"name": "mean"}, {"name": "forecast", "parameters": {"classification": 1}}],
            "parameters": {"horizon": 99},
        },
    }.items():
        requests.post(f"infer/{name}", INFER, content)
    requests.send("infer/half", "POST", INFER, b'{"inputs"', headers=JSON)
    requests.send("infer/empty", "POST", INFER, b"", headers=JSON)

    tail = _packed(rows)
    tensor = _input(rows, data=None, parameters={"binary_data_size": len(tail)})
    _binary(requests, "bytes-missing", {"inputs": [tensor]}, tail[:-8])
    _binary(requests, "bytes-too-many", {"inputs": [tensor]}, tail + b"\0")
    _binary(requests, "bytes-of-another-shape", {"inputs": [tensor | {"shape": [1, 60]}]}, tail)
    _binary(requests, "bytes-not-finite", {"inputs": [tensor]}, _packed([replaced(rows[0], 4, float("nan")), rows[1]]))
    _binary(requests, "bytes-unannounced", {"inputs": [_input(rows)]}, tail)
    for length in ("x", "-1", "", "9" * 30, "99999"):
        _binary(
            requests, f"length-{length or 'empty'}", {"inputs": [tensor]}, tail, Inference_Header_Content_Length=length
        )
    requests.send("infer/raw-uneven", "POST", INFER, tail[:-1], headers={LENGTH: "0"})
    requests.send("infer/raw-half-a-window", "POST", INFER, tail[: 8 * 30], headers={LENGTH: "0"})

    body = {"inputs": [good]}
    for path in (
        "/v2/models/absent/infer", "/v2/models/default/versions/9/infer", "/v2/models/broken/infer",
        "/v2/models/broken/versions/1/infer", "/v2/models/Default/infer",
    ):  # fmt: skip
        requests.post(f"infer{path.removeprefix('/v2/models').removesuffix('/infer')}", path, body)
    requests.post("infer/timeout-invalid", INFER, body, {"X-Request-Timeout-Ms": "soon"})
    requests.post("infer/coding", INFER, body, {"Content-Encoding": "zstd"})
    announced = JSON | {"Content-Length": str(BODY_LIMIT_BYTES + 1)}
    requests.send("infer/too-large", "POST", INFER, b"", headers=announced, sending="stalled")
    stalled = JSON | {"Content-Length": "999", "X-Request-Timeout-Ms": "50"}
    requests.send("infer/body-too-slow", "POST", INFER, b"{", headers=stalled, sending="stalled")
    requests.get("infer/get", INFER)
