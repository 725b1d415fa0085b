"""Tests of the OpenAPI document: every response that an operation returns is documented."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import api_keys
from app.api.openapi import DESCRIPTION
from app.inference.input_checks import WARNING_CODES
from app.settings import Settings
from tests.app.api.app_client import JSON_HEADERS, AppClient, running_app
from tests.conftest import version_of

KEY, KEY_SETTING = api_keys.generate("alice")
ADMIN_KEY, ADMIN_KEY_SETTING = api_keys.generate("root")
Operation = tuple[str, str]  # method and path


@pytest.fixture(scope="module")
def document(client: AppClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def operations_documenting(document: dict[str, Any], status: str) -> set[Operation]:
    """Return the operations whose documentation includes this response status."""
    return {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if status in operation["responses"]
    }


def operations_returning(client: AppClient, status: int, key: str | None = None, **kwargs: Any) -> set[Operation]:
    """Send each operation a request and return the operations that respond with this status.

    Also check that the body and the headers of these responses are documented.
    """
    document = client.app.fastapi.openapi()
    kwargs["headers"] = JSON_HEADERS | kwargs.get("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    found = set()
    for method, path in sorted(operations_documenting(document, "200")):
        url = path.replace("{name}", "default").replace("{version}", version_of("default"))
        response = client.request(method, url, **kwargs)
        if response.status_code != status:
            continue
        found.add((method, path))
        response_schema = document["paths"][path][method.lower()]["responses"][str(status)]
        reference = response_schema["content"][response.headers["content-type"]]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        assert set(schema["required"]) <= response.json().keys() <= schema["properties"].keys()
        assert ("retry-after" in response.headers) == ("Retry-After" in response_schema.get("headers", {})), path
    return found


@pytest.fixture(scope="module")
def locked_client(shipped: Path) -> Iterator[AppClient]:
    """A server that requires keys, with a short deadline and a small body limit."""
    settings = Settings(
        models_dir=shipped,
        api_keys=api_keys.parse(KEY_SETTING),
        admin_keys=api_keys.parse(ADMIN_KEY_SETTING),
        max_body_bytes=1024,
        deadline_s=0.05,
    )
    with running_app(settings) as client:
        yield client


# The document


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for each in node for found in references(each)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for each in node.values() for found in references(each)]
        return []

    found = references(document)
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_document_is_generated_once(client: AppClient) -> None:
    assert client.get("/openapi.json").json() == client.get("/openapi.json").json()
    assert client.app.fastapi.openapi() is client.app.fastapi.openapi()


def test_framework_validation_error_is_not_documented(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in str(document)


def test_every_operation_has_summary_and_description(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
    assert document["info"]["description"] == DESCRIPTION


def test_every_evidence_field_has_a_description(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    baselines = ("PointBaseline", "IntervalBaseline")
    for schema in (
        "Score",
        "Fold",
        "Proportion",
        "VolatilityTercile",
        "DirectionalAccuracy",
        *baselines,
        "Evidence",
        "Curve",
    ):
        for name, field in schemas[schema]["properties"].items():
            assert field.get("description"), f"{schema}.{name}"


def test_every_warning_code_is_described(document: dict[str, Any]) -> None:
    code_schema = document["components"]["schemas"]["InputWarning"]["properties"]["code"]
    assert set(code_schema["enum"]) == set(WARNING_CODES)
    for code in WARNING_CODES:
        assert f"`{code}`: " in code_schema["description"]


def test_docs_page_loads_only_local_files(client: AppClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text.replace("http://test", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


# Examples


@pytest.mark.parametrize(("path", "schema"), [("/predict", "PredictRequest"), ("/predict/batch", "BatchRequest")])
def test_request_examples_are_valid(client: AppClient, document: dict[str, Any], path: str, schema: str) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"]["$ref"].endswith(schema)
    for example in document["components"]["schemas"][schema]["examples"]:
        assert client.post(path, json=example).status_code == 200


def test_v2_operations_are_documented_and_examples_work(client: AppClient) -> None:
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
            is_readiness_response = status == "503" and path.startswith("/v2/models/") and path.endswith("/ready")
            assert (schema.get("$ref") == "#/components/schemas/V2Error") is (
                status != "200" and not is_readiness_response
            )
        if "requestBody" in operation and not path.endswith("load"):
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            [example] = schemas[name]["examples"]
            url = path.format(name="default", version=version_of("default"))
            assert client.request(method, url, json=example).status_code == 200


# Responses


def test_forecast_error_statuses_are_documented(document: dict[str, Any]) -> None:
    for path in ("/predict", "/predict/batch"):
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {
            "200", "400", "401", "404", "413", "415", "422", "429", "500", "503", "504",
        }  # fmt: skip
        assert all(
            "application/problem+json" in response["content"]
            for status, response in responses.items()
            if status != "200"
        )


def test_401_is_documented_where_returned(locked_client: AppClient, document: dict[str, Any]) -> None:
    found = operations_returning(locked_client, 401)
    assert found == operations_documenting(document, "401")
    assert operations_documenting(document, "200") - found == {
        ("GET", path) for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
    }


def test_403_is_documented_where_returned(locked_client: AppClient, document: dict[str, Any]) -> None:
    # The unsupported encoding makes operations that accept the origin fail too, so that nothing is unloaded.
    cross_origin = {"Origin": "https://elsewhere", "Content-Encoding": "unsupported"}
    found = operations_returning(locked_client, 403, KEY) | operations_returning(
        locked_client, 403, ADMIN_KEY, headers=cross_origin
    )
    assert found == operations_documenting(document, "403")


@pytest.mark.parametrize(
    ("status", "kwargs"),
    [
        (413, {"content": b"x" * 2000}),
        (415, {"content": b"{}", "headers": {"Content-Encoding": "br"}}),
        (400, {"content": b"{"}),
        (422, {"content": b"{"}),
    ],
)
def test_body_errors_are_documented_where_returned(
    locked_client: AppClient, document: dict[str, Any], status: int, kwargs: dict[str, Any]
) -> None:
    header_errors = {("POST", "/predict"), ("POST", "/predict/batch")} if status == 400 else set()
    assert (
        operations_returning(locked_client, status, ADMIN_KEY, **kwargs)
        == operations_documenting(document, str(status)) - header_errors
    )


def test_504_is_documented_where_returned(locked_client: AppClient, document: dict[str, Any]) -> None:
    class StalledBody:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

    assert operations_returning(locked_client, 504, ADMIN_KEY, content=StalledBody()) == operations_documenting(
        document, "504"
    )


def test_timeout_header_is_documented_where_read(locked_client: AppClient, document: dict[str, Any]) -> None:
    headers = {"X-Request-Timeout-Ms": "soon", "Content-Encoding": "unsupported"}
    documenting = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "X-Request-Timeout-Ms" in [parameter["name"] for parameter in operation.get("parameters", ())]
    }
    assert documenting
    assert operations_returning(locked_client, 400, ADMIN_KEY, headers=headers) == documenting


def test_429_is_documented_where_returned(shipped: Path, document: dict[str, Any]) -> None:
    with running_app(Settings(models_dir=shipped, max_requests_per_s_per_client=1e-6)) as client:
        assert client.get("/models").status_code == 200  # uses up the rate of one request per million seconds
        assert operations_returning(client, 429) == operations_documenting(document, "429")


def test_503_of_unloadable_model_is_documented(models: Path) -> None:
    (models / "default" / version_of("default") / "model.onnx").unlink()
    with running_app(Settings(models_dir=models)) as client:
        found = operations_returning(client, 503, json={"prices": [100.0] * 60})
        assert {("POST", "/predict"), ("GET", "/models/{name}"), ("GET", "/v2/models/{name}/ready")} <= found


def test_binary_response_headers_are_documented(client: AppClient, document: dict[str, Any]) -> None:
    path = "/v2/models/{name}/infer"
    [example, *_] = document["components"]["schemas"]["InferRequest"]["examples"]
    body = example | {"parameters": {"binary_data_output": True}}
    response = client.post(path.replace("{name}", "default"), json=body)
    documented = document["paths"][path]["post"]["responses"]["200"]
    assert response.headers["content-type"] in documented["content"]
    assert {name for name in documented["headers"] if name in response.headers} == {"Inference-Header-Content-Length"}
