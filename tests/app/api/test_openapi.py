"""The OpenAPI document and the pages around it."""

from typing import Any

import pytest

from app.api.openapi import DESCRIPTION
from app.warning import CODES
from tests.app.api.conftest import Client


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
    for part in ("Score", "Fold", "Share", "Tercile", "Direction", *bases, "Evidence", "Curve"):
        for name, field in schemas[part]["properties"].items():
            assert field.get("description"), f"{part}.{name}"


def test_every_code_of_a_warning_is_described(document: dict[str, Any]) -> None:
    code = document["components"]["schemas"]["WarningBody"]["properties"]["code"]
    assert set(code["enum"]) == set(CODES)
    for each in CODES:
        assert f"`{each}`: " in code["description"]


def test_the_docs_page_and_all_it_loads_come_from_here(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text.replace("http://test", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"


def test_metrics_are_in_prometheus_format(client: Client) -> None:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
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
