"""The parameters of the simulator's model, and the distributions that they are drawn from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

INTRADAY_PROBABILITY = 0.3  # other paths are daily
# Steps per day at intervals of 60, 30, 5, 15, 5 and 1 minutes. Stocks trade 6.5 hours a day, other markets 24 hours.
STEPS_PER_DAY = (24, 48, 78, 96, 288, 390)


@dataclass(frozen=True, eq=False)
class SimulationParameters:
    """The parameters of P paths, each an array of shape (P,). The symbols are those of the `simulator` module.

    If a path lacks a component, the component's parameter has the value that disables it.
    """

    volatility: Floats  # standard deviation of the one-step log return, including jumps, in the middle of the season
    drift: Floats  # mean log return per step, in units of `volatility`
    autocorrelation: Floats  # autocorrelation of the log returns at lag 1
    degrees_of_freedom: Floats  # degrees of freedom of z_t
    skew: Floats  # factor that multiplies falls and divides rises
    news: Floats  # weight of the last squared shock in garch_t, averaged over falls and rises
    asymmetry: Floats  # fraction of `news` that only shocks of the exciting sign contribute
    excited_by_rises: Floats  # 1 if rises are the exciting shocks, 0 if falls are; 1 also reverses the leverage effect
    persistence: Floats  # persistence of garch_t; 0 disables garch_t
    slow_sd: Floats  # s_slow; 0 disables slow_t
    slow_persistence: Floats  # autocorrelation of slow_t at lag 1
    leverage: Floats  # correlation between the shock to slow_{t+1} and the normal variable in z_t
    fast_sd: Floats  # s_fast; 0 disables fast_t
    fast_persistence: Floats  # autocorrelation of fast_t at lag 1
    regime_ratio: Floats  # volatility of the high state divided by that of the low state; 1 disables regime_t
    up_probability: Floats  # probability per step of switching from the low state to the high state
    down_probability: Floats  # probability per step of switching from the high state to the low state
    season_amplitude: Floats  # amplitude of the log-volatility; 0 disables season_t
    season_steps: Floats  # steps per cycle
    season_phase: Floats  # radians
    second_wave: Floats  # amplitude of the second harmonic relative to the first
    second_phase: Floats  # radians
    season_sharpness: Floats  # small values give a smooth wave, large ones the sharp edges of a trading session
    season_balance: Floats  # threshold between calm and volatile times; above 0, calm times last longer
    jumps_per_step: Floats  # expected number of jumps per step; 0 disables jump_t
    jump_size: Floats  # standard deviation of one jump, in units of sigma
    bounce: Floats  # standard deviation of the bid-ask noise in the log price, in units of `volatility`
    tick: Floats  # tick size of the log price, in units of `volatility`; 0 disables rounding
    stale_probability: Floats  # probability that a step repeats the price of the step before


def draw_parameters(paths: int, rng: np.random.Generator) -> SimulationParameters:
    """Draw the parameters of `paths` paths. Their ranges are as wide as estimates for daily to one-minute prices."""

    def bernoulli(probability: float | Floats) -> npt.NDArray[np.bool_]:
        return rng.random(paths) < probability

    def uniform(low: float, high: float) -> Floats:
        return rng.uniform(low, high, paths)

    def log_uniform(low: float, high: float | Floats) -> Floats:
        return draw_log_uniform(rng, low, high, paths)

    def log_normal(median: float, spread: float, low: float, high: float) -> Floats:
        return np.clip(median * np.exp(spread * rng.standard_normal(paths)), low, high)

    is_intraday = bernoulli(INTRADAY_PROBABILITY)

    def intraday_or_daily(intraday: float | Floats, daily: float | Floats) -> Floats:
        return np.where(is_intraday, intraday, daily)

    news = intraday_or_daily(log_uniform(0.02, 0.35), log_uniform(0.015, 0.14))
    # Persistence is mostly close to 1, as in markets.
    persistence = 1 - intraday_or_daily(log_uniform(0.005, 0.3), log_uniform(0.003, 0.2))
    has_garch = bernoulli(intraday_or_daily(0.5, 0.7))
    return SimulationParameters(
        volatility=intraday_or_daily(log_normal(8e-4, 0.9, 5e-5, 1e-2), log_normal(1.2e-2, 0.75, 8e-4, 0.12)),
        drift=intraday_or_daily(np.zeros(paths), rng.normal(0.02, 0.03, paths)),
        autocorrelation=rng.normal(0.01, 0.05, paths).clip(-0.3, 0.3),
        # From 3.5 to 20, or 100, which is nearly normal.
        degrees_of_freedom=np.where(bernoulli(0.85), 1 / uniform(1 / 20, 1 / 3.5), 100.0),
        skew=np.where(bernoulli(0.3), np.exp(rng.normal(0, 0.08, paths)), 1.0),
        news=np.where(has_garch, np.minimum(news, persistence), 0.0),
        asymmetry=np.where(bernoulli(intraday_or_daily(0.3, 0.7)), uniform(0.2, 0.95), 0.0),
        excited_by_rises=np.where(bernoulli(0.1), 1.0, 0.0),
        persistence=np.where(has_garch, persistence, 0.0),
        slow_sd=np.where(bernoulli(0.35), uniform(0.1, 0.4), 0.0),
        slow_persistence=1 - log_uniform(0.002, 0.04),
        leverage=np.where(bernoulli(0.7), uniform(-0.7, 0.0), 0.0),
        fast_sd=np.where(bernoulli(intraday_or_daily(0.7, 0.2)), uniform(0.1, 0.6), 0.0),
        fast_persistence=1 - log_uniform(0.05, 0.7),
        regime_ratio=np.where(bernoulli(0.04), uniform(1.5, 4.0), 1.0),
        up_probability=1 / log_uniform(40, 500),
        down_probability=1 / log_uniform(15, 200),
        season_amplitude=np.where(bernoulli(intraday_or_daily(0.45, 0.02)), uniform(0.15, 0.9), 0.0),
        season_steps=np.where(bernoulli(0.5), log_uniform(8, 500), rng.choice(STEPS_PER_DAY, paths)),
        season_phase=uniform(0, 2 * np.pi),
        second_wave=uniform(-0.5, 0.5),
        second_phase=uniform(0, 2 * np.pi),
        season_sharpness=log_uniform(0.5, 6.0),
        season_balance=uniform(-0.6, 0.6),
        jumps_per_step=np.where(bernoulli(0.25), log_uniform(0.001, 0.02), 0.0),
        jump_size=uniform(2.0, 6.0),
        bounce=np.where(bernoulli(intraday_or_daily(0.2, 0.05)), log_uniform(0.035, 0.35), 0.0),
        tick=np.where(bernoulli(intraday_or_daily(0.4, 0.25)), log_uniform(0.01, intraday_or_daily(1.0, 0.2)), 0.0),
        stale_probability=np.where(
            bernoulli(intraday_or_daily(0.15, 0.06)), log_uniform(0.01, intraday_or_daily(0.3, 0.1)), 0.0
        ),
    )


def draw_log_uniform(rng: np.random.Generator, low: float, high: float | Floats, paths: int) -> Floats:
    """Draw (P,) values whose logarithms are uniform between those of `low` and `high`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), paths))
