"""/v2, in process: what it says of itself and of its models, what it forecasts, and what it refuses."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import __version__
from app.artifact.transform import F64
from app.serving.model_runner import ModelRunner
from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.app.api.test_predict import MOST, PRICES
from tests.app.artifact.artifact_files import current_path
from tests.conftest import version_of
from tests.model_variants import publish_variant
from tests.strategies import seeds

LENGTH = "inference-header-content-length"
INFER = "/v2/models/default/infer"
ROWS = np.array([PRICES, PRICES[::-1], [price * 1000 for price in PRICES]])  # (3, 60)


def asked(rows: F64 = ROWS, **fields: Any) -> dict[str, Any]:
    """A request for forecasts with its prices as JSON."""
    tensor = {"name": "prices", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    return {"inputs": [tensor]} | fields


def binary(rows: F64 = ROWS, datatype: str = "<f8", **fields: Any) -> dict[str, Any]:
    """The same with its prices as bytes: what httpx is told to send."""
    content = rows.astype(datatype).tobytes()
    tensor = {
        "name": "prices",
        "shape": list(rows.shape),
        "datatype": "FP64" if datatype == "<f8" else "FP32",
        "parameters": {"binary_data_size": len(content)},
    }
    text = json.dumps({"inputs": [tensor]} | fields).encode()
    return {"content": text + content, "headers": {LENGTH: str(len(text))}}


def tensors(response: httpx.Response) -> dict[str, F64]:
    """The outputs of an answer, in order, however they came."""
    assert response.status_code == 200, response.text
    is_binary = LENGTH in response.headers
    length = int(response.headers.get(LENGTH, len(response.content)))
    assert response.headers["content-type"] == ("application/octet-stream" if is_binary else "application/json")
    found = {}
    for output in json.loads(response.content[:length])["outputs"]:
        assert output["datatype"] == "FP64"
        if "data" in output:
            values = np.array(output["data"])
        else:
            end = length + output["parameters"]["binary_data_size"]
            values = np.frombuffer(response.content[length:end])
            length = end
        found[output["name"]] = values.reshape(output["shape"])
    return found


def refusal(response: httpx.Response, status: int = 400) -> str:
    """What a refused request is told, in the protocol's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    return str(body["error"])


def predicted(client: Client, horizon: int = MOST) -> F64:
    """(B, H, Q) of the same rows by /predict/batch."""
    levels = client.get("/models/default").json()["levels"]
    body = {"series": [{"prices": row} for row in ROWS.tolist()], "horizon": horizon, "levels": levels}
    rows = []
    for forecast in client.post("/predict/batch", json=body).json()["forecasts"]:
        ends = [forecast["intervals"][str(level)] for level in levels]
        columns = [end["lower"] for end in reversed(ends)] + [forecast["forecast"]] + [end["upper"] for end in ends]
        rows.append(np.array(columns).T)
    return np.stack(rows)


def test_the_server_says_what_it_is(client: Client) -> None:
    body = client.get("/v2").json()
    assert (body["name"], body["version"]) == ("pricecast", __version__)
    assert {"binary_tensor_data", "model_repository"} <= set(body["extensions"])
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models").json() == {"models": ["default", "tutorial"]}


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_a_model_says_what_it_takes_and_returns(client: Client, name: str) -> None:
    body = client.get(f"/v2/models/{name}").json()
    manifest = client.get(f"/models/{name}").json()
    most, quantiles = manifest["horizon"], manifest["quantiles"]
    assert body == {
        "name": name,
        "versions": [version_of(name)],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "prices", "datatype": "FP64", "shape": [-1, 60]}],
        "outputs": [
            {"name": "forecast", "datatype": "FP64", "shape": [-1, most]},
            {"name": "quantiles", "datatype": "FP64", "shape": [-1, most, len(quantiles)]},
        ],
        "parameters": {"horizon": most, "quantiles": body["parameters"]["quantiles"]},
    }
    assert json.loads(body["parameters"]["quantiles"]) == quantiles
    assert client.get(f"/v2/models/{name}/versions/{version_of(name)}").json() == body
    for path in (f"/v2/models/{name}/ready", f"/v2/models/{name}/versions/{version_of(name)}/ready"):
        assert client.get(path).json() == {"name": name, "ready": True}


@pytest.mark.parametrize(
    "model", ["nope", "default/versions/99", "default/versions/x", "%2E%2E", "%00", "x" * 300, "nope/versions/1"]
)
def test_what_is_unknown_is_not_found(client: Client, model: str) -> None:
    for path in (f"/v2/models/{model}", f"/v2/models/{model}/ready"):
        assert refusal(client.get(path), 404)
    assert refusal(client.post(f"/v2/models/{model}/infer", json=asked()), 404)


def test_paths_and_methods_that_are_not_there_are_told_in_the_protocols_form(client: Client) -> None:
    assert refusal(client.get("/v2/nope"), 404)
    assert refusal(client.get(INFER), 405)


def test_without_its_default_model_the_server_is_not_ready(models: Path) -> None:
    (current_path(models, "default") / "model.onnx").write_bytes(b"nothing")
    for client in start(Settings(models_dir=models)):
        assert "model.onnx" in refusal(client.get("/v2/health/ready"), 503)
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/models").json() == {"models": ["tutorial"]}
        assert "model.onnx" in refusal(client.get("/v2/models/default"), 503)
        assert "model.onnx" in refusal(client.post(INFER, json=asked()), 503)
        for path in ("/v2/models/default/ready", f"/v2/models/default/versions/{version_of('default')}/ready"):
            response = client.get(path)
            assert (response.status_code, response.json()) == (503, {"name": "default", "ready": False})


def test_a_version_is_asked_by_its_number_and_is_not_ready_where_it_is_published_only(models: Path) -> None:
    live = version_of("default")
    beside = publish_variant(models, "default", 2.0, is_current=False)
    newest = publish_variant(models, "default", 3.0, is_current=False)
    for client in start(Settings(models_dir=models, versions_served=2)):
        assert client.get("/v2/models/default").json()["versions"] == [live, newest]
        by_default = client.post(INFER, json=asked())
        by_number = client.post(f"/v2/models/default/versions/{newest}/infer", json=asked())
        assert (by_default.json()["model_version"], by_number.json()["model_version"]) == (live, newest)
        assert (tensors(by_number)["quantiles"][:, :, -1] > tensors(by_default)["quantiles"][:, :, -1]).all()
        response = client.get(f"/v2/models/default/versions/{beside}/ready")
        assert (response.status_code, response.json()) == (503, {"name": "default", "ready": False})
        assert refusal(client.post(f"/v2/models/default/versions/{beside}/infer", json=asked()), 404)


def test_a_model_whose_batcher_has_stopped_is_not_ready(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelRunner, "is_healthy", property(lambda runner: False))
    response = client.get("/v2/models/default/ready")
    assert (response.status_code, response.json()) == (503, {"name": "default", "ready": False})
    assert "has stopped" in refusal(client.get("/v2/health/ready"), 503)


def test_forecasts_are_those_of_predict(client: Client) -> None:
    response = client.post(INFER, json=asked(id="a-1"))
    found = tensors(response)
    assert list(found) == ["forecast", "quantiles"]
    expected = predicted(client)
    np.testing.assert_allclose(found["quantiles"], expected, rtol=1e-6)
    np.testing.assert_array_equal(found["forecast"], found["quantiles"][:, :, expected.shape[2] // 2])
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("default", version_of("default"), "a-1")
    assert "parameters" not in body


def test_an_answer_has_an_id_only_where_the_request_has_one(client: Client) -> None:
    assert "id" not in client.post(INFER, json=asked()).json()
    nulls: dict[str, Any] = {"id": None, "parameters": None, "outputs": None, "custom": 1}
    assert "id" not in client.post(INFER, json=asked(**nulls)).json()


@given(seeds, st.integers(1, 40), st.integers(1, MOST), st.sampled_from(["<f8", "<f4"]))
def test_json_and_bytes_give_the_same(client: Client, seed: int, count: int, horizon: int, datatype: str) -> None:
    steps = np.random.default_rng(seed).normal(scale=0.01, size=(count, 60))
    rows = (100 * np.exp(steps.cumsum(axis=1))).astype(datatype).astype(np.float64)
    parameters = {"horizon": horizon}
    flat = tensors(client.post(INFER, json=asked(rows, parameters=parameters)))
    tensor = {"name": "prices", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}
    nested = tensors(client.post(INFER, json={"inputs": [tensor], "parameters": parameters}))
    both = tensors(client.post(INFER, **binary(rows, datatype, parameters=parameters | {"binary_data_output": True})))
    assert flat["forecast"].shape == (count, horizon)
    for name in ("forecast", "quantiles"):
        np.testing.assert_allclose(nested[name], flat[name], rtol=1e-6)
        np.testing.assert_allclose(both[name], flat[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "all_binary", "names", "is_binary"),
    [
        (None, False, ["forecast", "quantiles"], [False, False]),
        (None, True, ["forecast", "quantiles"], [True, True]),
        ([], False, ["forecast", "quantiles"], [False, False]),
        ([("quantiles", None)], False, ["quantiles"], [False]),
        ([("quantiles", True), ("forecast", None)], False, ["quantiles", "forecast"], [True, False]),
        ([("quantiles", False), ("forecast", None)], True, ["quantiles", "forecast"], [False, True]),
    ],
)
def test_outputs_come_as_asked_and_in_the_order_asked(
    client: Client,
    outputs: list[tuple[str, bool | None]] | None,
    all_binary: bool,
    names: list[str],
    is_binary: list[bool],
) -> None:
    fields: dict[str, Any] = {"parameters": {"binary_data_output": all_binary}}
    if outputs is not None:
        fields["outputs"] = [
            {"name": name} if how is None else {"name": name, "parameters": {"binary_data": how}}
            for name, how in outputs
        ]
    response = client.post(INFER, json=asked(**fields))
    assert list(tensors(response)) == names
    length = int(response.headers.get(LENGTH, len(response.content)))
    described = json.loads(response.content[:length])["outputs"]
    assert ["data" not in output for output in described] == is_binary


def test_a_body_of_bytes_alone_is_answered_in_bytes(client: Client) -> None:
    response = client.post(INFER, content=ROWS.tobytes(), headers={LENGTH: "0"})
    np.testing.assert_allclose(tensors(response)["quantiles"], predicted(client), rtol=1e-6)
    assert LENGTH in response.headers
    assert "/inputs/0" in refusal(client.post(INFER, content=ROWS.tobytes()[:-8], headers={LENGTH: "0"}))
    assert "the body: Invalid JSON" in refusal(client.post(INFER, content=b"", headers={LENGTH: "0"}))


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_measured_when_it_is_not_any_more(client: Client, coding: str, compress: Any) -> None:
    how = binary()
    response = client.post(
        INFER, content=compress(how["content"]), headers=how["headers"] | {"content-encoding": coding}
    )
    np.testing.assert_allclose(tensors(response)["quantiles"], predicted(client), rtol=1e-6)


def test_warnings_are_counted_and_travel_as_a_parameter(client: Client) -> None:
    counted = 'pricecast_warnings_total{code="constant_window"}'
    before = client.metrics().get(counted, 0.0)
    rows = np.array([PRICES, [5.0] * 60])
    body = client.post(INFER, json=asked(rows)).json()
    warnings = json.loads(body["parameters"]["warnings"])
    assert (1, "constant_window") in [(warning["row"], warning["code"]) for warning in warnings]
    assert all(warning["row"] == 1 and warning["detail"] for warning in warnings)
    assert client.metrics()[counted] == before + 1


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"parameters": {"horizon": MOST + 1}}, "/parameters/horizon: this model forecasts 1 to "),
        ({"parameters": {"horizon": 0}}, "/parameters/horizon: "),
        ({"parameters": {"horizon": "2"}}, "/parameters/horizon: "),
        ({"parameters": {"horizon": True}}, "/parameters/horizon: "),
        ({"parameters": {"horizon": 10**40}}, "/parameters/horizon: "),
        ({"parameters": {"timeout": -1}}, "/parameters/timeout: "),
        ({"parameters": {"binary_data_output": "yes"}}, "/parameters/binary_data_output: "),
        ({"parameters": []}, "/parameters: "),
        ({"id": 7}, "/id: "),
        ({"inputs": []}, "/inputs: "),
        ({"inputs": None}, "/inputs: "),
        ({"inputs": [1]}, "/inputs/0: "),
        ({"outputs": [{"name": "median"}]}, "/outputs/0/name: this model has no such output; it has forecast and quan"),
        ({"outputs": [{"name": "forecast"}] * 2}, "/outputs/1/name: this output is there already"),
        ({"outputs": [{}]}, "/outputs/0/name: "),
        ({"outputs": [{"name": "forecast", "parameters": {"binary_data": 1}}]}, "/outputs/0/parameters/binary_data: "),
        (
            {"outputs": [{"name": "forecast", "parameters": {"classification": 3}}]},
            "/outputs/0/parameters/classification: this is not supported here",
        ),
        (
            {"outputs": [{"name": "forecast", "parameters": {"shared_memory_region": "x"}}]},
            "/outputs/0/parameters/shared_memory_region: this is not supported here",
        ),
        ({"outputs": [{"name": f"n{i}"} for i in range(500)]}, "/outputs/99/name: "),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_cannot_be_answered_is_named(client: Client, fields: dict[str, Any], place: str) -> None:
    error = refusal(client.post(INFER, json=asked(**fields)))
    assert place in error
    assert "/outputs/100/" not in error


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": "price"}, "/inputs/0/name: this model has no such input; it has prices"),
        ({"name": None}, "/inputs/0/name: "),
        ({"datatype": "FP16"}, "/inputs/0/datatype: it must be FP64 or FP32"),
        ({"shape": [3, 61]}, "/inputs/0/shape: it must be [B, 60]"),
        ({"shape": [-3, 60]}, "/inputs/0/shape/0: "),
        ({"shape": [3.0, 60]}, "/inputs/0/shape/0: "),
        ({"shape": [2**63, 60]}, "/inputs/0/shape/0: "),
        ({"shape": [2, 60]}, "/inputs/0/data: 180 numbers; the shape says 120"),
        ({"shape": [301, 60]}, "/inputs/0/shape/0: 301 windows; one request may have 300"),
        ({"data": None}, "/inputs/0: it needs either data, or parameters.binary_data_size"),
        ({"data": "1, 2"}, "/inputs/0/data: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), "5"]}, "/inputs/0/data/179: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), float("nan")]}, "/inputs/0/data/179: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), float("inf")]}, "/inputs/0/data/179: "),
        ({"data": [*ROWS.ravel()[:179].tolist(), 0]}, "/inputs/0: row 2, column 59: a price must be positive"),
        ({"parameters": {"binary_data_size": 1440}}, "/inputs/0: it needs either"),
        ({"parameters": {"binary_data_size": -1}}, "/inputs/0/parameters/binary_data_size: "),
        ({"parameters": {"binary_data_size": 1440}, "data": None}, "/inputs/0: 1440 bytes should follow the JSON"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_is_wrong_with_an_input_is_named(client: Client, change: dict[str, Any], place: str) -> None:
    body = asked()
    body["inputs"][0] |= change
    assert place in refusal(client.post(INFER, content=json.dumps(body)))


def test_an_input_that_is_there_twice_or_unknown_is_named(client: Client) -> None:
    [tensor] = asked()["inputs"]
    error = refusal(client.post(INFER, json={"inputs": [tensor, tensor, tensor | {"name": "volume"}]}))
    assert "/inputs/1/name: this input is there already" in error
    assert "/inputs/2/name: this model has no such input" in error


@pytest.mark.parametrize("datatype", ["<f8", "<f4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
@pytest.mark.parametrize("model", ["default", "tutorial"])
def test_prices_in_bytes_that_the_model_refuses_are_named(
    client: Client, datatype: str, bad: float, model: str
) -> None:
    rows = ROWS.copy()
    rows[1, 17] = rows[2, 3] = bad
    response = client.post(f"/v2/models/{model}/infer", **binary(rows, datatype))
    if model == "tutorial" and np.isfinite(bad):
        assert response.status_code == 200
    else:
        error = refusal(response)
        assert "/inputs/0: row 1, column 17: a price must" in error
        assert "/inputs/0: row 2, column 3: a price must" in error


@pytest.mark.parametrize(("datatype", "signalling"), [("<f8", "010000000000f07f"), ("<f4", "0100807f")])
def test_a_signalling_nan_is_refused_as_any_other(client: Client, datatype: str, signalling: str) -> None:
    how = binary(ROWS, datatype)
    nan = bytes.fromhex(signalling)
    error = refusal(client.post(INFER, content=how["content"][: -len(nan)] + nan, headers=how["headers"]))
    assert "/inputs/0: row 2, column 59: a price must" in error


def test_rows_at_fault_are_named_in_order_and_not_without_end(client: Client) -> None:
    rows = np.tile(ROWS[0], (300, 1))
    rows[::2, 5] = 0.0
    rows[1::2, 5] = 1e20  # too steep a step, which is looked for after
    named = refusal(client.post(INFER, **binary(rows))).split("; ")
    assert [each.split(":")[1].split(",")[0] for each in named] == [f" row {row}" for row in range(100)]


def test_what_was_sent_is_not_repeated(client: Client) -> None:
    secret = "s3cret" * 50
    body = asked(id=secret, outputs=[{"name": secret, secret: secret}])
    body["inputs"][0] |= {"name": secret, "datatype": secret, "data": [secret]}
    assert "s3cret" not in refusal(client.post(INFER, json=body))


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("x", "it must be a whole number of bytes"),
        ("99999", "it says 99999 bytes; the body has"),
        ("5", "Invalid JSON"),
    ],
)
def test_a_wrong_length_of_the_json_is_refused(client: Client, header: str, place: str) -> None:
    assert place in refusal(client.post(INFER, json=asked(), headers={LENGTH: header}))


def test_limits_are_those_of_predict(client: Client) -> None:
    assert refusal(client.post(INFER, content=b" " * (2**20 + 1)), 413)
    assert refusal(client.post(INFER, json=asked(), headers={"content-encoding": "br"}), 415)
    assert "X-Request-Timeout-Ms" in refusal(client.post(INFER, json=asked(), headers={"x-request-timeout-ms": "no"}))


def test_a_timeout_is_a_deadline_in_microseconds(client: Client) -> None:
    tensors(client.post(INFER, json=asked(parameters={"timeout": 10_000_000})))
    assert client.post(INFER, json=asked(parameters={"timeout": 1})).status_code in {503, 504}


def test_a_timeout_makes_no_deadline_later(client: Client) -> None:
    parameters = {"timeout": 10_000_000}
    headers = {"x-request-timeout-ms": "1"}
    rows = np.random.default_rng(1).uniform(90, 110, (300, 60))
    assert client.post(INFER, json=asked(rows, parameters=parameters), headers=headers).status_code in {503, 504}


# What a client could send by mistake or on purpose: JSON of any kind, with words of the protocol among it.
words = st.sampled_from(
    ["id", "inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "prices", "forecast", "FP64",
     "horizon", "binary_data", "binary_data_size", "binary_data_output", "timeout"]
)  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | words
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)
requests = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.just("prices") | anything,
                    "shape": st.just([1, 60]) | st.lists(st.integers(-1, 70), max_size=3) | anything,
                    "datatype": st.sampled_from(["FP64", "FP32", "BYTES"]) | anything,
                },
                optional={
                    "data": st.lists(leaves, min_size=60, max_size=60) | anything,
                    "parameters": st.fixed_dictionaries({"binary_data_size": st.sampled_from([480, 240, 0, -1])})
                    | anything,
                },
            ),
            max_size=2,
        )
    },
    optional={"parameters": anything, "outputs": anything, "id": anything},
)
lengths = st.none() | st.integers(-10, 2000) | st.sampled_from(["right", "x", "1e3", "9" * 30])


@given(
    body=st.one_of(requests, anything).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100),
    after=st.binary(max_size=20) | st.binary(min_size=240, max_size=240) | st.binary(min_size=480, max_size=480),
    length=lengths,
    path=st.sampled_from(
        [INFER, "/v2/models/tutorial/infer", "/v2/repository/index", "/v2/repository/models/nope/load",
         "/v2/repository/models/nope/unload"]
    ),
)  # fmt: skip
def test_no_body_and_no_header_is_an_error_of_the_server(
    client: Client, body: bytes, after: bytes, length: Any, path: str
) -> None:
    sent = str(len(body)) if length == "right" else str(length)
    response = client.post(path, content=body + after, headers={} if length is None else {LENGTH: sent})
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        refusal(response, response.status_code)


def test_the_document_describes_every_operation_and_its_example_is_answered(client: Client) -> None:
    document = client.get("/openapi.json").json()
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v2")
    }
    assert len(operations) == 13
    schemas = document["components"]["schemas"]
    for (path, method), operation in operations.items():
        assert operation["tags"] == ["open inference protocol"]
        assert operation["summary"]
        assert operation["description"]
        for status, response in operation["responses"].items():
            schema = response["content"]["application/json"]["schema"]
            says_no = status == "503" and path.startswith("/v2/models/") and path.endswith("/ready")
            assert (schema.get("$ref") == "#/components/schemas/Failure") is (status != "200" and not says_no)
        if "requestBody" in operation and not path.endswith("load"):
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            [example] = schemas[name]["examples"]
            url = path.format(name="default", version=version_of("default"))
            assert client.request(method, url, json=example).status_code == 200
