"""Simulated price paths whose returns move as they do in markets: what the default model learns volatility from.

One model with optional parts; each path draws which parts it has, and their parameters. Its log price moves by

    return_t = drift + ar * return_{t-1} + sigma * (m_t * z_t + jump_t),
    m_t² = garch_t * exp(2 (slow_t + fast_t - s_slow² - s_fast²)) * regime_t² * season_t²

where sigma is constant and every factor of m_t² but the season has mean 1 over time.

garch_t   GJR-GARCH(1,1) in units of its own mean (Glosten, Jagannathan & Runkle 1993; without asymmetry it is the
          GARCH of Bollerslev 1986); on a few paths rises excite more than falls
slow_t    log-volatility as an AR(1) of standard deviation s_slow (Taylor 1986), its shocks correlated with earlier
          returns (leverage); fast_t the same with a memory of a few steps, without leverage (two components as in
          Alizadeh, Brandt & Diebold 2002)
regime_t  a two-state Markov chain that multiplies volatility (Hamilton & Susmel 1994)
season_t  a cycle of two waves in volatility, as over a trading day (Andersen & Bollerslev 1997), with edges that may be
          sharp, as where sessions open and close
z_t       Student-t with unit variance (Bollerslev 1987), made as a normal divided by the root of a chi-square, and its
          two sides stretched unequally (Fernández & Steel 1998), which keeps its median at 0
jump_t    a compound Poisson sum of normal jumps (Merton 1976)

What is seen of it are prices that bounce between bid and ask (Roll 1984), are rounded to a tick, and now and then are
those of the step before once more. A path is daily or intraday: intraday ones are calmer, and more often have seasons,
bounces, ticks and fast volatility.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.series import Series

Floats = npt.NDArray[np.float64]

BURN_IN_STEPS = 500  # 1.5 times the longest memory of garch_t; all else starts as it is in the long run
MAX_RELATIVE_VOLATILITY = 30.0  # m_t is cut here: a heavy-tailed, nearly integrated path would run away
MAX_LOG_RETURN = 1.0  # a step is cut here, up and down alike; leaving float64 would take 690 of these on one side
CONSTANT_VOLATILITY = 0.01  # of the stress-test paths, per step
INTRADAY_SHARE = 0.3  # of the paths
CYCLES = (24, 48, 78, 96, 288, 390)  # steps of a day: of 60, 30, 5, 15, 5 and 1 minutes, where stocks trade 6.5 hours


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of P paths, every array of shape (P,); a part that a path lacks has the value that disables it."""

    volatility: Floats  # standard deviation of the log return per step, jumps included, the season at its middle
    drift: Floats  # per step, in units of `volatility`
    autocorrelation: Floats  # of the log returns, at lag 1
    degrees_of_freedom: Floats  # of z_t
    skew: Floats  # the factor by which falls are stretched and rises shrunk
    news: Floats  # weight of the last squared shock in garch_t, falls and rises in the mean
    asymmetry: Floats  # the part of `news` that only one side brings
    excited_by_rises: Floats  # 1 where that side are rises, and leverage is turned round too
    persistence: Floats  # of garch_t, 0 without the part
    slow_sd: Floats  # s_slow, 0 without the part
    slow_persistence: Floats
    leverage: Floats  # correlation of the shock to slow_{t+1} with the normal in z_t
    fast_sd: Floats  # s_fast, 0 without the part
    fast_persistence: Floats
    regime_ratio: Floats  # volatility in the high state over that in the low one, 1 without the part
    chance_up: Floats  # of going from the low state to the high one, per step
    chance_down: Floats  # and back
    season_amplitude: Floats  # 0 without the part
    season_steps: Floats  # length of one cycle
    season_phase: Floats  # radians
    second_wave: Floats  # amplitude of the wave of twice the frequency, relative to the first
    second_phase: Floats  # radians
    season_sharpness: Floats  # of its edges: from a swell to a session that opens and closes
    season_balance: Floats  # the part of the wave about which it is calm and wild; above 0 it is calm for longer
    jumps_per_step: Floats  # 0 without the part
    jump_size: Floats  # standard deviation of one jump, in units of sigma
    bounce: Floats  # standard deviation of the log price around its true value, in units of `volatility`
    tick: Floats  # of the log price, in units of `volatility`; 0 does not round
    stale_share: Floats  # chance that a step shows the price of the one before


def simulate_paths(paths: int, length: int, seed: int) -> list[Series]:
    """`paths` independent price paths of `length` prices, the same for the same arguments.

    Prices start between 1e-3 and 1e5 and have no unit. Raises ValueError where `paths` < 1 or `length` < 2.
    """
    _check(paths, length)
    rng = np.random.default_rng(seed)
    parameters = draw_parameters(paths, rng)
    log_prices = np.cumsum(simulate_log_returns(parameters, length, rng), axis=0)  # (T, P)
    seen = observe(log_prices, parameters, rng)
    return _series("synthetic", seen, _log_uniform(rng, 1e-3, 1e5, paths), seed)


def random_walk(paths: int, length: int, seed: int) -> list[Series]:
    """Prices whose log returns are independent normals of 1% per step: nothing can be forecast but their spread."""
    _check(paths, length)
    shocks = np.random.default_rng(seed).standard_normal((length, paths))  # (T, P)
    return _walks("random-walk", CONSTANT_VOLATILITY * shocks, seed)


def autoregressive(paths: int, length: int, seed: int, coefficient: float) -> list[Series]:
    """Prices whose log returns follow a normal AR(1) with standard deviation 1%: a signal that must be found.

    Raises ValueError where the coefficient is not between -1 and 1, besides what `simulate` raises.
    """
    _check(paths, length)
    if not -1 < coefficient < 1:
        raise ValueError(f"coefficient is {coefficient}; it must lie between -1 and 1, both excluded")
    log_returns = CONSTANT_VOLATILITY * np.random.default_rng(seed).standard_normal((length, paths))  # (T, P)
    _autocorrelate(log_returns, np.full(paths, coefficient))
    return _walks(f"autoregressive-{coefficient:g}", log_returns, seed)


def draw_parameters(paths: int, rng: np.random.Generator) -> Parameters:
    """Parameters for `paths` paths, from ranges as wide as those estimated on daily to minute prices."""

    def share(of_paths: float | Floats) -> npt.NDArray[np.bool_]:
        return rng.random(paths) < of_paths

    def uniform(low: float, high: float) -> Floats:
        return rng.uniform(low, high, paths)

    def log_uniform(low: float, high: float | Floats) -> Floats:
        return _log_uniform(rng, low, high, paths)

    def log_normal(median: float, spread: float, low: float, high: float) -> Floats:
        return np.clip(median * np.exp(spread * rng.standard_normal(paths)), low, high)

    is_intraday = share(INTRADAY_SHARE)

    def either(intraday: float | Floats, daily: float | Floats) -> Floats:
        return np.where(is_intraday, intraday, daily)

    news = either(log_uniform(0.02, 0.35), log_uniform(0.015, 0.14))
    persistence = 1 - either(log_uniform(0.005, 0.3), log_uniform(0.003, 0.2))  # closer to 1, as in markets
    has_garch = share(either(0.5, 0.7))
    return Parameters(
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
        season_steps=np.where(share(0.5), log_uniform(8, 500), rng.choice(CYCLES, paths)),
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


def simulate_log_returns(parameters: Parameters, length: int, rng: np.random.Generator) -> Floats:
    """Log returns of shape (T, P) = (length, paths): the model of this module's docstring, after its burn-in."""
    p = parameters
    paths = len(p.volatility)
    sigma = p.volatility / np.sqrt(1 + p.jumps_per_step * p.jump_size**2)  # (P,)
    one_side = 2 * p.news * p.asymmetry  # (P,) weight of a squared shock of the side that excites
    both_sides = p.news * (1 - p.asymmetry)  # (P,)
    side = np.where(p.excited_by_rises > 0, 1.0, -1.0)  # (P,) the sign of the shocks that excite
    high_share = p.chance_up / (p.chance_up + p.chance_down)  # (P,) of all steps
    low = 1 / np.sqrt(1 - high_share + high_share * p.regime_ratio**2)  # (P,) volatility of the low state
    slow_shock = p.slow_sd * np.sqrt(1 - p.slow_persistence**2)  # (P,)
    fast_shock = p.fast_sd * np.sqrt(1 - p.fast_persistence**2)  # (P,)

    garch = np.ones(paths)  # (P,)
    slow = p.slow_sd * rng.standard_normal(paths)  # (P,)
    fast = p.fast_sd * rng.standard_normal(paths)  # (P,)
    is_high = rng.random(paths) < high_share  # (P,)
    log_returns = np.empty((BURN_IN_STEPS + length, paths))  # (burn-in + T, P)
    for t in range(BURN_IN_STEPS + length):
        regime = low * np.where(is_high, p.regime_ratio, 1.0)  # (P,)
        angle = 2 * np.pi * t / p.season_steps + p.season_phase  # (P,)
        wave = np.cos(angle) + p.second_wave * np.cos(2 * angle + p.second_phase)  # (P,)
        wave = np.tanh(p.season_sharpness * (wave - p.season_balance))  # (P,)
        mixed = slow + fast - p.slow_sd**2 - p.fast_sd**2 + p.season_amplitude * wave  # (P,)
        relative = np.sqrt(garch) * np.exp(mixed) * regime  # (P,) m_t
        normal = rng.standard_normal(paths)  # (P,)
        z = normal * np.sqrt((p.degrees_of_freedom - 2) / rng.chisquare(p.degrees_of_freedom))  # (P,)
        z = np.where(z < 0, z * p.skew, z / p.skew)
        jump = p.jump_size * np.sqrt(rng.poisson(p.jumps_per_step)) * rng.standard_normal(paths)  # (P,) in sigmas
        log_returns[t] = sigma * (np.minimum(relative, MAX_RELATIVE_VOLATILITY) * z + jump)

        answer = both_sides + one_side * (z * side > 0)  # (P,)
        garch = 1 - p.persistence + (answer * z**2 + p.persistence - p.news) * garch
        garch = np.minimum(garch, MAX_RELATIVE_VOLATILITY**2)
        shock = -side * p.leverage * normal + np.sqrt(1 - p.leverage**2) * rng.standard_normal(paths)  # (P,)
        slow = p.slow_persistence * slow + slow_shock * shock
        fast = p.fast_persistence * fast + fast_shock * rng.standard_normal(paths)
        is_high ^= rng.random(paths) < np.where(is_high, p.chance_down, p.chance_up)
    log_returns = log_returns[BURN_IN_STEPS:]
    _autocorrelate(log_returns, p.autocorrelation)
    return np.clip(log_returns + p.drift * p.volatility, -MAX_LOG_RETURN, MAX_LOG_RETURN)


def observe(log_prices: Floats, parameters: Parameters, rng: np.random.Generator) -> Floats:
    """What is seen of true log prices (T, P): they bounce, are rounded, and are sometimes those of the step before."""
    p = parameters
    seen = log_prices + p.bounce * p.volatility * rng.standard_normal(log_prices.shape)  # (T, P)
    tick = np.where(p.tick > 0, p.tick * p.volatility, 1.0)  # (P,)
    seen = np.where(p.tick > 0, np.round(seen / tick) * tick, seen)
    is_new = rng.random(seen.shape) >= p.stale_share  # (T, P)
    is_new[0] = True
    last_new = np.maximum.accumulate(np.where(is_new, np.arange(len(seen))[:, None], 0), axis=0)  # (T, P)
    return np.take_along_axis(seen, last_new, axis=0)


def _autocorrelate(log_returns: Floats, coefficient: Floats) -> None:
    """Makes independent returns (T, P) an AR(1) of the same standard deviation, in place; the first step stays."""
    fresh = np.sqrt(1 - coefficient**2)  # (P,)
    for t in range(1, len(log_returns)):
        log_returns[t] = coefficient * log_returns[t - 1] + fresh * log_returns[t]


def _log_uniform(rng: np.random.Generator, low: float, high: float | Floats, paths: int) -> Floats:
    return np.exp(rng.uniform(np.log(low), np.log(high), paths))


def _check(paths: int, length: int) -> None:
    if paths < 1 or length < 2:
        raise ValueError(f"{paths} paths of {length} prices; at least 1 path of 2 prices is needed")


def _walks(kind: str, log_returns: Floats, seed: int) -> list[Series]:
    return _series(kind, np.cumsum(log_returns, axis=0), np.full(log_returns.shape[1], 100.0), seed)


def _series(kind: str, log_prices: Floats, start_price: Floats, seed: int) -> list[Series]:
    """One series per column of log prices (T, P), which begin about 0."""
    length, paths = log_prices.shape
    prices = np.exp(np.log(start_price) + log_prices).T.copy()  # (P, T)
    return [
        Series(
            name=f"{kind}-{number:04d}",
            prices=path,
            dates=None,
            source=f"simulated: {kind}, path {number} of {paths}, {length} prices, seed {seed}",
            sha256=hashlib.sha256(path.tobytes()).hexdigest(),
        )
        for number, path in enumerate(prices, start=1)
    ]
