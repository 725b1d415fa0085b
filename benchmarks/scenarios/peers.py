"""`python -m benchmarks.scenarios.peers`: Pricecast, its ceilings and its peers, measured side by side."""

from benchmarks.reporting.chart import draw
from benchmarks.scenarios.serving import keep, measured, options
from benchmarks.servers.peer_catalog import peers
from benchmarks.servers.spec import own


def main() -> None:
    given = options(__doc__, seconds=2, budget_s=2700).parse_args()
    run = measured("Pricecast beside its peers", [*own(), *peers()], given)
    keep(run, given.out, "peers")
    draw(run, given.out / "peers.png")


if __name__ == "__main__":
    main()
