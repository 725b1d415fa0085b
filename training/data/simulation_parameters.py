"""The parameters of the simulator's model, and their distributions over paths."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

INTRADAY_FRACTION = 0.3  # of all paths
# Steps per day at intervals of 60, 30, 5, 15, 5 and 1 minutes. Stocks trade 6.5 hours a day, other markets 24 hours.
STEPS_PER_DAY = (24, 48, 78, 96, 288, 390)


@dataclass(frozen=True, eq=False)
class SimulationParameters:
    """The parameters of P paths, each an array of shape (P,). The symbols are those of the `simulator` module.

    If a path lacks a component, the component's parameter has the value that disables it.
    """

    volatility: Floats  # standard deviation of the log return per step, with jumps, at the middle of the season
    drift: Floats  # per step, in units of `volatility`
    autocorrelation: Floats  # of the log returns at lag 1
    degrees_of_freedom: Floats  # of z_t
    skew: Floats  # factor that stretches falls and shrinks rises
    news: Floats  # weight of the last squared shock in garch_t, averaged over falls and rises
    asymmetry: Floats  # fraction of `news` that only falls, or only rises, contribute
    excited_by_rises: Floats  # 1 if rises, not falls, contribute that fraction; this also reverses the leverage effect
    persistence: Floats  # of garch_t; 0 disables it
    slow_sd: Floats  # s_slow; 0 disables slow_t
    slow_persistence: Floats
    leverage: Floats  # correlation between the shock to slow_{t+1} and the normal variable in z_t
    fast_sd: Floats  # s_fast; 0 disables fast_t
    fast_persistence: Floats
    regime_ratio: Floats  # volatility of the high state divided by that of the low state; 1 disables regime_t
    chance_up: Floats  # probability per step of switching from the low state to the high state
    chance_down: Floats  # probability per step of switching back
    season_amplitude: Floats  # 0 disables season_t
    season_steps: Floats  # length of one cycle
    season_phase: Floats  # radians
    second_wave: Floats  # amplitude of the second harmonic relative to the first
    second_phase: Floats  # radians
    season_sharpness: Floats  # from a smooth wave to the sharp edges of a trading session
    season_balance: Floats  # threshold between calm and volatile times; above 0, calm times last longer
    jumps_per_step: Floats  # 0 disables jump_t
    jump_size: Floats  # standard deviation of one jump, in units of sigma
    bounce: Floats  # standard deviation of the bid-ask noise in the log price, in units of `volatility`
    tick: Floats  # tick of the log price, in units of `volatility`; 0 disables rounding
    stale_share: Floats  # probability that a step repeats the price of the step before


def draw_parameters(paths: int, rng: np.random.Generator) -> SimulationParameters:
    """Draw the parameters of `paths` paths from ranges as wide as estimates from daily to one-minute prices."""

    def share(of_paths: float | Floats) -> npt.NDArray[np.bool_]:
        return rng.random(paths) < of_paths

    def uniform(low: float, high: float) -> Floats:
        return rng.uniform(low, high, paths)

    def log_uniform(low: float, high: float | Floats) -> Floats:
        return draw_log_uniform(rng, low, high, paths)

    def log_normal(median: float, spread: float, low: float, high: float) -> Floats:
        return np.clip(median * np.exp(spread * rng.standard_normal(paths)), low, high)

    is_intraday = share(INTRADAY_FRACTION)

    def either(intraday: float | Floats, daily: float | Floats) -> Floats:
        return np.where(is_intraday, intraday, daily)

    news = either(log_uniform(0.02, 0.35), log_uniform(0.015, 0.14))
    persistence = 1 - either(log_uniform(0.005, 0.3), log_uniform(0.003, 0.2))  # mostly close to 1, as in markets
    has_garch = share(either(0.5, 0.7))
    return SimulationParameters(
        volatility=either(log_normal(8e-4, 0.9, 5e-5, 1e-2), log_normal(1.2e-2, 0.75, 8e-4, 0.12)),
        drift=either(np.zeros(paths), rng.normal(0.02, 0.03, paths)),
        autocorrelation=rng.normal(0.01, 0.05, paths).clip(-0.3, 0.3),
        degrees_of_freedom=np.where(share(0.85), 1 / uniform(1 / 20, 1 / 3.5), 100.0),  # 3.5 to 20, or nearly normal
        skew=np.where(share(0.3), np.exp(rng.normal(0, 0.08, paths)), 1.0),
        news=np.where(has_garch, np.minimum(news, persistence), 0.0),
        asymmetry=np.where(share(either(0.3, 0.7)), uniform(0.2, 0.95), 0.0),
        excited_by_rises=np.where(share(0.1), 1.0, 0.0),
        persistence=np.where(has_garch, persistence, 0.0),
        slow_sd=np.where(share(0.35), uniform(0.1, 0.4), 0.0),
        slow_persistence=1 - log_uniform(0.002, 0.04),
        leverage=np.where(share(0.7), uniform(-0.7, 0.0), 0.0),
        fast_sd=np.where(share(either(0.7, 0.2)), uniform(0.1, 0.6), 0.0),
        fast_persistence=1 - log_uniform(0.05, 0.7),
        regime_ratio=np.where(share(0.04), uniform(1.5, 4.0), 1.0),
        chance_up=1 / log_uniform(40, 500),
        chance_down=1 / log_uniform(15, 200),
        season_amplitude=np.where(share(either(0.45, 0.02)), uniform(0.15, 0.9), 0.0),
        season_steps=np.where(share(0.5), log_uniform(8, 500), rng.choice(STEPS_PER_DAY, paths)),
        season_phase=uniform(0, 2 * np.pi),
        second_wave=uniform(-0.5, 0.5),
        second_phase=uniform(0, 2 * np.pi),
        season_sharpness=log_uniform(0.5, 6.0),
        season_balance=uniform(-0.6, 0.6),
        jumps_per_step=np.where(share(0.25), log_uniform(0.001, 0.02), 0.0),
        jump_size=uniform(2.0, 6.0),
        bounce=np.where(share(either(0.2, 0.05)), log_uniform(0.035, 0.35), 0.0),
        tick=np.where(share(either(0.4, 0.25)), log_uniform(0.01, either(1.0, 0.2)), 0.0),
        stale_share=np.where(share(either(0.15, 0.06)), log_uniform(0.01, either(0.3, 0.1)), 0.0),
    )


def draw_log_uniform(rng: np.random.Generator, low: float, high: float | Floats, paths: int) -> Floats:
    """Draw (P,) values whose logarithms are uniform."""
    return np.exp(rng.uniform(np.log(low), np.log(high), paths))
