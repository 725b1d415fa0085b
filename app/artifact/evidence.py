"""Evidence: the figures that travel with an artifact, and say what its forecasts are worth."""

from datetime import date
from math import isfinite
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.artifact.frozen_model import FrozenModel

Losses = list[Annotated[float | None, BeforeValidator(lambda loss: loss if loss is None or isfinite(loss) else None)]]


class Share(FrozenModel):
    """A percentage, and the 95% interval that a binomial count of this size has.

    Beyond one step ahead forecasts overlap, and the true interval is wider than this one.
    """

    percent: float = Field(description="of all that were counted")
    low: float = Field(description="percent, the lower end")
    high: float = Field(description="percent, the upper end")


class Fold(FrozenModel):
    """One of five consecutive parts of the origins."""

    origins: int = Field(description="forecasts made")
    first_date: date | None = Field(description="of the first price that was forecast")
    last_date: date | None = Field(description="of the last")
    skill: float = Field(description="1 − MSE(model)/MSE(last price), in log returns")
    rmse_ratio: float = Field(description="of the median to the last price, in price")
    coverage: dict[str, float] = Field(description="percent of outcomes inside the interval, by level")
    pinball_ratio: float | None = Field(description="to a random walk with EWMA volatility")


class PointBaseline(FrozenModel):
    """The median beside one baseline on the same origins, in log returns (in price, where some have no logarithm)."""

    baseline: str = Field(description="what it is")
    origins: int = Field(description="where a baseline is fitted, only those after the half it was fitted on")
    rmse_ratio: float = Field(description="RMSE(model)/RMSE(baseline); below 1 the model is better")
    low: float = Field(description="of a 95% interval of the ratio, by stationary bootstrap")
    high: float = Field(description="its other end")
    p_value: float | None = Field(description="one-sided Diebold-Mariano that the model is no better")


class IntervalBaseline(FrozenModel):
    """The quantiles beside those of one baseline on the same origins, losses relative to the last price."""

    baseline: str = Field(description="what it is")
    origins: int = Field(description="where a baseline is fitted, only those after the half it was fitted on")
    pinball_ratio: float = Field(description="pinball loss(model)/pinball loss(baseline); below 1 the model is better")
    low: float = Field(description="of a 95% interval of the ratio, by stationary bootstrap")
    high: float = Field(description="its other end")
    p_value: float | None = Field(description="one-sided Diebold-Mariano that the model is no better")
    crps_ratio: float = Field(description="of the continuous ranked probability scores")
    winkler_ratio: dict[str, float] = Field(description="of the interval scores, by level")


class Tercile(FrozenModel):
    """A third of the origins, by the EWMA volatility of their windows."""

    volatility: Literal["low", "middle", "high"] = Field(description="which third")
    greatest: float = Field(description="volatility per step in it")
    origins: int = Field(description="forecasts made")
    coverage: dict[str, Share] = Field(description="by level")


class Direction(FrozenModel):
    """How often the median said the right way, of the steps where it said one and the price moved."""

    steps: int = Field(description="that were counted")
    hit_rate: Share = Field(description="with Wilson's interval")
    majority: float = Field(description="percent that saying always the more frequent way would have hit")


class Score(FrozenModel):
    """Out-of-sample figures of one instrument at one horizon, on prices that nothing was fitted or chosen on."""

    instrument: str = Field(description="name of the price series")
    seen: bool = Field(True, description="whether earlier prices of this instrument were trained on")
    horizon: int = Field(description="steps ahead")
    origins: int = Field(description="forecasts made, one after each price")
    first_date: date | None = Field(description="of the first price that was forecast")
    last_date: date | None = Field(description="of the last")
    rmse: float = Field(description="of the median, in price")
    rmse_last_price: float = Field(description="of repeating the last price")
    mae: float = Field(description="of the median, in price")
    mae_last_price: float = Field(description="of repeating the last price")
    mase: float | None = Field(
        None, description="MAE over the mean absolute one-step change before the first forecast (Hyndman & Koehler)"
    )
    rmsse: float | None = Field(None, description="RMSE over the root mean square of those changes")
    skill: float = Field(description="1 − MSE(model)/MSE(last price), in log returns")
    skill_p_value: float | None = Field(description="one-sided Diebold-Mariano; null where the forecasts are the same")
    skill_p_value_nested: float | None = Field(
        None, description="one-sided Clark-West, which forgives the noise of a model that contains the last price"
    )
    direction: Direction | None = Field(None, description="null where the median says none: it repeats the last price")
    copy_ratio: float = Field(description="MAE(forecast, last price)/MAE(next price, last price); 0 repeats the last")
    correlation_last: float = Field(description="of the forecasts with the last price")
    correlation_next: float = Field(description="of the forecasts with the price that came")
    coverage: dict[str, float] = Field(description="percent of outcomes inside the interval, by level")
    coverage_interval: dict[str, Share] = Field({}, description="the same with its binomial interval")
    coverage_by_volatility: list[Tercile] = Field([], description="of thirds of the origins, volatility rising")
    pinball: float | None = Field(description="mean loss of all quantiles, over the last price")
    pinball_random_walk: float | None = Field(description="the same quantiles of a random walk with EWMA volatility")
    crps: float | None = Field(None, description="over the last price; the integral of the pinball loss")
    winkler: dict[str, float] = Field({}, description="mean interval score over the last price, by level")
    pit: list[float] = Field([], description="percent of outcomes below, between and above the quantiles")
    folds: list[Fold] = Field([], description="five consecutive parts of the origins; none of fewer origins than that")
    point_baselines: list[PointBaseline] = Field([], description="the median beside each")
    interval_baselines: list[IntervalBaseline] = Field([], description="the quantiles beside each")


class Evidence(FrozenModel):
    point_skill: Literal["none", "some"] = Field(description="whether the median beats repeating the last price")
    summary: str = Field(description="the figures in plain sentences, point skill first")
    scores: list[Score] = Field(description="for each instrument, at 1, 5, 10, 20 steps ahead and the last")


class Curve(FrozenModel):
    """Loss by epoch; `validation` is empty where there was no validation block."""

    loss: Losses = Field(description="on the training block; null where it was no number")
    validation: Losses = Field(description="on the validation block")
    best: int = Field(ge=0, description="index of the epoch whose weights were kept")
