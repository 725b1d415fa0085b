"""Server processes: started in a group of their own, weighed, and stopped with whatever they have started."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_S = 15.0  # a server may take so long to leave before it is killed
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Weight:
    """Memory of all processes of a server, in MiB. What processes share is in `rss` once for each, in `pss` once."""

    processes: int
    rss_mib: float
    pss_mib: float | None  # None where the system does not tell


class Server:
    """A running server process, and its descendants."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        """Starts it. What it prints is kept in a file, so that it can be told if it fails."""
        self._before = set(_children())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 — closed by stop
        self.started_at = time.monotonic()
        # Settings of ours are set by the subject alone; what the caller has set would be measured unseen.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PRICECAST_")}
        self._process = subprocess.Popen(
            command, cwd=directory, env=inherited | dict(environment),
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def said(self) -> str:
        """The end of what it printed."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 1500))
        return self._log.read().decode(errors="replace").strip()

    def weight(self) -> Weight:
        rss_bytes, pss_bytes, count = 0, 0, 0
        knows_pss = sys.platform == "linux"
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                full = process.memory_full_info()
                rss_bytes, count = rss_bytes + full.rss, count + 1
                pss_bytes += getattr(full, "pss", 0)
        return Weight(count, rss_bytes / 2**20, pss_bytes / 2**20 if knows_pss else None)

    def cpu_s(self) -> float:
        """Return the processor time in seconds, user and system, that all its processes have used so far."""
        total_s = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                used = process.cpu_times()
                total_s += used.user + used.system
        return total_s

    def stop(self) -> None:
        """Asks the process group to leave; what is still there after STOP_S, or has left the group, is killed."""
        family = self._family()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        for process in {*family, *self._family()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(self._family(), timeout=STOP_S)
        self._log.close()

    def _family(self) -> list[psutil.Process]:
        """The process and all its descendants, also those that were orphaned and so became ours."""
        return [process for process in _children() if process not in self._before]


def guard() -> None:
    """From now on nothing that was started gets away: SIGTERM stops servers on the way out, as Ctrl-C does, and a
    descendant whose parent ends becomes our child (Linux only)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
