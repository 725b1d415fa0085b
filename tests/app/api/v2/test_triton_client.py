"""Tests with Triton's own HTTP client against a real server."""

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
from benchmarks.model_variants import publish_variant
from tests.app.api.v2.infer_requests import predict_quantiles
from tests.conftest import MODELS, version_of
from tests.prices import random_walk_windows
from tests.server_process import running_server

pytestmark = pytest.mark.slow

CONCURRENCY = 8
ROWS = random_walk_windows(20, seed=11)  # (20, 60)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, with two more versions of `default`. The server does not serve one of them."""
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
    infer_input = triton.InferInput(name, list(rows.shape), "FP32" if rows.dtype == np.float32 else "FP64")
    return infer_input.set_data_from_numpy(rows, binary_data=is_binary)


def client_error(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the status and the message of the error that the client raises."""
    with pytest.raises(InferenceServerException) as error:
        call()
    return error.value.status(), error.value.message()


def test_client_finds_server_live_ready_and_described(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("pricecast", __version__)
    assert {"binary_tensor_data", "model_repository"} <= set(metadata["extensions"])


def test_client_finds_model_ready_and_described(client: Any) -> None:
    version = version_of("default")
    assert client.is_model_ready("default")
    assert client.is_model_ready("default", version)
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready("default", "99")
    metadata = client.get_model_metadata("default", version)
    assert version in metadata["versions"]
    assert [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]] == [("prices", "FP64")]
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["forecast", "quantiles"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("is_binary_input", [True, False])
@pytest.mark.parametrize("is_binary_output", [True, False])
def test_client_infer_matches_predict_in_every_encoding(
    client: Any, server: httpx.Client, dtype: type[np.floating[Any]], is_binary_input: bool, is_binary_output: bool
) -> None:
    rows = ROWS.astype(dtype)
    outputs = [triton.InferRequestedOutput(name, binary_data=is_binary_output) for name in ("quantiles", "forecast")]
    result = client.infer("default", [tensor(rows, is_binary=is_binary_input)], outputs=outputs, request_id="r-7")
    response = result.get_response()
    assert (response["id"], response["model_name"]) == ("r-7", "default")
    assert response["model_version"] == version_of("default")
    assert [output["name"] for output in response["outputs"]] == ["quantiles", "forecast"]
    quantiles = result.as_numpy("quantiles")
    assert quantiles.dtype == np.float64
    np.testing.assert_allclose(quantiles, predict_quantiles(server, rows.astype(np.float64)), rtol=1e-5)
    np.testing.assert_array_equal(result.as_numpy("forecast"), quantiles[:, :, quantiles.shape[2] // 2])


def test_client_without_outputs_gets_all_as_binary(client: Any, server: httpx.Client) -> None:
    result = client.infer("default", [tensor()], parameters={"horizon": 2})
    assert result.as_numpy("forecast").shape == (len(ROWS), 2)
    np.testing.assert_allclose(result.as_numpy("quantiles"), predict_quantiles(server, ROWS, horizon=2), rtol=1e-5)
    assert all("binary_data_size" in output["parameters"] for output in result.get_response()["outputs"])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("is_binary", [True, False])
def test_client_can_compress_requests(client: Any, server: httpx.Client, algorithm: str, is_binary: bool) -> None:
    result = client.infer(
        "default",
        [tensor(is_binary=is_binary)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_allclose(result.as_numpy("quantiles"), predict_quantiles(server, ROWS), rtol=1e-5)


def test_concurrent_client_requests_get_their_own_rows(client: Any, server: httpx.Client) -> None:
    requests = [client.async_infer("default", [tensor(ROWS[i : i + 1])]) for i in range(CONCURRENCY)]
    quantiles = np.concatenate([request.get_result().as_numpy("quantiles") for request in requests])
    np.testing.assert_allclose(quantiles, predict_quantiles(server, ROWS)[:CONCURRENCY], rtol=1e-5)


def test_client_gets_warnings_as_parameter(client: Any) -> None:
    response = client.infer("default", [tensor(np.full((1, 60), 5.0))]).get_response()
    assert "constant_window" in response["parameters"]["warnings"]


def test_client_raises_errors_with_reason(client: Any) -> None:
    unknown_output = [triton.InferRequestedOutput("median")]
    class_output = [triton.InferRequestedOutput("forecast", class_count=3)]
    integers = triton.InferInput("prices", [1, 60], "INT64").set_data_from_numpy(np.ones((1, 60), np.int64))
    invalid_row = np.where(np.arange(60) == 17, np.nan, ROWS[:1])
    invalid_calls: list[tuple[Callable[[], Any], str, str]] = [
        (lambda: client.infer("nope", [tensor()]), "404", "no such model is served"),
        (lambda: client.infer("default", [tensor()], "99"), "404", "is not served; served versions: "),
        (lambda: client.infer("default", [tensor(ROWS[:, 1:])]), "400", "/inputs/0/shape: must be [B, 60]"),
        (lambda: client.infer("default", [integers]), "400", "/inputs/0/datatype: must be FP64 or FP32"),
        (lambda: client.infer("default", [tensor(name="x")]), "400", "/inputs/0/name: unknown input"),
        (lambda: client.infer("default", [tensor()], outputs=unknown_output), "400", "/outputs/0/name: unknown output"),
        (lambda: client.infer("default", [tensor()], outputs=class_output), "400", "/classification: not supported"),
        (lambda: client.infer("default", [tensor()], parameters={"horizon": 99}), "400", "/parameters/horizon: "),
        (lambda: client.infer("default", [tensor(invalid_row)]), "400", "/inputs/0: row 0, column 17: "),
        (lambda: client.infer("default", [tensor(invalid_row, is_binary=False)]), "400", "/inputs/0/data/17"),
        (lambda: client.get_model_metadata("nope"), "404", "no such model is served"),
        (lambda: client.load_model("nope"), "404", "no such model is published"),
        (lambda: client.unload_model("nope"), "404", "no such model is served"),
        (lambda: client.load_model("default", config="{}"), "400", "/parameters/config: not supported by this server"),
        (lambda: client.get_model_config("default"), "404", "no such path"),
    ]
    for call, status, reason in invalid_calls:
        error_status, message = client_error(call)
        assert error_status == status, message
        assert reason in message


def test_client_lists_unloads_and_loads_models(client: Any) -> None:
    def state(name: str, version: str) -> str:
        [entry] = [
            entry
            for entry in client.get_model_repository_index()
            if (entry["name"], entry["version"]) == (name, version)
        ]
        return str(entry["state"])

    version = version_of("tutorial")
    assert state("tutorial", version) == "READY"
    assert state("default", str(int(version_of("default")) + 1)) == "UNAVAILABLE"
    client.unload_model("tutorial", unload_dependents=True)
    assert not client.is_model_ready("tutorial")
    assert state("tutorial", version) == "UNAVAILABLE"
    client.load_model("tutorial")
    assert client.is_model_ready("tutorial")
    assert client.infer("tutorial", [tensor()]).as_numpy("forecast").shape[0] == len(ROWS)
