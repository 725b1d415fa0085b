"""`python -m benchmarks.scenarios.startup`: from process start to ready, and the memory it then takes, with the shipped models."""

import argparse
import time
from collections.abc import Iterator

from benchmarks.servers.pricecast import Figures, pricecast, tell


def measure(starts: int) -> Iterator[Figures]:
    for _ in range(starts):
        with pricecast() as (_, server):
            ready_s = time.monotonic() - server.started_at
            yield {"ready_s": ready_s, "resident_mib": server.weight().rss_mib}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--starts", type=int, default=7)
    tell(measure(parser.parse_args().starts))


if __name__ == "__main__":
    main()
