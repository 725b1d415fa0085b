"""`python -m benchmarks.scenarios.against_commit TREE`: compare this working tree with a checkout of another commit.

The trees are measured in pairs, in alternating order, because the speed of a shared machine changes within seconds.
The report gives the median and range of the ratios within pairs, and their geometric mean with a 90% confidence
interval. If the interval contains 1, the trees do not differ measurably.

To check out another commit: `git worktree add ../before COMMIT`.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from scipy import stats

from benchmarks import machine, processes
from benchmarks.load_generator import Generator, LoadSpec, choose_generator, generate_load
from benchmarks.measurements import compute_spread
from benchmarks.processes import PYTHON, ROOT
from benchmarks.servers.pricecast import StartFailed, running_pricecast
from benchmarks.windows import POOL_WINDOWS, WINDOW, random_walks

CONFIDENCE = 0.90
WARM_S = 1.0
TIMEOUT_S = 10.0
PRINT_APP_PATH = "import app; print(app.__file__)"


class NotComparable(Exception):
    """The trees cannot be compared. The message has the reason."""


@dataclass(frozen=True)
class Figures:
    """Figures of one run of one tree."""

    requests_per_s: float
    cpu_us_per_request: float  # of all processes of the server, not of the load generator
    ready_s: float  # from process start to the first 200 of /health/ready
    rss_mib: float  # after the load


@dataclass(frozen=True)
class Pair:
    """One run of each tree, one right after the other."""

    this: Figures
    other: Figures

    def ratios(self) -> dict[str, float]:
        """Divide each figure of this tree by the figure of the other tree."""
        this, other = asdict(self.this), asdict(self.other)
        return {name: this[name] / other[name] for name in this}


@dataclass(frozen=True)
class RatioSummary:
    """Ratios of one figure over all pairs. 1 means no difference."""

    median: float
    low: float  # least and greatest ratio of a pair
    high: float
    mean: float  # geometric
    mean_low: float  # ends of its 90% confidence interval
    mean_high: float


def summarize(ratios: Sequence[float]) -> RatioSummary:
    """Summarize the ratios of all pairs.

    The interval is Student's t interval of the mean logarithm, so that swapping the two trees gives the reciprocals.

    Raises:
        ValueError: Fewer than two ratios have no interval.
    """
    if len(ratios) < 2:
        raise ValueError("at least two ratios are needed for an interval")
    found = compute_spread(ratios)
    assert found is not None
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1)) * error
    return RatioSummary(
        found.median, found.low, found.high, math.exp(mean), math.exp(mean - half), math.exp(mean + half)
    )


def summarize_pairs(pairs: Sequence[Pair]) -> dict[str, RatioSummary]:
    """Summarize each figure's ratios.

    Raises:
        ValueError: There are fewer than two pairs.
    """
    ratios = [pair.ratios() for pair in pairs]
    return {name: summarize([each[name] for each in ratios]) for name in asdict(pairs[0].this)} if ratios else {}


def format_pair(number: int, pair: Pair) -> str:
    """Format the figures of both trees, this tree's first, and their ratios."""
    this, other, ratios = asdict(pair.this), asdict(pair.other), pair.ratios()
    parts = (f"{name} {this[name]:,.6g} / {other[name]:,.6g} = {ratios[name]:.3f}" for name in this)
    return ", ".join(chain([f"pair {number}"], parts))


def format_summaries(summaries: Mapping[str, RatioSummary]) -> str:
    """Format one line for each figure."""
    head = f"{'this tree / other tree':24}{'median':>8}  {'(min to max)':20}{'mean':>8}  90% interval"
    lines = (
        f"{name:24}{each.median:8.3f}  {f'({each.low:.3f} to {each.high:.3f})':20}{each.mean:8.3f}  "
        f"{each.mean_low:.3f} to {each.mean_high:.3f}"
        for name, each in summaries.items()
    )
    return "\n".join([head, *lines])


def measure_pairs(measure: Callable[[Path], Figures], this: Path, other: Path, pairs: int) -> Iterator[Pair]:
    """Measure both trees in each pair, in alternating order.

    Args:
        measure: Runs the service of a tree and returns its figures.
        this: Directory of the tree under test.
        other: Directory of the tree to compare with.
        pairs: Number of times to measure both.
    """
    for number in range(pairs):
        order = (this, other) if number % 2 == 0 else (other, this)
        figures = {tree: measure(tree) for tree in order}
        yield Pair(figures[this], figures[other])


@dataclass(frozen=True)
class Measurer:
    """Runs the service of a tree under load.

    Attributes:
        bodies: File of request bodies, one per line.
        connections: Number of connections. Each sends its next request after the response to the last one.
        seconds: Duration of the load, after a warm-up.
    """

    generator: Generator
    bodies: Path
    connections: int
    seconds: float

    def __call__(self, tree: Path) -> Figures:
        """Start the service of `tree`, warm it, load it, and stop it.

        Raises:
            NotComparable: A request failed.
            StartFailed: The service does not start.
        """
        with running_pricecast(tree) as (url, server):
            ready_s = time.monotonic() - server.started_at
            self._load(url, WARM_S)
            before_s = server.cpu_s()
            requests, requests_per_s = self._load(url, self.seconds)
            cpu_s = server.cpu_s() - before_s
            return Figures(requests_per_s, cpu_s * 1e6 / requests, ready_s, server.memory_usage().rss_mib)

    def _load(self, url: str, seconds: float) -> tuple[int, float]:
        """Return the number of requests with a response, and their rate."""
        spec = LoadSpec(f"{url}/predict", self.bodies, self.connections, seconds, TIMEOUT_S)
        found = generate_load(self.generator, spec)
        if found.failure:
            raise NotComparable(f"the load failed: {found.failure}")
        return found.requests, found.requests_per_s


def write_bodies(path: Path) -> None:
    """Write different single-window requests to `/predict`, one per line."""
    windows = random_walks(POOL_WINDOWS, WINDOW).tolist()
    path.write_text("".join(json.dumps({"prices": window}) + "\n" for window in windows))


def check_tree(tree: Path) -> str:
    """Check that Python imports `app` from a tree, and return the tree's commit.

    Raises:
        NotComparable: Python imports another `app`, or none.
    """
    found = subprocess.run(
        [str(PYTHON), "-c", PRINT_APP_PATH], cwd=tree, capture_output=True, text=True, check=False
    ).stdout.strip()
    if not found or not Path(found).resolve().is_relative_to(tree.resolve()):
        raise NotComparable(f"Python should import app from {tree}, and imports {found or 'nothing'}")
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=tree, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown commit"


def _at_least_two(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError("at least 2 pairs are needed for an interval")
    return number


def main() -> None:
    """Measure both trees and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path, metavar="TREE", help="directory of the other checkout")
    parser.add_argument("--pairs", type=_at_least_two, default=10, help="runs of each tree (default: 10)")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of the load in each run (default: 4)")
    parser.add_argument("--connections", type=int, default=64, help="number of connections (default: 64)")
    parser.add_argument("--load", choices=("wrk", "asyncio"), help="load generator (default: wrk if installed)")
    given = parser.parse_args()
    processes.prevent_orphans()
    generator = choose_generator(given.load)
    print(json.dumps(machine.describe_machine() | {"generator": generator}))
    try:
        for name, tree in (("this tree", ROOT), ("other tree", given.tree)):
            print(f"{name}: {check_tree(tree)}, {tree.resolve()}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            bodies = Path(directory) / "bodies.jsonl"
            write_bodies(bodies)
            measurer = Measurer(generator, bodies, given.connections, given.seconds)
            pairs = []
            for pair in measure_pairs(measurer, ROOT, given.tree.resolve(), given.pairs):
                pairs.append(pair)
                print(format_pair(len(pairs), pair), flush=True)
    except (NotComparable, StartFailed) as error:
        sys.exit(str(error))
    print(format_summaries(summarize_pairs(pairs)))


if __name__ == "__main__":
    main()
