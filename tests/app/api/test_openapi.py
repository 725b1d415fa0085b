"""The OpenAPI document and the pages around it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import api_keys
from app.api.openapi import DESCRIPTION
from app.inference.input_checks import WARNING_CODES
from app.settings import Settings
from tests.app.api.conftest import Client, start
from tests.conftest import version_of

KEY, SETTING = api_keys.new("alice")
ADMIN_KEY, ADMIN_SETTING = api_keys.new("root")
Operation = tuple[str, str]  # method and path
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
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


@pytest.mark.parametrize(("path", "schema"), [("/predict", "PredictRequest"), ("/predict/batch", "BatchRequest")])
def test_the_examples_of_a_body_are_answered(client: Client, document: dict[str, Any], path: str, schema: str) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"]["$ref"].endswith(schema)
    for example in document["components"]["schemas"][schema]["examples"]:
        assert client.post(path, json=example).status_code == 200


def test_every_failure_of_a_forecast_is_documented(document: dict[str, Any]) -> None:
    for path in ("/predict", "/predict/batch"):
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {
            "200", "400", "401", "404", "413", "415", "422", "429", "500", "503", "504",
        }  # fmt: skip
        assert all("application/problem+json" in each["content"] for code, each in responses.items() if code != "200")


def documented(document: dict[str, Any], status: str) -> set[Operation]:
    """The operations that may answer so."""
    return {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if status in operation["responses"]
    }


def refusing(client: Client, status: int, key: str | None = None, **how: Any) -> set[Operation]:
    """The operations that answer so when each is asked; and so they say they do, with such a body and such headers."""
    document = client.app.fastapi.openapi()
    how["headers"] = JSON | how.get("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    found = set()
    for method, path in sorted(documented(document, "200")):
        asked = path.replace("{name}", "default").replace("{version}", version_of("default"))
        response = client.request(method, asked, **how)
        if response.status_code != status:
            continue
        found.add((method, path))
        promised = document["paths"][path][method.lower()]["responses"][str(status)]
        reference = promised["content"][response.headers["content-type"]]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        assert set(schema["required"]) <= response.json().keys() <= schema["properties"].keys()
        assert ("retry-after" in response.headers) == ("Retry-After" in promised.get("headers", {})), path
    return found


@pytest.fixture(scope="module")
def locked(shipped: Path) -> Iterator[Client]:
    """Wants keys, and short bodies soon."""
    known, admins = api_keys.parse(SETTING), api_keys.parse(ADMIN_SETTING)
    settings = Settings(models_dir=shipped, api_keys=known, admin_keys=admins, max_body_bytes=1024, deadline_s=0.05)
    yield from start(settings)


def test_every_operation_that_wants_a_key_says_so(locked: Client, document: dict[str, Any]) -> None:
    refused = refusing(locked, 401)
    assert refused == documented(document, "401")
    assert documented(document, "200") - refused == {
        ("GET", path) for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
    }


def test_every_operation_that_wants_an_administrator_or_no_foreign_page_says_so(
    locked: Client, document: dict[str, Any]
) -> None:
    foreign = {"Origin": "https://elsewhere", "Content-Encoding": "refused as well"}
    refused = refusing(locked, 403, KEY) | refusing(locked, 403, ADMIN_KEY, headers=foreign)
    assert refused == documented(document, "403")


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (413, {"content": b"x" * 2000}),
        (415, {"content": b"{}", "headers": {"Content-Encoding": "br"}}),
        (400, {"content": b"{"}),
        (422, {"content": b"{"}),
    ],
)
def test_every_operation_that_reads_a_body_says_what_it_refuses(
    locked: Client, document: dict[str, Any], status: int, how: dict[str, Any]
) -> None:
    of_headers = {("POST", "/predict"), ("POST", "/predict/batch")} if status == 400 else set()
    assert refusing(locked, status, ADMIN_KEY, **how) == documented(document, str(status)) - of_headers


def test_every_operation_that_waits_for_a_body_says_that_it_gives_up(locked: Client, document: dict[str, Any]) -> None:
    class Stalled:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

    assert refusing(locked, 504, ADMIN_KEY, content=Stalled()) == documented(document, "504")


def test_every_operation_that_heeds_a_time_to_wait_has_it_as_a_parameter(
    locked: Client, document: dict[str, Any]
) -> None:
    sent = {"X-Request-Timeout-Ms": "soon", "Content-Encoding": "refused later"}
    has_it = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "X-Request-Timeout-Ms" in [each["name"] for each in operation.get("parameters", ())]
    }
    assert has_it
    assert refusing(locked, 400, ADMIN_KEY, headers=sent) == has_it


def test_every_operation_that_a_rate_limits_says_so(shipped: Path, document: dict[str, Any]) -> None:
    for client in start(Settings(models_dir=shipped, max_requests_per_s_per_client=1e-6)):
        assert client.get("/models").status_code == 200  # the one request in a million seconds
        assert refusing(client, 429) == documented(document, "429")


def test_operations_on_a_model_that_could_not_be_loaded_say_so(models: Path) -> None:
    (models / "default" / version_of("default") / "model.onnx").unlink()
    for client in start(Settings(models_dir=models)):
        refused = refusing(client, 503, json={"prices": [100.0] * 60})
        assert {("POST", "/predict"), ("GET", "/models/{name}"), ("GET", "/v2/models/{name}/ready")} <= refused


def test_an_answer_with_bytes_says_how_much_of_it_is_json(client: Client, document: dict[str, Any]) -> None:
    path = "/v2/models/{name}/infer"
    [example, *_] = document["components"]["schemas"]["InferRequest"]["examples"]
    asked = example | {"parameters": {"binary_data_output": True}}
    response = client.post(path.replace("{name}", "default"), json=asked)
    promised = document["paths"][path]["post"]["responses"]["200"]
    assert response.headers["content-type"] in promised["content"]
    assert {name for name in promised["headers"] if name in response.headers} == {"Inference-Header-Content-Length"}


def test_no_operation_promises_the_frameworks_own_error(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in str(document)


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
    assert document["info"]["description"] == DESCRIPTION


def test_every_figure_of_the_evidence_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bases = ("PointBaseline", "IntervalBaseline")
    for part in ("Score", "Fold", "Proportion", "VolatilityTercile", "DirectionalAccuracy", *bases, "Evidence", "Curve"):
        for name, field in schemas[part]["properties"].items():
            assert field.get("description"), f"{part}.{name}"


def test_every_code_of_a_warning_is_described(document: dict[str, Any]) -> None:
    code = document["components"]["schemas"]["WarningBody"]["properties"]["code"]
    assert set(code["enum"]) == set(WARNING_CODES)
    for each in WARNING_CODES:
        assert f"`{each}`: " in code["description"]


def test_the_docs_page_and_all_it_loads_come_from_here(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text.replace("http://test", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


def test_metrics_are_in_prometheus_format(client: Client, document: dict[str, Any]) -> None:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert list(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert "# TYPE pricecast_requests_total counter" in response.text


def test_invented_paths_and_methods_make_no_metrics_of_their_own(client: Client) -> None:
    client.get("/invented-path")
    client.request("BREW", "/predict")
    text = client.get("/metrics").text
    assert "invented" not in text
    assert "BREW" not in text
    assert 'pricecast_requests_total{method="any",route="/predict",status="405"} 1.0' in text


def test_the_document_is_made_once(client: Client) -> None:
    assert client.get("/openapi.json").json() == client.get("/openapi.json").json()
    assert client.app.fastapi.openapi() is client.app.fastapi.openapi()


def test_unknown_paths_and_methods_are_problems_too(client: Client) -> None:
    for method, path, status in (("GET", "/nope", 404), ("PUT", "/predict", 405)):
        response = client.request(method, path)
        assert (response.status_code, response.json()["status"]) == (status, status)
        assert response.headers["content-type"] == "application/problem+json"
