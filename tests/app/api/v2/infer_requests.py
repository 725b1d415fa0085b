"""Requests and responses of the Open Inference Protocol."""

import json
from typing import Any

import httpx
import numpy as np

from app.artifact.arrays import F64
from tests.app.api.app_client import EXAMPLE_WINDOW, MAX_HORIZON, AppClient

JSON_LENGTH_HEADER = "inference-header-content-length"
INFER_PATH = "/v2/models/default/infer"
ROWS = np.array([EXAMPLE_WINDOW, EXAMPLE_WINDOW[::-1], [price * 1000 for price in EXAMPLE_WINDOW]])  # (3, 60)


def json_request(rows: F64 = ROWS, **fields: Any) -> dict[str, Any]:
    """Build a request body with the prices as JSON numbers."""
    tensor = {"name": "prices", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    return {"inputs": [tensor]} | fields


def binary_request(rows: F64 = ROWS, datatype: str = "<f8", **fields: Any) -> dict[str, Any]:
    """Build a request with the prices as binary data, as arguments of `AppClient.post`."""
    content = rows.astype(datatype).tobytes()
    tensor = {
        "name": "prices",
        "shape": list(rows.shape),
        "datatype": "FP64" if datatype == "<f8" else "FP32",
        "parameters": {"binary_data_size": len(content)},
    }
    json_part = json.dumps({"inputs": [tensor]} | fields).encode()
    return {"content": json_part + content, "headers": {JSON_LENGTH_HEADER: str(len(json_part))}}


def read_outputs(response: httpx.Response) -> dict[str, F64]:
    """Decode the outputs of a response by name, in order, from JSON or binary data."""
    assert response.status_code == 200, response.text
    is_binary = JSON_LENGTH_HEADER in response.headers
    length = int(response.headers.get(JSON_LENGTH_HEADER, len(response.content)))
    assert response.headers["content-type"] == ("application/octet-stream" if is_binary else "application/json")
    outputs = {}
    for output in json.loads(response.content[:length])["outputs"]:
        assert output["datatype"] == "FP64"
        if "data" in output:
            values = np.array(output["data"])
        else:
            end = length + output["parameters"]["binary_data_size"]
            values = np.frombuffer(response.content[length:end])
            length = end
        outputs[output["name"]] = values.reshape(output["shape"])
    return outputs


def error_message(response: httpx.Response, status: int = 400) -> str:
    """Check the form of an error response and return its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    return str(body["error"])


def predict_quantiles(client: AppClient | httpx.Client, rows: F64 = ROWS, horizon: int = MAX_HORIZON) -> F64:
    """Forecast windows (B, W) with /predict/batch, and return the quantiles, of shape (B, H, Q)."""
    levels = client.get("/models/default").json()["levels"]
    body = {"series": [{"prices": row} for row in rows.tolist()], "horizon": horizon, "levels": levels}
    quantiles = []
    for forecast in client.post("/predict/batch", json=body).json()["forecasts"]:
        bounds = [forecast["intervals"][str(level)] for level in levels]
        lower, upper = [each["lower"] for each in reversed(bounds)], [each["upper"] for each in bounds]
        quantiles.append(np.array([*lower, forecast["forecast"], *upper]).T)
    return np.stack(quantiles)
