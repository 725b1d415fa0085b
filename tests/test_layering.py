"""The layering, as the contracts in pyproject.toml state it."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.server_process import ROOT


def test_imports_point_down() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command is not None
    checked = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
