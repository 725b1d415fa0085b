"""The HTML report of an evaluation, and its charts."""

import html
from collections.abc import Sequence
from pathlib import Path

from app.artifact.evidence import Curve, Evidence, Score
from training.evaluation.backtest import Backtest
from training.evaluation.summary import is_lagged_copy
from training.reports import charts, forecast_plots
from training.reports.plot_style import BASELINE, MODEL, save_png
from training.reports.score_tables import detail_tables, levels_of, overview_table

MIN_COPY_RATIO = 0.005  # below this copy ratio, the report says that the median repeats the last price

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #111827 }}
 img {{ max-width: 100% }} h2 {{ margin-top: 2.5rem }}
 .summary {{ font-size: 1.2rem; border-left: 4px solid {color}; padding-left: 1rem }}
 .wide {{ overflow-x: auto }} h3 + p {{ color: #4b5563; font-size: 14px; max-width: 60rem }}
 table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }}
 th, td {{ text-align: right; padding: 2px 10px; white-space: nowrap; border-bottom: 1px solid #e5e7eb }}
 th {{ background: #f3f4f6 }} th:first-child, td:first-child {{ text-align: left }}
</style>
<h1>{title}</h1>
<p class="summary">{summary}</p>
<p>{description}</p>
{sections}
</html>
"""


def write_report(
    directory: Path,
    title: str,
    description: str,
    backtests: Sequence[Backtest],
    curve: Curve | None,
    evidence: Evidence,
) -> None:
    """Write report.html and its charts.

    Args:
        directory: The directory to write to, which must exist.
        title: The title of the page.
        description: A paragraph below the summary.
        backtests: The backtests that the evidence was computed from.
        curve: The training and validation losses, or None to omit the section on training.
        evidence: The figures to report.
    """
    scores = evidence.scores
    has_levels = bool(levels_of(scores))
    figures = {
        "real-vs-predicted.png": forecast_plots.plot_real_and_predicted(backtests),
        "error.png": charts.plot_errors(scores),
    }
    sections = [
        _section(
            "Real and predicted prices",
            "All forecasts are one step ahead, from real prices. Neither fitting nor model selection used the prices "
            "shown. " + lag_sentence(scores),
            "real-vs-predicted.png",
        )
    ]
    if has_levels:
        figures["fan.png"] = forecast_plots.plot_fan(backtests[0])
        sections.append(
            _section(
                "Intervals",
                "Each band should contain the given percentage of the real prices. Wider bands have a paler color.",
                "fan.png",
            )
        )
    sections.append(
        _section(
            "Error against baselines",
            "Below 1, the model is better than the baseline. Lines are 95% confidence intervals from a stationary "
            "bootstrap. If a line crosses 1, the difference is not significant. RMSE is measured in log returns, and "
            "the pinball loss is divided by the last price.",
            "error.png",
        )
    )
    if has_levels:
        figures |= {"coverage.png": charts.plot_coverage(scores), "pit.png": charts.plot_pit(scores)}
        sections += [
            _section(
                "Coverage",
                "Percentage of real prices inside an interval minus the level of the interval, with 95% binomial "
                "confidence intervals. Above 0, the interval is too wide. Below 0, it is too narrow. The charts by "
                "volatility group the windows of each instrument into thirds.",
                "coverage.png",
            ),
            _section(
                "Calibration",
                "Observed frequency of real prices between neighboring quantiles, divided by the expected frequency "
                "(probability integral transform, PIT). If the outermost bars are higher than 1, the intervals are too "
                "narrow. If they are lower, the intervals are too wide.",
                "pit.png",
            ),
        ]
    if curve is not None:
        figures["loss.png"] = charts.plot_training_losses(curve)
        sections.append(_section("Training", "Loss by epoch.", "loss.png"))
    tables = [overview_table(scores), *detail_tables(scores)]
    sections.append("<h2>Figures</h2>\n" + "\n".join(table.to_html() for table in tables))
    for name, figure in figures.items():
        save_png(figure, directory / name)
    page = PAGE.format(
        title=html.escape(title),
        description=html.escape(description),
        summary=html.escape(evidence.summary),
        color=BASELINE if evidence.point_skill == "none" else MODEL,
        sections="\n".join(sections),
    )
    (directory / "report.html").write_text(page, encoding="utf-8")


def lag_sentence(scores: Sequence[Score]) -> str:
    """State for which instruments the median repeats the last price, is a lagged copy of the price, or neither."""
    one_step = [s for s in scores if s.horizon == 1]
    repeating = [s for s in one_step if s.copy_ratio < MIN_COPY_RATIO]
    lagging = [s for s in one_step if s.copy_ratio >= MIN_COPY_RATIO and is_lagged_copy(s)]
    others = [s for s in one_step if s.copy_ratio >= MIN_COPY_RATIO and not is_lagged_copy(s)]
    sentences = []
    if repeating:
        sentences.append(
            f"For {_instruments(repeating)}, the median repeats the last price, so it forecasts no direction (copy "
            "ratio 0)."
        )
    if lagging:
        correlations = "; ".join(
            f"{s.instrument}: {s.correlation_last:.4f} with the last price, {s.correlation_next:.4f} with the next"
            for s in lagging
        )
        sentences.append(
            f"For {_instruments(lagging)}, the forecasts are a lagged copy of the price: they follow it one step late "
            f"(correlations: {correlations})."
        )
    if others:
        ratio = sum(s.copy_ratio for s in others) / len(others)
        sentences.append(
            f"For {_instruments(others)}, the forecasts are not a lagged copy of the price. On average, they are "
            f"{ratio:.0%} as far from the last price as the real prices are."
        )
    return " ".join(sentences)


def _instruments(scores: Sequence[Score]) -> str:
    return ", ".join(score.instrument for score in scores)


def _section(heading: str, text: str, file: str) -> str:
    return (
        f"<h2>{html.escape(heading)}</h2>\n<p>{html.escape(text)}</p>\n"
        f'<img src="{file}" alt="{html.escape(heading.lower())}">'
    )
