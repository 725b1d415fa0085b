"""Bar chart of requests per second at 64 connections."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from benchmarks.reporting.report import RunReport

# Blue, orange and grey also differ in lightness, so they can be told apart in print and with color blindness.
COLORS = {"pricecast": "#0b5394", "peer": "#e69138", "upper bound": "#b7b7b7"}
LEGEND = {
    "pricecast": "Pricecast",
    "peer": "other servers, same network",
    "upper bound": "no forecast, constant answer",
}
SCENARIO, FIGURE = "64", "requests_per_s"


def draw_chart(report: RunReport, path: Path) -> None:
    """Draw horizontal bars on a logarithmic axis, the fastest server on top. Draw nothing if nothing was measured.

    Args:
        report: The run.
        path: PNG file to write.
    """
    bars = []
    for server in report.servers:
        if (spread := report.measurements.spread(server.name, SCENARIO, FIGURE)) is not None:
            label = f"{server.label}, {server.processes} processes" if server.processes > 1 else server.label
            bars.append((spread.median, label, server.kind))
    if not bars:
        return
    bars.sort()
    mpl.use("agg")
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.42 * len(bars)), layout="constrained")
    rates = [rate for rate, _, _ in bars]
    drawn = axes.barh([label for _, label, _ in bars], rates, color=[COLORS[kind] for _, _, kind in bars])
    axes.bar_label(drawn, labels=[f"{rate:,.0f}" for rate in rates], padding=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.01)
    axes.set_xlim(min(rates) / 2, max(rates) * 2.5)
    axes.set_xlabel("requests per second at 64 connections (logarithmic; more is better)")
    title = f"One window per request, {report.machine['cores']} cores, {report.machine['date'][:10]}"
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    kinds = [kind for kind in COLORS if any(kind == each for _, _, each in bars)]
    patches = [Patch(color=COLORS[kind]) for kind in kinds]
    axes.legend(patches, [LEGEND[kind] for kind in kinds], loc="lower right", frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
