"""The verb `compare`: published models side by side, on the same origins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.artifact.evidence import Score
from app.evaluation import baselines, scores
from training.commands.backtest import EvaluationPrices, Print, first_row
from training.evaluation import backtest, scoring, significance
from training.evaluation.backtest import Backtest
from training.evaluation.published_model import PublishedModel
from training.reports import charts, forecast_plots
from training.reports.tables import Table, levels_of, number, p_value, percent, ratio, share, text

NOTE = (
    "n = forecasts of each model, from the same origins; RMSE ratio to the last price in log returns, pinball/RW to a "
    "random walk with EWMA volatility, each with a 95% interval by stationary bootstrap; p = the chance of as much "
    "without being better (Diebold-Mariano); /first = the median's RMSE, and the pinball loss of models with the same "
    "levels, over that of the first model; CRPS and Winkler's score W in percent of the last price."
)


def compare_models(models: Sequence[PublishedModel], chosen: EvaluationPrices, out: Path | None, say: Print) -> Path:
    """Backtests every model on the origins that all can take, at the horizons that all have; prints, and draws.

    Args:
        out: where to; backtests/<models>-<name of the prices> unless given.

    Returns:
        The picture.

    Raises:
        DataError: there are too few prices, or one that some model cannot take.
    """
    tests: dict[str, list[Backtest]] = {model.reference: [] for model in models}
    window = max(model.manifest.window for model in models)
    horizon = min(model.manifest.horizon for model in models)
    for series in chosen.series:
        first = max([window, *(first_row(model, series, say) for model in models)])
        for model in models:
            samples = backtest.samples_from(series, first, model.manifest.window, horizon)
            test = model.run(samples, seen=model.knows(series))
            tests[model.reference].append(replace(test, forecasts=test.forecasts[:, :horizon]))
    scores = {name: [score for test in each for score in scoring.score_backtest(test)] for name, each in tests.items()}
    say(f"\n{text(side_by_side(tests, scores))}\n{NOTE}\n")
    label = "-".join(name.replace("@", "-") for name in tests)
    out = out or Path("backtests") / f"{label}-{chosen.name}"
    out.mkdir(parents=True, exist_ok=True)
    forecast_plots.save(charts.models(scores), out / "compare.png")
    return out / "compare.png"


def side_by_side(tests: Mapping[str, Sequence[Backtest]], scores: Mapping[str, Sequence[Score]]) -> Table:
    """Models of one instrument and horizon below each other."""
    every = [score for each in scores.values() for score in each]
    levels = levels_of(every)
    head = ["instrument", "h", "model", "n", "RMSE ratio", "p", "RMSE/first", "p"]
    if levels:
        head += [*(f"{level}%" for level in levels), "pinball/RW", "pinball/first", "p", "CRPS", "W95"]
    leader, first = next(iter(tests.values())), next(iter(scores.values()))
    rows = []
    for i, place in enumerate(first):
        at = next(k for k, test in enumerate(leader) if test.samples.series.name == place.instrument)
        for name, each in scores.items():
            score, test = each[i], tests[name][at]
            last = score.point_baselines[0]
            rows.append(
                [place.instrument, str(place.horizon), name, str(score.origins)]
                + [ratio(last.rmse_ratio, last.low, last.high), p_value(last.p_value)]
                + _median_beside(test, leader[at], place.horizon - 1)
                + (_interval_cells(score, test, leader[at], levels) if levels else [])
            )
    return Table("Side by side", NOTE, head, rows)


def _interval_cells(score: Score, test: Backtest, leader: Backtest, levels: Sequence[int]) -> list[str]:
    walk = next((row for row in score.interval_baselines if row.baseline == baselines.EWMA), None)
    return [
        *(share(score.coverage_interval.get(str(level))) for level in levels),
        "-" if walk is None else ratio(walk.pinball_ratio, walk.low, walk.high),
        *_quantiles_beside(test, leader, score.horizon - 1),
        percent(score.crps),
        percent(score.winkler.get("95")),
    ]


def _median_beside(test: Backtest, leader: Backtest, h: int) -> list[str]:
    """RMSE over the first model's and the p of being no better, in log returns."""
    if test is leader:
        return ["-", "-"]
    outcome = test.samples.futures[:, h]
    loss, other = (backtest.squared_errors(each.median[:, h], outcome, test.last) for each in (test, leader))
    found = float(np.sqrt(scores.ratio(loss.mean(), other.mean())))
    return [number(found, 4), p_value(significance.diebold_mariano(loss, other, h + 1))]


def _quantiles_beside(test: Backtest, leader: Backtest, h: int) -> list[str]:
    """The same of pinball losses, over the last price."""
    if test is leader or not test.levels or list(test.levels) != list(leader.levels):
        return ["-", "-"]
    outcome = test.samples.futures[:, h]
    loss, other = (
        scores.pinball_losses(each.forecasts[:, h], outcome, test.quantiles, test.last).mean(axis=1)
        for each in (test, leader)
    )
    found = float(scores.ratio(loss.mean(), other.mean()))
    return [number(found, 4), p_value(significance.diebold_mariano(loss, other, h + 1))]
