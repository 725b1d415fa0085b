import pytest

from benchmarks.windows import WindowPool


@pytest.fixture(scope="session")
def pool() -> WindowPool:
    """Windows with their forecasts. Computing thousands of forecasts takes a while, so once per session."""
    return WindowPool.generate()
