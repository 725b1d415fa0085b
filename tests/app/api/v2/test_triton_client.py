"""Triton's own HTTP client against a real server: it must find here what it knows from Triton."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]  # it ships no type hints
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from app import __version__
from app.artifact.transform import F64
from tests.conftest import MODELS, version_of
from tests.model_variants import publish_variant
from tests.server_process import running_server

pytestmark = pytest.mark.slow

CONCURRENCY = 8
RNG = np.random.default_rng(11)
ROWS: F64 = 100 * np.exp(RNG.normal(scale=0.01, size=(20, 60)).cumsum(axis=1))  # (20, 60)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, with a later version of one that is not served yet."""
    copy = Path(shutil.copytree(MODELS, tmp_path_factory.mktemp("triton") / "models"))
    publish_variant(copy, "default", 2.0, is_current=False)
    publish_variant(copy, "default", 3.0, is_current=False)
    return copy


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[httpx.Client]:
    with running_server(models_dir=str(models)) as (_, client):
        yield client


@pytest.fixture
def client(server: httpx.Client) -> Iterator[Any]:
    address = f"{server.base_url.host}:{server.base_url.port}"
    with triton.InferenceServerClient(address, concurrency=CONCURRENCY) as client:
        yield client


def tensor(rows: npt.NDArray[Any] = ROWS, *, is_binary: bool = True, name: str = "prices") -> Any:
    sent = triton.InferInput(name, list(rows.shape), "FP32" if rows.dtype == np.float32 else "FP64")
    return sent.set_data_from_numpy(rows, binary_data=is_binary)


def predicted(server: httpx.Client, rows: npt.NDArray[Any] = ROWS, horizon: int | None = None) -> F64:
    """(B, H, Q) by /predict/batch."""
    model = server.get("/models/default").json()
    body = {
        "series": [{"prices": row} for row in rows.astype(np.float64).tolist()],
        "horizon": horizon or model["horizon"],
        "levels": model["levels"],
    }
    found = []
    for forecast in server.post("/predict/batch", json=body).json()["forecasts"]:
        ends = [forecast["intervals"][str(level)] for level in model["levels"]]
        columns = [end["lower"] for end in reversed(ends)] + [forecast["forecast"]] + [end["upper"] for end in ends]
        found.append(np.array(columns).T)
    return np.stack(found)


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """(status, message) of what the client raises."""
    with pytest.raises(InferenceServerException) as error:
        call()
    return error.value.status(), error.value.message()


def test_it_finds_the_server_alive_ready_and_described(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("pricecast", __version__)
    assert {"binary_tensor_data", "model_repository"} <= set(metadata["extensions"])


def test_it_finds_a_model_ready_and_described(client: Any) -> None:
    version = version_of("default")
    assert client.is_model_ready("default")
    assert client.is_model_ready("default", version)
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready("default", "99")
    metadata = client.get_model_metadata("default", version)
    assert version in metadata["versions"]
    assert [(each["name"], each["datatype"]) for each in metadata["inputs"]] == [("prices", "FP64")]
    assert [each["name"] for each in metadata["outputs"]] == ["forecast", "quantiles"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sends_bytes", [True, False])
@pytest.mark.parametrize("gets_bytes", [True, False])
def test_forecasts_are_those_of_predict_in_every_form(
    client: Any, server: httpx.Client, dtype: type[np.floating[Any]], sends_bytes: bool, gets_bytes: bool
) -> None:
    rows = ROWS.astype(dtype)
    outputs = [triton.InferRequestedOutput(name, binary_data=gets_bytes) for name in ("quantiles", "forecast")]
    result = client.infer("default", [tensor(rows, is_binary=sends_bytes)], outputs=outputs, request_id="r-7")
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("r-7", "default", version_of("default"))
    assert [output["name"] for output in answer["outputs"]] == ["quantiles", "forecast"]
    quantiles = result.as_numpy("quantiles")
    assert quantiles.dtype == np.float64
    np.testing.assert_allclose(quantiles, predicted(server, rows), rtol=1e-5)
    np.testing.assert_array_equal(result.as_numpy("forecast"), quantiles[:, :, quantiles.shape[2] // 2])


def test_without_outputs_named_it_gets_all_as_bytes(client: Any, server: httpx.Client) -> None:
    result = client.infer("default", [tensor()], parameters={"horizon": 2})
    assert result.as_numpy("forecast").shape == (len(ROWS), 2)
    np.testing.assert_allclose(result.as_numpy("quantiles"), predicted(server, horizon=2), rtol=1e-5)
    assert all("binary_data_size" in output["parameters"] for output in result.get_response()["outputs"])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("is_binary", [True, False])
def test_it_may_compress_what_it_sends(client: Any, server: httpx.Client, algorithm: str, is_binary: bool) -> None:
    result = client.infer(
        "default",
        [tensor(is_binary=is_binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_allclose(result.as_numpy("quantiles"), predicted(server), rtol=1e-5)


def test_many_requests_at_once_get_their_own_rows(client: Any, server: httpx.Client) -> None:
    under_way = [client.async_infer("default", [tensor(ROWS[i : i + 1])]) for i in range(CONCURRENCY)]
    found = np.concatenate([request.get_result().as_numpy("quantiles") for request in under_way])
    np.testing.assert_allclose(found, predicted(server)[:CONCURRENCY], rtol=1e-5)


def test_warnings_come_as_a_parameter(client: Any) -> None:
    answer = client.infer("default", [tensor(np.full((1, 60), 5.0))]).get_response()
    assert "constant_window" in answer["parameters"]["warnings"]


def test_what_is_refused_raises_with_the_reason(client: Any) -> None:
    output = [triton.InferRequestedOutput("median")]
    classes = [triton.InferRequestedOutput("forecast", class_count=3)]
    integers = triton.InferInput("prices", [1, 60], "INT64").set_data_from_numpy(np.ones((1, 60), np.int64))
    bad = np.where(np.arange(60) == 17, np.nan, ROWS[:1])
    asked: list[tuple[Callable[[], Any], str, str]] = [
        (lambda: client.infer("nope", [tensor()]), "404", "no such model is served"),
        (lambda: client.infer("default", [tensor()], "99"), "404", "only version"),
        (lambda: client.infer("default", [tensor(ROWS[:, 1:])]), "400", "/inputs/0/shape: it must be [B, 60]"),
        (lambda: client.infer("default", [integers]), "400", "/inputs/0/datatype: it must be FP64 or FP32"),
        (lambda: client.infer("default", [tensor(name="x")]), "400", "/inputs/0/name: this model has no such input"),
        (lambda: client.infer("default", [tensor()], outputs=output), "400", "/outputs/0/name: this model has no such"),
        (lambda: client.infer("default", [tensor()], outputs=classes), "400", "/classification: this is not supported"),
        (lambda: client.infer("default", [tensor()], parameters={"horizon": 99}), "400", "/parameters/horizon: "),
        (lambda: client.infer("default", [tensor(bad)]), "400", "/inputs/0: row 0, column 17: "),
        (lambda: client.infer("default", [tensor(bad, is_binary=False)]), "400", "/inputs/0/data/17"),
        (lambda: client.get_model_metadata("nope"), "404", "no such model is served"),
        (lambda: client.load_model("nope"), "404", "no such model is published"),
        (lambda: client.unload_model("nope"), "404", "no such model is served"),
        (lambda: client.load_model("default", config="{}"), "400", "/parameters/config: this is not supported here"),
        (lambda: client.get_model_config("default"), "404", "Not Found"),
    ]
    for call, status, reason in asked:
        found, message = refused(call)
        assert found == status, message
        assert reason in message


def test_it_lists_unloads_and_loads_models(client: Any) -> None:
    def state(name: str, version: str) -> str:
        [found] = [
            each["state"]
            for each in client.get_model_repository_index()
            if (each["name"], each["version"]) == (name, version)
        ]
        return str(found)

    version = version_of("tutorial")
    assert state("tutorial", version) == "READY"
    assert state("default", str(int(version_of("default")) + 1)) == "UNAVAILABLE"
    client.unload_model("tutorial", unload_dependents=True)
    assert not client.is_model_ready("tutorial")
    assert state("tutorial", version) == "UNAVAILABLE"
    client.load_model("tutorial")
    assert client.is_model_ready("tutorial")
    assert client.infer("tutorial", [tensor()]).as_numpy("forecast").shape[0] == len(ROWS)
