"""Simulates price paths whose returns behave like market returns. The `default` model learns volatility from them.

One model generates all paths. Its components are optional: each path draws which components it has, and their
parameters. The log return of step t is

    return_t = drift + ar * return_{t-1} + sigma * (m_t * z_t + jump_t),
    m_t² = garch_t * exp(2 (slow_t + fast_t - s_slow² - s_fast²)) * regime_t² * season_t²

where sigma is constant, and every factor of m_t² except the season has mean 1 over time.

garch_t   GJR-GARCH(1,1) in units of its mean (Glosten, Jagannathan & Runkle 1993; without asymmetry it is the GARCH of
          Bollerslev 1986). On a few paths, rises increase volatility more than falls.
slow_t    Log-volatility as an AR(1) with standard deviation s_slow (Taylor 1986). Its shocks are correlated with
          earlier returns (leverage).
fast_t    Like slow_t, with a memory of a few steps and without leverage. Alizadeh, Brandt & Diebold (2002) also use
          two components.
regime_t  Two-state Markov chain that multiplies volatility (Hamilton & Susmel 1994).
season_t  Cycle of two harmonics in volatility, as over a trading day (Andersen & Bollerslev 1997). Its edges may be
          sharp, as when a session opens and closes.
z_t       Student-t with unit variance (Bollerslev 1987), computed as a normal variable divided by the root of a
          chi-square variable. The two sides are scaled differently (Fernández & Steel 1998), and the median stays 0.
jump_t    Compound Poisson sum of normal jumps (Merton 1976).

The observed prices have microstructure noise: they bounce between bid and ask (Roll 1984), are rounded to a tick, and
sometimes repeat the price of the step before. A path is daily or intraday. Intraday paths are calmer, and more of them
have seasons, bounces, ticks and fast volatility.
"""

import hashlib

import numpy as np

from training.data.series import Series
from training.data.simulation_parameters import Floats, SimulationParameters, draw_log_uniform, draw_parameters

BURN_IN_STEPS = 500  # 1.5 times the longest memory of garch_t; all other components start from their stationary state
MAX_RELATIVE_VOLATILITY = 30.0  # limits m_t; heavy-tailed, nearly integrated paths would diverge without it
MAX_LOG_RETURN = 1.0  # limits the size of one step; 690 such steps in one direction would overflow float64
CONSTANT_VOLATILITY = 0.01  # volatility per step of random walks and autoregressive paths


def simulate_paths(paths: int, length: int, seed: int) -> list[Series]:
    """Simulate `paths` independent price paths of `length` prices. The same arguments give the same paths.

    First prices are between 1e-3 and 1e5. Prices have no unit.

    Raises:
        ValueError: `paths` is less than 1, or `length` is less than 2.
    """
    _check_size(paths, length)
    rng = np.random.default_rng(seed)
    parameters = draw_parameters(paths, rng)
    log_prices = np.cumsum(simulate_log_returns(parameters, length, rng), axis=0)  # (T, P)
    observed = add_microstructure_noise(log_prices, parameters, rng)
    return _to_series("synthetic", observed, draw_log_uniform(rng, 1e-3, 1e5, paths), seed)


def random_walk(paths: int, length: int, seed: int) -> list[Series]:
    """Simulate random walks with independent normal log returns and a volatility of 1% per step.

    Only the spread of their future prices is predictable.
    """
    _check_size(paths, length)
    shocks = np.random.default_rng(seed).standard_normal((length, paths))  # (T, P)
    return _walks("random-walk", CONSTANT_VOLATILITY * shocks, seed)


def autoregressive(paths: int, length: int, seed: int, coefficient: float) -> list[Series]:
    """Simulate prices whose log returns are a normal AR(1) process with a standard deviation of 1%.

    The sign of the next return is partly predictable.

    Raises:
        ValueError: The coefficient is not between -1 and 1, `paths` is less than 1, or `length` is less than 2.
    """
    _check_size(paths, length)
    if not -1 < coefficient < 1:
        raise ValueError(f"coefficient is {coefficient}; it must be greater than -1 and less than 1")
    log_returns = CONSTANT_VOLATILITY * np.random.default_rng(seed).standard_normal((length, paths))  # (T, P)
    _autocorrelate(log_returns, np.full(paths, coefficient))
    return _walks(f"autoregressive-{coefficient:g}", log_returns, seed)


def simulate_log_returns(parameters: SimulationParameters, length: int, rng: np.random.Generator) -> Floats:
    """Simulate (T, P) log returns, where T is `length`, with the model of the module docstring. Discard the burn-in."""
    p = parameters
    paths = len(p.volatility)
    sigma = p.volatility / np.sqrt(1 + p.jumps_per_step * p.jump_size**2)  # (P,)
    one_side = 2 * p.news * p.asymmetry  # (P,) additional weight of a squared shock with the exciting sign
    both_sides = p.news * (1 - p.asymmetry)  # (P,)
    side = np.where(p.excited_by_rises > 0, 1.0, -1.0)  # (P,) sign of the exciting shocks
    high_share = p.up_probability / (p.up_probability + p.down_probability)  # (P,) fraction of steps in the high state
    low = 1 / np.sqrt(1 - high_share + high_share * p.regime_ratio**2)  # (P,) relative volatility of the low state
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

        reaction = both_sides + one_side * (z * side > 0)  # (P,) weight of this squared shock
        garch = 1 - p.persistence + (reaction * z**2 + p.persistence - p.news) * garch
        garch = np.minimum(garch, MAX_RELATIVE_VOLATILITY**2)
        shock = -side * p.leverage * normal + np.sqrt(1 - p.leverage**2) * rng.standard_normal(paths)  # (P,)
        slow = p.slow_persistence * slow + slow_shock * shock
        fast = p.fast_persistence * fast + fast_shock * rng.standard_normal(paths)
        is_high ^= rng.random(paths) < np.where(is_high, p.down_probability, p.up_probability)
    log_returns = log_returns[BURN_IN_STEPS:]
    _autocorrelate(log_returns, p.autocorrelation)
    return np.clip(log_returns + p.drift * p.volatility, -MAX_LOG_RETURN, MAX_LOG_RETURN)


def add_microstructure_noise(log_prices: Floats, parameters: SimulationParameters, rng: np.random.Generator) -> Floats:
    """Convert (T, P) true log prices to observed ones: add bid-ask bounce, round to ticks and repeat stale prices."""
    p = parameters
    observed = log_prices + p.bounce * p.volatility * rng.standard_normal(log_prices.shape)  # (T, P)
    tick = np.where(p.tick > 0, p.tick * p.volatility, 1.0)  # (P,)
    observed = np.where(p.tick > 0, np.round(observed / tick) * tick, observed)
    is_new = rng.random(observed.shape) >= p.stale_probability  # (T, P)
    is_new[0] = True
    last_new = np.maximum.accumulate(np.where(is_new, np.arange(len(observed))[:, None], 0), axis=0)  # (T, P)
    return np.take_along_axis(observed, last_new, axis=0)


def _autocorrelate(log_returns: Floats, coefficient: Floats) -> None:
    """Turn (T, P) independent returns into an AR(1) with the same standard deviation, in place.

    The first step is unchanged.
    """
    innovation_scale = np.sqrt(1 - coefficient**2)  # (P,)
    for t in range(1, len(log_returns)):
        log_returns[t] = coefficient * log_returns[t - 1] + innovation_scale * log_returns[t]


def _check_size(paths: int, length: int) -> None:
    if paths < 1 or length < 2:
        raise ValueError(f"{paths} paths of {length} prices; at least 1 path of 2 prices is required")


def _walks(kind: str, log_returns: Floats, seed: int) -> list[Series]:
    return _to_series(kind, np.cumsum(log_returns, axis=0), np.full(log_returns.shape[1], 100.0), seed)


def _to_series(kind: str, log_prices: Floats, start_price: Floats, seed: int) -> list[Series]:
    """Convert the columns of (T, P) log prices to series.

    Args:
        kind: Name of the simulator.
        log_prices: (T, P) log prices relative to `start_price`.
        start_price: (P,) prices.
        seed: Seed of the simulator.
    """
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
