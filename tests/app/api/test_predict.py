"""Tests of POST /predict and POST /predict/batch: valid requests."""

from typing import Any

import numpy as np

from tests.app.api.app_client import EXAMPLE_WINDOW, MAX_HORIZON, AppClient
from tests.conftest import version_of


def test_predict_without_levels_returns_no_intervals(client: AppClient) -> None:
    body = client.post("/predict", json={"prices": EXAMPLE_WINDOW}).json()
    assert body.keys() == {"forecast", "warnings", "model"}
    assert len(body["forecast"]) == 1
    assert body["model"]["name"] == "default"


def test_predict_returns_requested_horizon_and_levels(client: AppClient) -> None:
    body = client.post("/predict", json={"prices": EXAMPLE_WINDOW, "horizon": MAX_HORIZON, "levels": [95, 50]}).json()
    assert len(body["forecast"]) == MAX_HORIZON
    assert list(body["intervals"]) == ["95", "50"]
    wide, narrow, middle = body["intervals"]["95"], body["intervals"]["50"], body["forecast"]
    ascending = np.array([wide["lower"], narrow["lower"], middle, narrow["upper"], wide["upper"]])
    assert (np.diff(ascending, axis=0) > 0).all()
    assert (np.diff(ascending[4] - ascending[0]) > 0).all(), "intervals widen with the horizon"


def test_predict_uses_only_the_last_window(client: AppClient) -> None:
    long_body = client.post("/predict", json={"prices": [1.0] * (4096 - 60) + EXAMPLE_WINDOW}).json()
    assert long_body == client.post("/predict", json={"prices": EXAMPLE_WINDOW}).json()


def test_predict_ignores_invalid_price_before_the_window(client: AppClient) -> None:
    assert client.post("/predict", json={"prices": [0.0, *EXAMPLE_WINDOW]}).status_code == 200


def test_predict_selects_model_by_name_and_version(client: AppClient) -> None:
    for reference in ("tutorial", f"tutorial@{version_of('tutorial')}", f"default@{version_of('default')}"):
        body = client.post("/predict", json={"prices": EXAMPLE_WINDOW, "model": reference}).json()
        name = reference.partition("@")[0]
        assert body["model"] == {"name": name, "version": version_of(name)}


def test_predict_warns_outside_the_training_range(client: AppClient) -> None:
    far_prices = [price * 1000 for price in EXAMPLE_WINDOW]
    [warning] = client.post("/predict", json={"prices": far_prices, "model": "tutorial"}).json()["warnings"]
    assert warning["code"] == "outside_training_range"
    assert "the window's price" in warning["detail"]
    assert client.post("/predict", json={"prices": far_prices}).json()["warnings"] == []


def test_batch_returns_forecasts_in_order_with_ids(client: AppClient) -> None:
    scaled = [[price * factor for price in EXAMPLE_WINDOW] for factor in (1, 10, 100)]
    series: list[dict[str, Any]] = [
        {"id": "one", "prices": scaled[0]},
        {"prices": scaled[1]},
        {"id": "b", "prices": scaled[2]},
    ]
    body = client.post("/predict/batch", json={"series": series, "horizon": 2, "levels": [80]}).json()
    assert [forecast.get("id") for forecast in body["forecasts"]] == ["one", None, "b"]
    assert "id" not in body["forecasts"][1]
    for prices, forecast in zip(scaled, body["forecasts"], strict=True):
        alone = client.post("/predict", json={"prices": prices, "horizon": 2, "levels": [80]}).json()
        np.testing.assert_allclose(forecast["forecast"], alone["forecast"], rtol=1e-5)
        np.testing.assert_allclose(forecast["intervals"]["80"]["upper"], alone["intervals"]["80"]["upper"], rtol=1e-5)
