"""Backtest: forecasts of exactly what would be served, scored against outcomes and baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from app.artifact.manifest import Evidence, Score, columns_of
from app.artifact.transform import F64
from app.forecaster import Forecaster
from training import baselines, metrics
from training.split import Samples

SIGNIFICANCE = 0.05
CHUNK = 1024  # windows in one engine call


@dataclass(frozen=True, eq=False)
class Backtest:
    """Every forecast of one block of one series, and what came."""

    samples: Samples
    forecasts: F64  # (N, H, Q)
    quantiles: Sequence[float]
    levels: Sequence[int]

    @property
    def median(self) -> F64:
        """(N, H)"""
        return self.forecasts[:, :, len(self.levels)]

    def interval(self, level: int) -> tuple[F64, F64]:
        """(N, H) lower and upper prices."""
        lower, upper = columns_of(level, self.levels)
        return self.forecasts[:, :, lower], self.forecasts[:, :, upper]


def run(forecaster: Forecaster, samples: Samples, quantiles: Sequence[float], levels: Sequence[int]) -> Backtest:
    """Forecasts every window of a block."""
    chunks = [samples.windows[i : i + CHUNK] for i in range(0, len(samples), CHUNK)]
    forecasts = np.concatenate([forecaster.forecast(chunk) for chunk in chunks])
    return Backtest(samples, forecasts, quantiles, levels)


def score(test: Backtest) -> list[Score]:
    """The figures of one series, a row for each horizon."""
    windows, futures = test.samples.windows, test.samples.futures
    horizon = futures.shape[1]
    last = baselines.last_price(windows, horizon)  # (N, H)
    # Pinball losses are relative to the price, so that a dear year counts no more than a cheap one.
    scale = last[:, 0] if (last > 0).all() else 1.0
    walk = None
    if test.levels and (windows > 0).all():
        walk = baselines.ewma_random_walk(windows, horizon, test.quantiles)
    first_date, last_date = _dates(test.samples)
    rows = []
    for h in range(horizon):
        forecast, outcome, before = test.median[:, h], futures[:, h], last[:, h]
        loss, baseline_loss = _squared(forecast, outcome, before), _squared(before, outcome, before)
        rows.append(
            Score(
                instrument=test.samples.series.name,
                horizon=h + 1,
                origins=len(test.samples),
                first_date=first_date,
                last_date=last_date,
                rmse=metrics.rmse(forecast, outcome),
                rmse_last_price=metrics.rmse(before, outcome),
                mae=metrics.mae(forecast, outcome),
                mae_last_price=metrics.mae(before, outcome),
                skill=metrics.skill(loss, baseline_loss),
                skill_p_value=metrics.diebold_mariano(loss, baseline_loss, h + 1),
                copy_ratio=metrics.copy_ratio(forecast, before, outcome),
                correlation_last=metrics.correlation(forecast, before),
                correlation_next=metrics.correlation(forecast, outcome),
                coverage={str(level): _coverage(test, level, h) for level in test.levels},
                pinball=metrics.pinball(test.forecasts[:, h], outcome, test.quantiles, scale) if test.levels else None,
                pinball_random_walk=(
                    None if walk is None else metrics.pinball(walk[:, h], outcome, test.quantiles, scale)
                ),
            )
        )
    return rows


def has_skill(scores: Sequence[Score]) -> bool:
    """Whether the one-step median beats the last price: better over all, and on some instrument beyond chance.

    Bonferroni's correction for the number of instruments holds however they depend on each other.
    """
    scores = [score for score in scores if score.horizon == 1]
    better = sum(score.skill for score in scores) > 0
    p_values = [score.skill_p_value for score in scores if score.skill_p_value is not None]
    return better and bool(p_values) and min(p_values) * len(scores) < SIGNIFICANCE


def evidence(scores: Sequence[Score], held: bool) -> Evidence:
    """The figures and what they amount to.

    Args:
        held: whether the median is held at the last price, for want of skill on the validation block.
    """
    first = [score for score in scores if score.horizon == 1]
    skilled = not held and has_skill(first)
    names = ", ".join(score.instrument for score in first)
    sentences = [_point_sentence(first, held, skilled)]
    for level in sorted({int(level) for score in first for level in score.coverage}):
        if level in (80, 95):
            held_prices = np.mean([score.coverage[str(level)] for score in first])
            sentences.append(f"The {level}% intervals held the next price {held_prices:.1f}% of the time.")
    sentences.append(f"Measured on {sum(score.origins for score in first)} unseen steps of {names}.")
    return Evidence(point_skill="some" if skilled else "none", summary=" ".join(sentences), scores=list(scores))


def table(scores: Sequence[Score]) -> str:
    """The figures as aligned text."""
    levels = sorted({int(level) for score in scores for level in score.coverage})
    head = ["instrument", "h", "n", "RMSE", "last price", "ratio", "skill", "p", "copy", *(f"{lv}%" for lv in levels)]
    if levels:
        head += ["pinball/RW"]
    rows = [head]
    for s in scores:
        row = [s.instrument, str(s.horizon), str(s.origins), f"{s.rmse:.4g}", f"{s.rmse_last_price:.4g}"]
        row += [f"{rmse_ratio(s):.4f}", f"{s.skill:+.4f}"]
        row += ["-" if s.skill_p_value is None else f"{s.skill_p_value:.3f}", f"{s.copy_ratio:.2f}"]
        row += [f"{s.coverage[str(level)]:.1f}" for level in levels]
        if s.pinball is not None and s.pinball_random_walk:
            row += [f"{s.pinball / s.pinball_random_walk:.4f}"]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)) for row in rows)


def is_lagged_copy(score: Score) -> bool:
    """Whether forecasts follow the last price more closely than the price they forecast, and are no better than it."""
    return score.skill <= 0 and score.correlation_last > score.correlation_next


def rmse_ratio(score: Score) -> float:
    """Of the median to the last price; 1 where no price moves and none was forecast to."""
    return score.rmse / score.rmse_last_price if score.rmse_last_price else 1.0 + (score.rmse > 0)


def _point_sentence(first: Sequence[Score], held: bool, skilled: bool) -> str:
    ratio = float(np.mean([rmse_ratio(score) for score in first]))
    skill = float(np.mean([score.skill for score in first]))
    if held:
        return "No point skill was found, so the median repeats the last price."
    if skilled:
        return f"The median beats repeating the last price: skill {skill:.1%}, RMSE ratio {ratio:.3f}."
    copy = ", and follows it like a lagged copy" if all(is_lagged_copy(score) for score in first) else ""
    if ratio > 1:
        return f"No point skill: the median misses by {ratio:.2f} times as much as repeating the last price{copy}."
    if skill <= 0:
        return f"No point skill: the median is no better than repeating the last price{copy}."
    return f"No point skill: what the median gains on repeating the last price ({skill:.2%}) is within chance."


def _coverage(test: Backtest, level: int, h: int) -> float:
    lower, upper = test.interval(level)
    return metrics.coverage(lower[:, h], upper[:, h], test.samples.futures[:, h])


def _squared(forecast: F64, outcome: F64, last: F64) -> F64:
    """Squared error in log returns, of positive prices; in price, where some are not and have no logarithm.

    A forecast of nothing or less counts as a millionth of the last price.
    """
    if not ((outcome > 0).all() and (last > 0).all()):
        in_price: F64 = (forecast - outcome) ** 2
        return in_price
    in_log: F64 = (np.log(np.maximum(forecast, 1e-6 * last)) - np.log(outcome)) ** 2
    return in_log


def _dates(samples: Samples) -> tuple[date | None, date | None]:
    """Of the first and the last price that was forecast."""
    dates: Any = samples.series.dates
    if dates is None:
        return None, None
    moments = dates[[samples.origins[0] + 1, samples.origins[-1] + samples.futures.shape[1]]].astype("datetime64[D]")
    first, last = moments.tolist()
    return first, last
