"""The service over HTTP. Its routes are given a registry of models, each with a runner in front."""

from app.registry import Model, Registry
from app.runner import Runner

Models = Registry[Runner]
ServedModel = Model[Runner]
