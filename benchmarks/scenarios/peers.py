"""`python -m benchmarks.scenarios.peers`: Pricecast compared with other servers of the same network."""

from benchmarks.reporting.chart import draw_chart
from benchmarks.scenarios.serving import build_parser, run_benchmark, save_report
from benchmarks.servers.catalog import own_servers
from benchmarks.servers.peer_catalog import peer_servers


def main() -> None:
    """Run the benchmark from the command line."""
    options = build_parser(__doc__, load_s=2, budget_s=2700).parse_args()
    run = run_benchmark("Pricecast compared with its peers", [*own_servers(), *peer_servers()], options)
    save_report(run, options.out, "peers")
    draw_chart(run, options.out / "peers.png")


if __name__ == "__main__":
    main()
