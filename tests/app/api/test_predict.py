"""POST /predict and /predict/batch, in process: what they answer, and what they refuse."""

import json
from typing import Any

import numpy as np
import pytest

from app.api.schemas import EXAMPLE_PRICES
from app.artifact import store
from tests.app.api.conftest import Client
from tests.conftest import MODELS, version_of

PRICES: list[float] = [float(str(price)) for price in EXAMPLE_PRICES]
MOST = store.read_version(MODELS, "default", version_of("default")).manifest.horizon
JSON = {"content-type": "application/json"}


def field_errors(client: Client, path: str, body: Any) -> list[dict[str, str]]:
    """What a refused body is told; the refusal is of the right form, and the server is none the worse."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(path, content=content, headers=JSON)
    problem = response.json()
    assert response.status_code == 422, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 422
    assert problem["type"] == "urn:pricecast:invalid-content"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert client.post("/predict", json={"prices": PRICES}).status_code == 200
    return list(problem["errors"])


def pointers(found: list[dict[str, str]]) -> list[str]:
    return [fault["pointer"] for fault in found]


def test_one_window_gives_one_forecast_and_no_intervals_unless_asked(client: Client) -> None:
    answer = client.post("/predict", json={"prices": PRICES}).json()
    assert answer.keys() == {"forecast", "warnings", "model"}
    assert len(answer["forecast"]) == 1
    assert answer["model"]["name"] == "default"


def test_horizon_and_levels_choose_from_what_the_model_says(client: Client) -> None:
    answer = client.post("/predict", json={"prices": PRICES, "horizon": MOST, "levels": [95, 50]}).json()
    assert len(answer["forecast"]) == MOST
    assert list(answer["intervals"]) == ["95", "50"]
    wide, narrow, middle = answer["intervals"]["95"], answer["intervals"]["50"], answer["forecast"]
    order = np.array([wide["lower"], narrow["lower"], middle, narrow["upper"], wide["upper"]])
    assert (np.diff(order, axis=0) > 0).all()
    assert (np.diff(order[4] - order[0]) > 0).all(), "wider with the horizon"


def test_only_the_last_window_of_a_longer_series_counts(client: Client) -> None:
    long = [1.0] * (4096 - 60) + PRICES
    assert (
        client.post("/predict", json={"prices": long}).json() == client.post("/predict", json={"prices": PRICES}).json()
    )


def test_a_zero_before_the_window_is_no_fault(client: Client) -> None:
    assert client.post("/predict", json={"prices": [0.0, *PRICES]}).status_code == 200


def test_a_model_is_chosen_by_name_and_by_version(client: Client) -> None:
    for reference in ("tutorial", f"tutorial@{version_of('tutorial')}", f"default@{version_of('default')}"):
        answer = client.post("/predict", json={"prices": PRICES, "model": reference}).json()
        name = reference.partition("@")[0]
        assert answer["model"] == {"name": name, "version": version_of(name)}


def test_the_tutorial_model_warns_outside_its_training_range_and_default_does_not(client: Client) -> None:
    far = [price * 1000 for price in PRICES]
    [warning] = client.post("/predict", json={"prices": far, "model": "tutorial"}).json()["warnings"]
    assert warning["code"] == "outside_training_range"
    assert "the window's price" in warning["detail"]
    assert client.post("/predict", json={"prices": far}).json()["warnings"] == []


def test_a_batch_answers_in_order_with_ids_where_they_were_given(client: Client) -> None:
    scaled = [[price * factor for price in PRICES] for factor in (1, 10, 100)]
    series: list[dict[str, Any]] = [
        {"id": "one", "prices": scaled[0]},
        {"prices": scaled[1]},
        {"id": "b", "prices": scaled[2]},
    ]
    body = client.post("/predict/batch", json={"series": series, "horizon": 2, "levels": [80]}).json()
    assert [each.get("id") for each in body["forecasts"]] == ["one", None, "b"]
    assert "id" not in body["forecasts"][1]
    for prices, forecast in zip(scaled, body["forecasts"], strict=True):
        alone = client.post("/predict", json={"prices": prices, "horizon": 2, "levels": [80]}).json()
        np.testing.assert_allclose(forecast["forecast"], alone["forecast"], rtol=1e-5)
        np.testing.assert_allclose(forecast["intervals"]["80"]["upper"], alone["intervals"]["80"]["upper"], rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prices": PRICES[1:]}, "/prices"),
        ({"prices": [1.0] * 4097}, "/prices"),
        ({"prices": []}, "/prices"),
        ({"prices": 5}, "/prices"),
        ({"prices": [*PRICES[:17], "101.5", *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], None, *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], True, *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], [1], *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], float("nan"), *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], float("inf"), *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], float("-inf"), *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], 0, *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], -3.5, *PRICES[18:]]}, "/prices/17"),
        ({"prices": [*PRICES[:17], 1e-9, *PRICES[18:]]}, "/prices/17"),
        ({"prices": [9.0, 9.0, *PRICES[:17], 0, *PRICES[18:]]}, "/prices/19"),
        ({"prices": PRICES, "color": "red"}, "/color"),
        ({"prices": PRICES, "horizon": 0}, "/horizon"),
        ({"prices": PRICES, "horizon": MOST + 1}, "/horizon"),
        ({"prices": PRICES, "horizon": 1.5}, "/horizon"),
        ({"prices": PRICES, "horizon": "2"}, "/horizon"),
        ({"prices": PRICES, "horizon": True}, "/horizon"),
        ({"prices": PRICES, "horizon": 10**40}, "/horizon"),
        ({"prices": PRICES, "levels": [80, 73]}, "/levels/1"),
        ({"prices": PRICES, "levels": [80, 80]}, "/levels/1"),
        ({"prices": PRICES, "levels": [100]}, "/levels/0"),
        ({"prices": PRICES, "levels": 80}, "/levels"),
        ({"prices": PRICES, "model": "tutorial", "levels": [80]}, "/levels/0"),
        ({"prices": PRICES, "model": "../default"}, "/model"),
        ({"prices": PRICES, "model": 7}, "/model"),
        ({}, "/prices"),
        ([], ""),
        (None, ""),
        (b"", ""),
        (b'{"prices": [1, 2', ""),
        (b'{"prices": [1e400]}', "/prices/0"),
        (b"[" * 100_000 + b"]" * 100_000, ""),
        (b'{"prices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ""),
        (b'{"prices": "\xff\xfe"}', ""),
        (json.dumps({"prices": PRICES}).encode("utf-16"), ""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_request_is_told_the_place(client: Client, body: Any, pointer: str) -> None:
    [fault] = field_errors(client, "/predict", body)
    assert fault["pointer"] == pointer
    assert fault["detail"]


def test_all_faults_of_the_choice_and_the_prices_are_listed_together(client: Client) -> None:
    found = field_errors(client, "/predict", {"prices": PRICES[1:], "horizon": MOST + 1, "levels": [73, 12]})
    assert pointers(found) == ["/horizon", "/levels/0", "/levels/1", "/prices"]


def test_the_input_is_not_echoed(client: Client) -> None:
    response = client.post("/predict", json={"prices": [*PRICES[1:], "secret-4711"]})
    assert "secret-4711" not in response.text


def test_an_endless_unknown_field_is_named_in_part(client: Client) -> None:
    [fault] = field_errors(client, "/predict", {"prices": PRICES, "x" * 5000: 1})
    assert len(fault["pointer"]) == 200


def test_thousands_of_unknown_fields_are_not_all_listed(client: Client) -> None:
    assert len(field_errors(client, "/predict", {"prices": PRICES} | {f"x{i}": i for i in range(5000)})) == 100


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("reference", ["nope", "default@77"])
def test_an_unknown_model_is_not_found(client: Client, path: str, reference: str) -> None:
    body = {"prices": PRICES} if path == "/predict" else {"series": [{"prices": PRICES}]}
    response = client.post(path, json=body | {"model": reference})
    assert (response.status_code, response.json()["type"]) == (404, "urn:pricecast:unknown-model")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"series": []}, "/series"),
        ({}, "/series"),
        ({"series": 3}, "/series"),
        ([], ""),
        ({"series": [{"prices": PRICES}] * 301}, "/series"),
        ({"series": [{"prices": [None]}] * 301}, "/series"),
        ({"series": [{"prices": PRICES}, 3]}, "/series/1"),
        ({"series": [{"prices": PRICES, "id": ""}]}, "/series/0/id"),
        ({"series": [{"prices": PRICES, "id": 5}]}, "/series/0/id"),
        ({"series": [{"prices": PRICES, "ids": "a"}]}, "/series/0/ids"),
        ({"series": [{"prices": PRICES}], "horizon": MOST + 1}, "/horizon"),
        ({"series": [{"prices": PRICES}], "model": 6}, "/model"),
        (b'{"series": [', ""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_batch_is_told_the_place(client: Client, body: Any, pointer: str) -> None:
    [fault] = field_errors(client, "/predict/batch", body)
    assert fault["pointer"] == pointer


def test_a_repeated_id_is_named(client: Client) -> None:
    series = [{"id": name, "prices": PRICES} for name in ("a", "b", "a", "a")]
    found = field_errors(client, "/predict/batch", {"series": series})
    assert pointers(found) == ["/series/2/id", "/series/3/id"]
    assert [fault["id"] for fault in found] == ["a", "a"]


def test_one_bad_series_among_a_hundred_refuses_all_and_is_named(client: Client) -> None:
    series: list[dict[str, Any]] = [{"id": f"s{i}", "prices": PRICES} for i in range(100)]
    series[41]["prices"] = [*PRICES[:-1], 0.0]
    [fault] = field_errors(client, "/predict/batch", {"series": series})
    assert (fault["pointer"], fault["id"]) == ("/series/41/prices/59", "s41")


def test_every_bad_series_is_named_whether_its_form_or_its_prices_are_bad(client: Client) -> None:
    series: list[Any] = [{"id": f"s{i}", "prices": PRICES} for i in range(100)]
    series[3]["prices"] = [*PRICES[:-1], None]
    series[10] = {"id": "s10"}
    series[20]["prices"] = PRICES[:7]
    series[30] = "not a series"
    series[41]["prices"] = [*PRICES[:-1], -1.0]
    series[99]["id"] = "s98"
    found = field_errors(client, "/predict/batch", {"series": series, "colour": 1})
    assert pointers(found) == [
        "/colour", "/series/3/prices/59", "/series/10/prices", "/series/20/prices", "/series/30",
        "/series/41/prices/59", "/series/99/id",
    ]  # fmt: skip
    assert [fault.get("id") for fault in found] == [None, "s3", "s10", "s20", None, "s41", "s98"]


def test_with_an_unknown_model_the_faults_of_form_are_still_named(client: Client) -> None:
    found = field_errors(
        client, "/predict/batch", {"series": [{"prices": [None]}, {"prices": PRICES}], "model": "nope"}
    )
    assert pointers(found) == ["/series/0/prices/0"]


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_is_not_said_to_be_json_is_refused(client: Client, path: str, media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    response = client.post(path, content=json.dumps({"prices": PRICES}).encode(), headers=headers)
    assert (response.status_code, response.json()["type"]) == (415, "urn:pricecast:unsupported-media-type")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "application/vnd.prices+json", "Application/JSON"]
)
def test_other_names_of_json_are_understood(client: Client, media_type: str) -> None:
    content = json.dumps({"prices": PRICES}).encode()
    assert client.post("/predict", content=content, headers={"content-type": media_type}).status_code == 200


def test_a_body_over_the_limit_is_refused_by_its_announced_length(client: Client) -> None:
    response = client.post("/predict", content=b" " * (2**20 + 1), headers=JSON)
    assert (response.status_code, response.json()["type"]) == (413, "urn:pricecast:body-too-large")
    assert response.headers["connection"] == "close"


def test_a_streamed_body_over_the_limit_is_refused_when_it_reaches_it(client: Client) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 2**16

    response = client.run(lambda http: http.post("/predict", content=endless(), headers=JSON))
    assert response.status_code == 413
    assert sent == 17, "no more was read than it took to know"


def test_the_request_id_is_the_senders_where_it_is_harmless(client: Client) -> None:
    for sent, kept in (("abc-123", True), ("x" * 200, False), ("no spaces", False)):
        response = client.post("/predict", json={"prices": PRICES}, headers={"x-request-id": sent})
        assert (response.headers["x-request-id"] == sent) is kept
