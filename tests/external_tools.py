"""Programs that some tests need and that no package brings."""

import os
import shutil

import pytest


def tool(*names: str) -> str:
    """The path of the first of these programs that there is.

    Without any the test is skipped, and says so; where TOOLS_REQUIRED is set, as in .ci/run, it fails.
    """
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        assert not os.environ.get("TOOLS_REQUIRED"), f"no {names[0]} on the PATH, and TOOLS_REQUIRED is set"
        pytest.skip(f"no {names[0]} on the PATH; on Debian: apt-get install {names[0]}")
    return found
