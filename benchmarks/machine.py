"""The machine and the software that a benchmark ran on."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

PRINT_VERSIONS = (
    "import importlib.metadata as m, json, platform, sys;"
    "print(json.dumps({'python': platform.python_version()} | {n: m.version(n) for n in sys.argv[1:]}))"
)


def describe_machine() -> dict[str, str]:
    """Describe the machine and the software that all servers share."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
        "load before": f"{os.getloadavg()[0]:.1f}",  # well above 0 if other programs used the machine
        "python": platform.python_version(),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
    }


def installed_versions(python: Path, distributions: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of some distributions in the environment of an interpreter.

    Raises:
        subprocess.CalledProcessError: A distribution is not installed there.
    """
    command = [str(python), "-c", PRINT_VERSIONS, *distributions]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
