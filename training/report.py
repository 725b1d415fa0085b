"""What a person looks at: pictures of a backtest, and a page that explains them."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from app.artifact.manifest import Evidence
from training.backtest import Backtest, is_lagged_copy, rmse_ratio, table
from training.fit import Curve

LAST_DAYS = 120  # steps drawn in the close-up
MODEL, REAL, BASELINE = "#c2410c", "#111827", "#6b7280"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #111827 }}
 img {{ max-width: 100% }} pre {{ overflow-x: auto; background: #f3f4f6; padding: 1rem; font-size: 13px }}
 .summary {{ font-size: 1.2rem; border-left: 4px solid {color}; padding-left: 1rem }}
</style>
<h1>{title}</h1>
<p>{description}</p>
<p class="summary">{summary}</p>
<h2>Real and predicted</h2>
<p>One step ahead, always from true previous prices, on prices that nothing was fitted or chosen on.{lag}</p>
<img src="real-vs-predicted.png" alt="real and predicted prices">
<h2>Error against repeating the last price</h2>
<p>RMSE of the median over RMSE of the last price. Below 1 is better than repeating it.</p>
<img src="error.png" alt="error against the baseline, by instrument and horizon">
<h2>Training</h2>
<img src="loss.png" alt="loss by epoch">
<h2>Figures</h2>
<p>skill = 1 − MSE(model)/MSE(last price) in log returns; p is the chance of so much without any (Diebold-Mariano);
copy = how far the forecasts go from the last price, 0 repeats it; N% = outcomes inside that interval; pinball/RW =
pinball loss over that of a random walk with EWMA volatility.</p>
<pre>{table}</pre>
</html>
"""


def write(
    directory: Path, title: str, description: str, tests: Sequence[Backtest], curve: Curve, shown: Evidence
) -> None:
    """Writes report.html and its pictures."""
    _real_vs_predicted(tests[0]).savefig(directory / "real-vs-predicted.png", dpi=110)
    _errors(shown).savefig(directory / "error.png", dpi=110)
    _losses(curve).savefig(directory / "loss.png", dpi=110)
    copies = [s.instrument for s in shown.scores if s.horizon == 1 and is_lagged_copy(s)]
    lag = f" Those of {', '.join(copies)} follow the last price, one step late." if copies else ""
    page = PAGE.format(
        title=html.escape(title),
        description=html.escape(description),
        summary=html.escape(shown.summary),
        color=BASELINE if shown.point_skill == "none" else MODEL,
        lag=html.escape(lag),
        table=html.escape(table(shown.scores)),
    )
    (directory / "report.html").write_text(page, encoding="utf-8")


def _real_vs_predicted(test: Backtest) -> Figure:
    figure = Figure(figsize=(10, 8), layout="constrained")
    whole, close = figure.subplots(2, 1)
    samples = test.samples
    dates = samples.series.dates
    x: Any = samples.origins + 1 if dates is None else dates[samples.origins + 1]
    real, median, last = samples.futures[:, 0], test.median[:, 0], samples.windows[:, -1]
    for axes, part in ((whole, slice(None)), (close, slice(-LAST_DAYS, None))):
        if test.levels:
            lower, upper = (side[part, 0] for side in test.interval(test.levels[-1]))
            axes.fill_between(
                x[part], lower, upper, color=MODEL, alpha=0.15, lw=0, label=f"{test.levels[-1]}% interval"
            )
        axes.plot(x[part], real[part], color=REAL, lw=1.2, label="real")
        axes.plot(x[part], median[part], color=MODEL, lw=1.0, label="predicted (median)")
    close.plot(x[-LAST_DAYS:], last[-LAST_DAYS:], color=BASELINE, lw=1.0, ls=":", label="last price repeated")
    whole.set_title(f"{_plain(samples.series.name)}: {len(samples)} unseen steps")
    close.set_title(f"the last {min(LAST_DAYS, len(samples))}")
    close.legend()
    return figure


def _errors(shown: Evidence) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    instruments = list(dict.fromkeys(score.instrument for score in shown.scores))
    horizons = sorted({score.horizon for score in shown.scores})
    width = 0.8 / len(horizons)
    for i, horizon in enumerate(horizons):
        ratios = [rmse_ratio(s) for s in shown.scores if s.horizon == horizon]
        places = np.arange(len(instruments)) - 0.4 + (i + 0.5) * width
        axes.bar(places, ratios, width * 0.9, color=MODEL, alpha=1 - 0.7 * i / len(horizons), label=f"{horizon} ahead")
    axes.axhline(1, color=BASELINE, ls=":")
    axes.set_xticks(np.arange(len(instruments)), [_plain(name) for name in instruments])
    axes.set_ylabel("RMSE / RMSE of the last price")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _losses(curve: Curve) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    epochs = np.arange(1, len(curve.loss) + 1)
    axes.plot(epochs, curve.loss, color=MODEL, label="training")
    if curve.validation:
        axes.plot(epochs, curve.validation, color=REAL, label="validation")
        axes.axvline(curve.best + 1, color=BASELINE, ls=":", label="weights kept")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend()
    return figure


def _plain(name: str) -> str:
    """A name as it is: Matplotlib reads what stands between dollar signs as a formula."""
    return name.replace("$", r"\$")
