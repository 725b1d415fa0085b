"""What a person looks at: a page that says what was measured, and its pictures."""

import html
from collections.abc import Sequence
from pathlib import Path

from app.artifact.evidence import Curve, Evidence, Score
from training.evaluation.backtest import Backtest
from training.evaluation.summary import is_lagged_copy
from training.reports import charts, forecast_plots, tables
from training.reports.forecast_plots import BASELINE, MODEL

REPEATS = 0.005  # a copy ratio below it: nobody would see the difference

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
    directory: Path, title: str, description: str, tests: Sequence[Backtest], curve: Curve | None, shown: Evidence
) -> None:
    """Writes report.html and its pictures.

    Args:
        curve: of the training, if it is known.
    """
    scores = shown.scores
    sections = [
        _picture(
            "Real and predicted",
            "One step ahead, always from true previous prices, on prices that nothing was fitted or chosen on. "
            + lag_sentence(scores),
            "real-vs-predicted.png",
        )
    ]
    drawn = {"real-vs-predicted.png": forecast_plots.real_vs_predicted(tests), "error.png": charts.errors(scores)}
    has_levels = bool(tables.levels_of(scores))
    if has_levels:
        drawn["fan.png"] = forecast_plots.fan(tests[0])
        sections.append(
            _picture(
                "What is likely",
                "Bands hold the share of outcomes that is written beside them, if they are right; the widest palest.",
                "fan.png",
            )
        )
    sections.append(
        _picture(
            "Error against baselines",
            "Below 1 the model is better. Whiskers are 95% intervals by stationary bootstrap: one that crosses 1 is "
            "within chance. Errors are in log returns; those of quantiles are over the last price.",
            "error.png",
        )
    )
    if has_levels:
        drawn |= {"coverage.png": charts.coverage(scores), "pit.png": charts.pit(scores)}
        sections += [
            _picture(
                "Coverage",
                "How far the share of outcomes inside an interval is from what it promises, with 95% binomial "
                "intervals; volatility by thirds of each instrument's windows. 0 is right, above is too wide, below "
                "too narrow.",
                "coverage.png",
            ),
            _picture(
                "Calibration",
                "Where outcomes fell among the quantiles (PIT). 1 everywhere is calibrated; high ends mean intervals "
                "too narrow, low ends too wide.",
                "pit.png",
            ),
        ]
    if curve is not None:
        drawn["loss.png"] = charts.losses(curve)
        sections.append(_picture("Training", "Loss by epoch.", "loss.png"))
    figures = [tables.overview(scores), *tables.details(scores)]
    sections.append("<h2>Figures</h2>\n" + "\n".join(map(tables.page, figures)))
    for name, figure in drawn.items():
        forecast_plots.save(figure, directory / name)
    page = PAGE.format(
        title=html.escape(title),
        description=html.escape(description),
        summary=html.escape(shown.summary),
        color=BASELINE if shown.point_skill == "none" else MODEL,
        sections="\n".join(sections),
    )
    (directory / "report.html").write_text(page, encoding="utf-8")


def lag_sentence(scores: Sequence[Score]) -> str:
    """The lag test in words."""
    first = [s for s in scores if s.horizon == 1]
    same = [s.instrument for s in first if s.copy_ratio < REPEATS]
    copies = [s for s in first if s.copy_ratio >= REPEATS and is_lagged_copy(s)]
    free = [s for s in first if s.copy_ratio >= REPEATS and not is_lagged_copy(s)]
    said = []
    if same:
        said.append(
            f"For {', '.join(same)} the median repeats the last price, and so says no direction (copy ratio 0)."
        )
    if copies:
        goes = "; ".join(
            f"{s.instrument}: {s.correlation_last:.4f} with the last, {s.correlation_next:.4f} with the next"
            for s in copies
        )
        names = ", ".join(s.instrument for s in copies)
        said.append(f"Those of {names} follow the last price, one step late: a lagged copy (correlations: {goes}).")
    if free:
        names = ", ".join(s.instrument for s in free)
        ratio = sum(s.copy_ratio for s in free) / len(free)
        said.append(
            f"Those of {names} are no lagged copy: they go {ratio:.0%} as far from the last price as prices do."
        )
    return " ".join(said)


def _picture(heading: str, words: str, file: str) -> str:
    return (
        f"<h2>{html.escape(heading)}</h2>\n<p>{html.escape(words)}</p>\n"
        f'<img src="{file}" alt="{html.escape(heading.lower())}">'
    )
