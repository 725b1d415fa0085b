"""`python -m benchmarks.start`: from process start to ready, and the memory it then takes, with the shipped models."""

import statistics
import time

import httpx
import psutil

from tests.server import ServerProcess

STARTS = 7


def main() -> None:
    seconds, mebibytes = [], []
    for _ in range(STARTS):
        server = ServerProcess()
        try:
            url = server.wait_until_listening()
            assert httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
            seconds.append(time.monotonic() - server.started_at)
            mebibytes.append(psutil.Process(server.process.pid).memory_info().rss / 2**20)
        finally:
            server.stop()
    for name, values, unit in (("ready after", seconds, "s"), ("resident", mebibytes, "MiB")):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:12} {middle:8.2f} {unit:4} (median of {STARTS}; {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
