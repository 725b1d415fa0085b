"""The command `compare`: evaluate published models on the same origins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.artifact.arrays import F64
from app.artifact.evidence import Score
from app.evaluation.baselines import EWMA
from app.evaluation.scores import loss_ratio
from training.commands.backtest import EvaluationData, PrintLine, find_first_test_row
from training.evaluation.backtest import Backtest, samples_from
from training.evaluation.published_model import PublishedModel
from training.evaluation.scoring import score_backtest
from training.evaluation.significance import diebold_mariano
from training.reports.comparison_charts import plot_models
from training.reports.plot_style import save_png
from training.reports.score_tables import levels_of
from training.reports.tables import MISSING, Table, format_number, format_percent, format_proportion, format_ratio

NOTE = (
    "h: horizon in steps. n: number of forecasts of each model, from the same origins. RMSE ratio: RMSE divided by "
    "that of repeating the last price, in log returns. pinball/RW: pinball loss divided by that of a random walk with "
    "EWMA volatility. Both ratios have a 95% confidence interval from a stationary bootstrap. RMSE/first, "
    "pinball/first: loss divided by the first model's; pinball losses are compared only between models with the same "
    "levels. p: one-sided p-value of the gain (Diebold-Mariano). N%: percentage of outcomes inside the N% interval, "
    "with its exact binomial confidence interval. CRPS, W95 (Winkler score of the 95% interval): in percent of the "
    "last price."
)


def backtest_models(
    models: Sequence[PublishedModel], data: EvaluationData, out: Path | None, print_line: PrintLine
) -> Path:
    """Backtest models on the origins and horizons that all of them support, print a table, and write a chart.

    Args:
        models: The models to compare.
        data: The prices to evaluate them on.
        out: The directory of the chart. None means backtests/<models>-<name of the data>.
        print_line: Prints one line or table.

    Returns:
        The file of the chart.

    Raises:
        DataError: There are too few prices, or a model does not accept one of them.
    """
    backtests: dict[str, list[Backtest]] = {model.reference: [] for model in models}
    window = max(model.manifest.window for model in models)
    horizon = min(model.manifest.horizon for model in models)
    for series in data.series:
        first_row = max([window, *(find_first_test_row(model, series, print_line) for model in models)])
        for model in models:
            samples = samples_from(series, first_row, model.manifest.window, horizon)
            backtest = model.backtest(samples, is_seen=model.has_seen(series))
            backtests[model.reference].append(replace(backtest, forecasts=backtest.forecasts[:, :horizon]))
    scores = {name: [score for each in runs for score in score_backtest(each)] for name, runs in backtests.items()}
    print_line(f"\n{comparison_table(backtests, scores).to_text()}\n{NOTE}\n")
    label = "-".join(name.replace("@", "-") for name in backtests)
    out = out or Path("backtests") / f"{label}-{data.name}"
    out.mkdir(parents=True, exist_ok=True)
    save_png(plot_models(scores), out / "compare.png")
    return out / "compare.png"


def comparison_table(backtests: Mapping[str, Sequence[Backtest]], scores: Mapping[str, Sequence[Score]]) -> Table:
    """Return one row for each instrument, horizon and model.

    Args:
        backtests: The backtests of each model by the model's name, one for each instrument.
        scores: The scores of each model by the model's name, in the same order as the backtests.
    """
    levels = levels_of([score for model_scores in scores.values() for score in model_scores])
    head = ["instrument", "h", "model", "n", "RMSE ratio", "p", "RMSE/first", "p"]
    if levels:
        head += [*(f"{level}%" for level in levels), "pinball/RW", "pinball/first", "p", "CRPS", "W95"]
    first_backtests, first_scores = next(iter(backtests.values())), next(iter(scores.values()))
    instruments = [backtest.samples.series.name for backtest in first_backtests]
    rows = []
    for i, first_score in enumerate(first_scores):
        k = instruments.index(first_score.instrument)
        for name, model_scores in scores.items():
            score, backtest = model_scores[i], backtests[name][k]
            baseline = score.point_baselines[0]
            row = [score.instrument, str(score.horizon), name, str(score.origins)]
            row += [format_ratio(baseline.rmse_ratio, baseline.low, baseline.high), format_number(baseline.p_value)]
            row += _median_cells(backtest, first_backtests[k], score.horizon)
            rows.append(row + (_interval_cells(score, backtest, first_backtests[k], levels) if levels else []))
    return Table("Comparison", NOTE, head, rows)


def _interval_cells(score: Score, backtest: Backtest, first: Backtest, levels: Sequence[int]) -> list[str]:
    random_walk = next((row for row in score.interval_baselines if row.baseline == EWMA), None)
    return [
        *(format_proportion(score.coverage_interval.get(str(level))) for level in levels),
        MISSING if random_walk is None else format_ratio(random_walk.pinball_ratio, random_walk.low, random_walk.high),
        *_quantile_cells(backtest, first, score.horizon),
        format_percent(score.crps),
        format_percent(score.winkler.get("95")),
    ]


def _median_cells(backtest: Backtest, first: Backtest, horizon: int) -> list[str]:
    """Return the ratio of the RMSE to the first model's, and the p-value of the gain."""
    if backtest is first:
        return [MISSING, MISSING]
    loss, first_loss = (each.squared_errors(each.median) for each in (backtest.at(horizon), first.at(horizon)))
    return _ratio_cells(loss, first_loss, float(np.sqrt(loss_ratio(loss.mean(), first_loss.mean()))), horizon)


def _quantile_cells(backtest: Backtest, first: Backtest, horizon: int) -> list[str]:
    """Return the ratio of the pinball loss to the first model's, and the p-value, if both have the same levels."""
    if backtest is first or not backtest.levels or list(backtest.levels) != list(first.levels):
        return [MISSING, MISSING]
    loss, first_loss = (each.at(horizon).pinball_losses().mean(axis=1) for each in (backtest, first))
    return _ratio_cells(loss, first_loss, float(loss_ratio(loss.mean(), first_loss.mean())), horizon)


def _ratio_cells(loss: F64, first_loss: F64, ratio: float, horizon: int) -> list[str]:
    return [format_number(ratio, 4), format_number(diebold_mariano(loss, first_loss, horizon))]
