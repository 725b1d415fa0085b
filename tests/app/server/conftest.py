"""Servers and prices that several tests of this package share."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from app.artifact.arrays import F64
from tests.server_process import ServerProcess, running_server


def random_windows(count: int, seed: int = 7) -> F64:
    """Return distinct windows of very different scales and volatilities, of shape (count, 60)."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=rng.uniform(0.001, 0.04, (count, 1)), size=(count, 60))
    prices: F64 = rng.uniform(0.001, 60_000, (count, 1)) * np.exp(steps.cumsum(axis=1))
    return prices


@pytest.fixture(scope="package")
def server() -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """A server with default settings, and a client for it."""
    with running_server() as server_and_client:
        yield server_and_client
