import sys
from pathlib import Path

from benchmarks.processes import RunningServer
from tests.server_process import wait_until


def test_processor_time_grows_while_process_computes(tmp_path: Path) -> None:
    server = RunningServer([sys.executable, "-uc", "import time\nwhile True: time.process_time()"], {}, tmp_path)
    try:
        wait_until("the process uses processor time", lambda: server.cpu_s() > 0.05)
    finally:
        server.stop()
