"""The way of tutorials: `model.predict` of Keras in an endpoint, and the scaler as it was saved."""

from pathlib import Path
from typing import Annotated

import joblib
import keras
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field

TUTORIAL = Path(__file__).parents[3] / "models" / "tutorial"
ARTIFACT = TUTORIAL / (TUTORIAL / "current").read_text(encoding="ascii").strip()
Window = Annotated[list[float], Field(min_length=60, max_length=60)]

model = keras.models.load_model(ARTIFACT / "model.keras")
scaler = joblib.load(ARTIFACT / "scaler.joblib")
app = FastAPI()


class Asked(BaseModel):
    windows: list[Window]


class Answered(BaseModel):
    forecasts: list[float]


@app.post("/predict")
def predict(asked: Asked) -> Answered:
    prices = np.array(asked.windows)  # (B, 60)
    scaled = scaler.transform(prices.reshape(-1, 1)).reshape(*prices.shape, 1)
    outputs = model.predict(scaled, verbose=0)
    return Answered(forecasts=scaler.inverse_transform(outputs.reshape(-1, 1))[:, 0].tolist())
