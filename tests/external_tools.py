"""Lookup of programs that some tests need and that no Python package installs."""

import os
import shutil

import pytest


def require_tool(*names: str) -> str:
    """Return the path of the first of these programs that is installed.

    If none is installed, the test is skipped, or fails if the environment variable TOOLS_REQUIRED is set, as it is in
    .ci/run.
    """
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        assert not os.environ.get("TOOLS_REQUIRED"), f"{names[0]} is not on the PATH, and TOOLS_REQUIRED is set"
        pytest.skip(f"{names[0]} is not on the PATH; on Debian: apt-get install {names[0]}")
    return found
