"""The service over HTTP. Its routes are given a registry of models, each with a batcher of windows in front."""

from app.batching import Batcher
from app.forecaster import Answer
from app.registry import Registry

WindowBatcher = Batcher[bytes, Answer]  # packed windows in
Models = Registry[WindowBatcher]
