"""`python -m benchmarks.peers`: Pricecast, its ceilings and its peers, measured side by side."""

from benchmarks.chart import draw
from benchmarks.peers.subjects import peers
from benchmarks.serving import keep, measured, options
from benchmarks.subjects import own


def main() -> None:
    given = options(__doc__, seconds=2, budget_s=2700).parse_args()
    run = measured("Pricecast beside its peers", [*own(), *peers()], given)
    keep(run, given.out, "peers")
    draw(run, given.out / "peers.png")


if __name__ == "__main__":
    main()
