"""One picture of a run: requests per second at 64 connections."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from benchmarks.reporting.report import Run

# Blue, orange and grey, which differ in lightness as well: they are told apart by everybody, and in print.
COLOURS = {"pricecast": "#0b5394", "peer": "#e69138", "ceiling": "#b7b7b7"}
MEANINGS = {"pricecast": "Pricecast", "peer": "other servers, the same network", "ceiling": "no forecast: a constant"}
CELL, FIGURE = "64", "requests_per_s"


def draw(run: Run, path: Path) -> None:
    """Horizontal bars, the fastest above, with the figure at each; on a logarithmic axis. Nothing where nothing was."""
    bars = []
    for subject in run.subjects:
        if (spread := run.measurements.spread(subject.name, CELL, FIGURE)) is not None:
            told = f"{subject.label}, {subject.processes} processes" if subject.processes > 1 else subject.label
            bars.append((spread.median, told, subject.kind))
    if not bars:
        return
    bars.sort()
    mpl.use("agg")
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.42 * len(bars)), layout="constrained")
    rates = [rate for rate, _, _ in bars]
    drawn = axes.barh([told for _, told, _ in bars], rates, color=[COLOURS[kind] for _, _, kind in bars])
    axes.bar_label(drawn, labels=[f"{rate:,.0f}" for rate in rates], padding=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.01)
    axes.set_xlim(min(rates) / 2, max(rates) * 2.5)
    axes.set_xlabel("requests per second at 64 connections (logarithmic; more is better)")
    axes.set_title(f"One window a request, {run.machine['cores']} cores, {run.machine['date'][:10]}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    kinds = [kind for kind in COLOURS if any(kind == each for _, _, each in bars)]
    patches = [Patch(color=COLOURS[kind]) for kind in kinds]
    axes.legend(patches, [MEANINGS[kind] for kind in kinds], loc="lower right", frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
