"""Server processes, each started in its own process group and stopped together with all its descendants."""

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

ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.executable)
STOP_TIMEOUT_S = 15.0  # a server that has not exited by then is killed
TAIL_BYTES = 1500
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class MemoryUsage:
    """Memory of all processes of a server, in MiB.

    Attributes:
        processes: Number of processes.
        rss_mib: Resident set sizes added up; shared pages count once per process.
        pss_mib: Proportional set sizes added up; shared pages count once. None except on Linux.
    """

    processes: int
    rss_mib: float
    pss_mib: float | None


class RunningServer:
    """A running server process and its descendants."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        """Start the server.

        Args:
            command: Program and arguments.
            environment: Variables added to those of this process. PRICECAST_* variables are not inherited.
            directory: Working directory.
        """
        self._before = set(_descendants())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 — closed by stop
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            command, cwd=directory, env=environment_without_settings() | dict(environment),
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip

    @property
    def has_exited(self) -> bool:
        """Whether the process that was started has exited."""
        return self._process.poll() is not None

    def output_tail(self) -> str:
        """Return the last 1,500 bytes of what the server printed."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()

    def memory_usage(self) -> MemoryUsage:
        """Add up the memory of all processes."""
        rss_bytes, pss_bytes, count = 0, 0, 0
        has_pss = sys.platform == "linux"
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                info = process.memory_full_info()
                rss_bytes, count = rss_bytes + info.rss, count + 1
                pss_bytes += getattr(info, "pss", 0)
        return MemoryUsage(count, rss_bytes / 2**20, pss_bytes / 2**20 if has_pss else None)

    def cpu_s(self) -> float:
        """Return the processor time, user and system, that all processes have used so far, in seconds."""
        total_s = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                used = process.cpu_times()
                total_s += used.user + used.system
        return total_s

    def stop(self) -> None:
        """Terminate the process group, then kill every process that remains, whether in the group or not."""
        processes = self._processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        for process in {*processes, *self._processes()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(self._processes(), timeout=STOP_TIMEOUT_S)
        self._log.close()

    def _processes(self) -> list[psutil.Process]:
        """List the process and its descendants, including orphans that this process has adopted."""
        return [process for process in _descendants() if process not in self._before]


def prevent_orphans() -> None:
    """Make sure that no server outlives this process.

    SIGTERM exits in an orderly way, as Ctrl-C does, so that `finally` blocks stop the servers. On Linux this process
    also adopts descendants whose parent exits.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def environment_without_settings() -> dict[str, str]:
    """Return this process's environment variables except settings of the service, which would change its behavior."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PRICECAST_")}


def free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
