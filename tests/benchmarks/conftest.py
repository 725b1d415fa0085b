import pytest

from benchmarks.windows import Windows


@pytest.fixture(scope="session")
def windows() -> Windows:
    """The pool, with its forecasts: made once, as thousands are computed."""
    return Windows.made()
