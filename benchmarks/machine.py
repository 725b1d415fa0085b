"""What a measurement was made on."""

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

ASK_VERSIONS = (
    "import importlib.metadata as m, json, platform, sys;"
    "print(json.dumps({'python': platform.python_version()} | {n: m.version(n) for n in sys.argv[1:]}))"
)


def description() -> dict[str, str]:
    """The machine and the software under all subjects, for the report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
        "load before": f"{os.getloadavg()[0]:.1f}",  # of other work: near 0, or the figures are of a shared machine
        "python": platform.python_version(),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
    }


def versions(python: Path, distributions: Sequence[str]) -> dict[str, str]:
    """Versions of what is installed for that interpreter.

    Raises:
        subprocess.CalledProcessError: one of them is not installed.
    """
    command = [str(python), "-c", ASK_VERSIONS, *distributions]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
