"""The service over HTTP. Its routes are given a registry of models, each with a batcher of windows in front."""

from app.artifact.transform import F64
from app.batching import Batcher
from app.registry import Registry

WindowBatcher = Batcher[F64, F64]  # (W,) prices in, (H, Q) prices out
Models = Registry[WindowBatcher]
