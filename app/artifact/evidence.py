"""Evidence: the evaluation figures that travel with an artifact.

All figures are out of sample. Pinball, CRPS and interval scores are divided by the last price if all prices are
positive, so that they can be compared across price levels. Skill is measured in log returns, or in price differences if
a price is not positive.
"""

from datetime import date
from math import isfinite
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.artifact.schema import FrozenSchema

Losses = list[Annotated[float | None, BeforeValidator(lambda loss: loss if loss is None or isfinite(loss) else None)]]

_SKILL = "Skill score: 1 − MSE(model)/MSE(repeating the last price), both computed on log returns."
_COVERAGE = "Percentage of outcomes inside the interval, by level."
_P_VALUE = (
    "P-value of a one-sided Diebold-Mariano test. The null hypothesis is that the model is no more accurate than the "
    "baseline. Null if the forecasts are identical."
)
_FITTED_ORIGINS = (
    "Number of forecasts. A fitted baseline is compared only on the half of the series it was not fitted on."
)
_CI_LOW = "Lower end of the ratio's 95% confidence interval (stationary bootstrap)."
_CI_HIGH = "Upper end of the ratio's 95% confidence interval (stationary bootstrap)."


class Proportion(FrozenSchema):
    """A percentage with its 95% binomial confidence interval.

    Forecasts more than one step ahead overlap, so for them the true confidence interval is wider than this one.
    """

    percent: float = Field(description="Observed percentage.")
    low: float = Field(description="Lower end of the confidence interval, in percent.")
    high: float = Field(description="Upper end of the confidence interval, in percent.")


class Fold(FrozenSchema):
    """Figures for one of five consecutive periods of the test block."""

    origins: int = Field(description="Number of forecasts.")
    first_date: date | None = Field(description="Date of the first price that was forecast; null if undated.")
    last_date: date | None = Field(description="Date of the last price that was forecast; null if undated.")
    skill: float = Field(description=_SKILL)
    rmse_ratio: float = Field(description="RMSE(median)/RMSE(repeating the last price), both computed on prices.")
    coverage: dict[str, float] = Field(description=_COVERAGE)
    pinball_ratio: float | None = Field(
        description="Pinball loss(model)/pinball loss(random walk with EWMA volatility); null without intervals."
    )


class PointBaseline(FrozenSchema):
    """The median compared with one baseline on the same forecast origins.

    Errors are log returns, or price differences if a price is not positive.
    """

    baseline: str = Field(description="Name of the baseline.")
    origins: int = Field(description=_FITTED_ORIGINS)
    rmse_ratio: float = Field(description="RMSE(model)/RMSE(baseline). The model is better below 1.")
    low: float = Field(description=_CI_LOW)
    high: float = Field(description=_CI_HIGH)
    p_value: float | None = Field(description=_P_VALUE)


class IntervalBaseline(FrozenSchema):
    """The quantiles compared with one baseline's quantiles on the same forecast origins."""

    baseline: str = Field(description="Name of the baseline.")
    origins: int = Field(description=_FITTED_ORIGINS)
    pinball_ratio: float = Field(description="Pinball loss(model)/pinball loss(baseline). The model is better below 1.")
    low: float = Field(description=_CI_LOW)
    high: float = Field(description=_CI_HIGH)
    p_value: float | None = Field(description=_P_VALUE)
    crps_ratio: float = Field(description="CRPS(model)/CRPS(baseline) (continuous ranked probability scores).")
    winkler_ratio: dict[str, float] = Field(
        description="Winkler score(model)/Winkler score(baseline), by level (interval scores)."
    )


class VolatilityTercile(FrozenSchema):
    """Interval coverage in one third of the forecast origins, grouped by the EWMA volatility of their windows."""

    volatility: Literal["low", "middle", "high"] = Field(description="Third of the origins, by volatility.")
    greatest: float = Field(description="Highest volatility per step in this third.")
    origins: int = Field(description="Number of forecasts.")
    coverage: dict[str, Proportion] = Field(description="Percentage of outcomes inside the interval, by level.")


class DirectionalAccuracy(FrozenSchema):
    """How often the median predicted the right direction.

    Only steps with a predicted move and an actual move are counted.
    """

    steps: int = Field(description="Number of steps counted.")
    hit_rate: Proportion = Field(description="Percentage of right directions, with Wilson's confidence interval.")
    majority: float = Field(
        description="Percentage of right directions if the more frequent direction were always predicted."
    )


class Score(FrozenSchema):
    """Out-of-sample figures for one instrument at one horizon, on prices not used for fitting or model selection."""

    instrument: str = Field(description="Name of the price series.")
    seen: bool = Field(True, description="Whether earlier prices of this instrument were in the training data.")
    horizon: int = Field(description="Number of steps ahead.")
    origins: int = Field(description="Number of forecasts: one from each price of the test block.")
    first_date: date | None = Field(description="Date of the first price that was forecast; null if undated.")
    last_date: date | None = Field(description="Date of the last price that was forecast; null if undated.")
    rmse: float = Field(description="RMSE of the median, in price units.")
    rmse_last_price: float = Field(description="RMSE of repeating the last price, in price units.")
    mae: float = Field(description="MAE of the median, in price units.")
    mae_last_price: float = Field(description="MAE of repeating the last price, in price units.")
    mase: float | None = Field(
        None,
        description="Mean absolute scaled error: MAE divided by the mean absolute one-step change before the first "
        "forecast (Hyndman & Koehler, 2006); null if the price did not change before it.",
    )
    rmsse: float | None = Field(
        None,
        description="Root mean squared scaled error: RMSE divided by the root mean square of the same changes.",
    )
    skill: float = Field(description=_SKILL)
    skill_p_value: float | None = Field(
        description="P-value of a one-sided Diebold-Mariano test that the skill is above 0; null if the forecasts are "
        "identical."
    )
    skill_p_value_nested: float | None = Field(
        None,
        description="P-value of a one-sided Clark-West test, which corrects for the estimation noise of a model that "
        "nests the baseline.",
    )
    direction: DirectionalAccuracy | None = Field(
        None,
        description="Directional accuracy of the median; null if no step has both a predicted and an actual move.",
    )
    copy_ratio: float = Field(
        description="MAE(forecast, last price)/MAE(actual price, last price). At 0 the forecast repeats the last price."
    )
    correlation_last: float = Field(description="Pearson correlation of the forecasts with the last prices.")
    correlation_next: float = Field(description="Pearson correlation of the forecasts with the actual prices.")
    coverage: dict[str, float] = Field(description=_COVERAGE)
    coverage_interval: dict[str, Proportion] = Field(
        {}, description="The same coverage with its binomial confidence interval, by level."
    )
    coverage_by_volatility: list[VolatilityTercile] = Field(
        [], description="Coverage in each third of the origins, in order of increasing volatility."
    )
    pinball: float | None = Field(
        description="Pinball loss, averaged over all quantiles and divided by the last price; null without intervals."
    )
    pinball_random_walk: float | None = Field(
        description="Pinball loss of the same quantiles of a random walk with EWMA volatility."
    )
    crps: float | None = Field(
        None,
        description="Continuous ranked probability score divided by the last price, integrated from the pinball loss.",
    )
    winkler: dict[str, float] = Field(
        {}, description="Mean Winkler score (interval score) divided by the last price, by level."
    )
    pit: list[float] = Field(
        [],
        description="Probability integral transform: percentage of outcomes below, between and above the Q quantiles, "
        "in Q + 1 bins.",
    )
    folds: list[Fold] = Field(
        [], description="Figures for five consecutive periods; empty if there are fewer than five forecasts."
    )
    point_baselines: list[PointBaseline] = Field([], description="The median compared with each point baseline.")
    interval_baselines: list[IntervalBaseline] = Field(
        [], description="The quantiles compared with those of each interval baseline."
    )


class Evidence(FrozenSchema):
    """The evaluation of an artifact."""

    point_skill: Literal["none", "some"] = Field(
        description="Whether the median is significantly better than repeating the last price."
    )
    summary: str = Field(description="The main figures in plain sentences, point skill first.")
    scores: list[Score] = Field(
        description="Figures for each instrument at 1, 5, 10 and 20 steps ahead and at the longest horizon."
    )


class Curve(FrozenSchema):
    """Training and validation loss by epoch."""

    loss: Losses = Field(description="Loss on the training block; null where it was NaN or infinite.")
    validation: Losses = Field(description="Loss on the validation block; empty if there is no validation block.")
    best: int = Field(ge=0, description="Index of the epoch whose weights were kept.")
