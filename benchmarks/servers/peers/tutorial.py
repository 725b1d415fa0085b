"""A FastAPI endpoint as tutorials show it: Keras's `model.predict`, and the scaler loaded with joblib."""

from pathlib import Path
from typing import Annotated

import joblib
import keras
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field

MODEL_DIR = Path(__file__).parents[3] / "models" / "tutorial"
ARTIFACT = MODEL_DIR / (MODEL_DIR / "current").read_text(encoding="ascii").strip()
Window = Annotated[list[float], Field(min_length=60, max_length=60)]

model = keras.models.load_model(ARTIFACT / "model.keras")
scaler = joblib.load(ARTIFACT / "scaler.joblib")
app = FastAPI()


class ForecastRequest(BaseModel):
    """One or more windows."""

    windows: list[Window]


class ForecastResponse(BaseModel):
    """One forecast for each window."""

    forecasts: list[float]


@app.post("/predict")
def predict(request: ForecastRequest) -> ForecastResponse:
    """Forecast the windows of one request."""
    prices = np.array(request.windows)  # (B, 60)
    scaled = scaler.transform(prices.reshape(-1, 1)).reshape(*prices.shape, 1)
    outputs = model.predict(scaled, verbose=0)
    return ForecastResponse(forecasts=scaler.inverse_transform(outputs.reshape(-1, 1))[:, 0].tolist())
