"""`python -m benchmarks.scenarios.startup`: time from process start to ready, and memory, with the shipped models."""

import argparse
import time
from collections.abc import Iterator

from benchmarks.reporting.rounds import Figures, print_rounds
from benchmarks.servers.pricecast import running_pricecast


def measure_starts(starts: int) -> Iterator[Figures]:
    """Start and stop the service several times, and yield the figures of each start."""
    for _ in range(starts):
        with running_pricecast() as (_, server):
            ready_s = time.monotonic() - server.started_at
            yield {"ready_s": ready_s, "resident_mib": server.memory_usage().rss_mib}


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--starts", type=int, default=7, help="number of starts")
    print_rounds(measure_starts(parser.parse_args().starts))


if __name__ == "__main__":
    main()
