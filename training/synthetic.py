"""Simulated price paths: returns without drift whose volatility moves as it does in markets.

One model with optional parts; each path draws which parts it has, and their parameters. The log return of step t is

    return_t = sigma * m_t * z_t + jump_t,    m_t² = garch_t * exp(2 h_t - 2 s²) * regime_t² * season_t²

where sigma is constant, every factor of m_t² has mean 1 over time, and z_t and jump_t are symmetric about 0: whatever
came before, the mean and the median of the next log return are 0, so the last price is the right median forecast.

garch_t   GJR-GARCH(1,1) in units of its own mean (Glosten, Jagannathan & Runkle 1993; without asymmetry it is the
          GARCH of Bollerslev 1986)
h_t       log-volatility as an AR(1) of standard deviation s (Taylor 1986), its shocks correlated with earlier returns
          (leverage); a path has either this or garch_t
regime_t  a two-state Markov chain that multiplies volatility (Hamilton & Susmel 1994)
season_t  a cycle in volatility, as over a trading day (Andersen & Bollerslev 1997)
z_t       Student-t with unit variance (Bollerslev 1987), made as a normal divided by the root of a chi-square
jump_t    a compound Poisson sum of normal jumps (Merton 1976)
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data import Series

Floats = npt.NDArray[np.float64]

BURN_IN_STEPS = 500  # 2.5 times the longest memory drawn below, 1 / (1 - 0.995) steps
MAX_RELATIVE_VOLATILITY = 20.0  # m_t is cut here: a heavy-tailed, nearly integrated path would run away
MAX_LOG_RETURN = 1.0  # a step is cut here, up and down alike; leaving float64 would take 690 of these on one side
CONSTANT_VOLATILITY = 0.01  # of the stress-test paths, per step


@dataclass(frozen=True, eq=False)
class Parameters:
    """The parameters of P paths, every array of shape (P,); a part that a path lacks has the value that disables it."""

    volatility: Floats  # standard deviation of the log return per step, jumps included
    degrees_of_freedom: Floats  # of z_t
    alpha: Floats  # weight of the last squared shock in garch_t
    gamma: Floats  # further weight where that shock was negative
    beta: Floats  # weight of the last garch_t; alpha + gamma / 2 + beta is the persistence, 0 without the part
    log_volatility_sd: Floats  # s, 0 without the part
    log_volatility_persistence: Floats
    leverage: Floats  # correlation of the shock to h_{t+1} with the normal in z_t
    regime_ratio: Floats  # volatility in the high state over that in the low one, 1 without the part
    chance_up: Floats  # of going from the low state to the high one, per step
    chance_down: Floats  # and back
    season_amplitude: Floats  # 0 without the part
    season_steps: Floats  # length of one cycle
    season_phase: Floats  # radians
    jumps_per_step: Floats  # 0 without the part
    jump_size: Floats  # standard deviation of one jump, in units of sigma


def simulate(paths: int, length: int, seed: int) -> list[Series]:
    """`paths` independent price paths of `length` prices, the same for the same arguments.

    Prices start between 1e-3 and 1e5 and have no unit. Raises ValueError where `paths` < 1 or `length` < 2.
    """
    _check(paths, length)
    rng = np.random.default_rng(seed)
    log_returns = simulate_log_returns(draw_parameters(paths, rng), length, rng)  # (T, P)
    return _series("synthetic", log_returns, _log_uniform(rng, 1e-3, 1e5, paths), seed)


def random_walk(paths: int, length: int, seed: int) -> list[Series]:
    """Prices whose log returns are independent normals of 1% per step: nothing can be forecast but their spread."""
    _check(paths, length)
    shocks = np.random.default_rng(seed).standard_normal((length, paths))  # (T, P)
    return _series("random-walk", CONSTANT_VOLATILITY * shocks, np.full(paths, 100.0), seed)


def autoregressive(paths: int, length: int, seed: int, coefficient: float) -> list[Series]:
    """Prices whose log returns follow a normal AR(1) with standard deviation 1%: a signal that must be found.

    Raises ValueError where the coefficient is not between -1 and 1, besides what `simulate` raises.
    """
    _check(paths, length)
    if not -1 < coefficient < 1:
        raise ValueError(f"coefficient is {coefficient}; it must lie between -1 and 1, both excluded")
    log_returns = CONSTANT_VOLATILITY * np.random.default_rng(seed).standard_normal((length, paths))  # (T, P)
    for t in range(1, length):  # the first step is already a draw from the stationary distribution
        log_returns[t] = coefficient * log_returns[t - 1] + np.sqrt(1 - coefficient**2) * log_returns[t]
    return _series(f"autoregressive-{coefficient:g}", log_returns, np.full(paths, 100.0), seed)


def draw_parameters(paths: int, rng: np.random.Generator) -> Parameters:
    """Parameters for `paths` paths, from ranges as wide as those estimated on daily to minute prices."""

    def share(of_paths: float) -> npt.NDArray[np.bool_]:
        return rng.random(paths) < of_paths

    def uniform(low: float, high: float) -> Floats:
        return rng.uniform(low, high, paths)

    has_garch = share(0.6)
    news = uniform(0.02, 0.2)  # alpha + gamma / 2
    persistence = 1 - _log_uniform(rng, 0.005, 0.2, paths)  # 0.80 to 0.995, closer to the latter, as in markets
    asymmetry = np.where(share(0.5), uniform(0.2, 0.9), 0.0)  # the part of `news` that only falls bring
    return Parameters(
        volatility=_log_uniform(rng, 2e-4, 6e-2, paths),  # a minute of a calm currency to a day of a small coin
        degrees_of_freedom=np.where(share(0.8), 1 / uniform(1 / 12, 1 / 3), 100.0),  # 3 to 12, or nearly normal
        alpha=np.where(has_garch, news * (1 - asymmetry), 0.0),
        gamma=np.where(has_garch, 2 * news * asymmetry, 0.0),
        beta=np.where(has_garch, persistence - news, 0.0),
        log_volatility_sd=np.where(has_garch, 0.0, uniform(0.2, 0.8)),
        log_volatility_persistence=1 - _log_uniform(rng, 0.005, 0.1, paths),
        leverage=np.where(share(0.5), uniform(-0.7, -0.1), 0.0),
        regime_ratio=np.where(share(0.3), uniform(1.5, 4.0), 1.0),
        chance_up=1 / _log_uniform(rng, 50, 500, paths),
        chance_down=1 / _log_uniform(rng, 20, 200, paths),
        season_amplitude=np.where(share(0.15), uniform(0.2, 0.8), 0.0),
        season_steps=_log_uniform(rng, 5, 400, paths),  # days of a week to minutes of a session
        season_phase=uniform(0, 2 * np.pi),
        jumps_per_step=np.where(share(0.3), _log_uniform(rng, 0.001, 0.02, paths), 0.0),
        jump_size=uniform(2.0, 8.0),
    )


def simulate_log_returns(parameters: Parameters, length: int, rng: np.random.Generator) -> Floats:
    """Log returns of shape (T, P) = (length, paths): the model of this module's docstring, after its burn-in."""
    p = parameters
    paths = len(p.volatility)
    sigma = p.volatility / np.sqrt(1 + p.jumps_per_step * p.jump_size**2)  # (P,)
    omega = 1 - p.alpha - p.gamma / 2 - p.beta  # (P,)
    high_share = p.chance_up / (p.chance_up + p.chance_down)  # (P,) of all steps
    low = 1 / np.sqrt(1 - high_share + high_share * p.regime_ratio**2)  # (P,) volatility of the low state
    season_norm = np.sqrt(np.i0(2 * p.season_amplitude))  # (P,) the mean of exp(2 a cos x) over a cycle is I0(2 a)
    h_shock = p.log_volatility_sd * np.sqrt(1 - p.log_volatility_persistence**2)  # (P,)

    garch = np.ones(paths)  # (P,)
    h = p.log_volatility_sd * rng.standard_normal(paths)  # (P,)
    is_high = rng.random(paths) < high_share  # (P,)
    log_returns = np.empty((BURN_IN_STEPS + length, paths))  # (burn-in + T, P)
    for t in range(BURN_IN_STEPS + length):
        regime = low * np.where(is_high, p.regime_ratio, 1.0)  # (P,)
        cycle = np.cos(2 * np.pi * t / p.season_steps + p.season_phase)  # (P,)
        season = np.exp(p.season_amplitude * cycle) / season_norm  # (P,)
        relative = np.sqrt(garch) * np.exp(h - p.log_volatility_sd**2) * regime * season  # (P,) m_t
        normal = rng.standard_normal(paths)  # (P,)
        z = normal * np.sqrt((p.degrees_of_freedom - 2) / rng.chisquare(p.degrees_of_freedom))  # (P,)
        jump = p.jump_size * np.sqrt(rng.poisson(p.jumps_per_step)) * rng.standard_normal(paths)  # (P,) in sigmas
        log_returns[t] = sigma * (np.minimum(relative, MAX_RELATIVE_VOLATILITY) * z + jump)

        garch = omega + (p.alpha + p.gamma * (z < 0)) * garch * z**2 + p.beta * garch
        garch = np.minimum(garch, MAX_RELATIVE_VOLATILITY**2)
        h_normal = p.leverage * normal + np.sqrt(1 - p.leverage**2) * rng.standard_normal(paths)  # (P,)
        h = p.log_volatility_persistence * h + h_shock * h_normal
        is_high ^= rng.random(paths) < np.where(is_high, p.chance_down, p.chance_up)
    return np.clip(log_returns[BURN_IN_STEPS:], -MAX_LOG_RETURN, MAX_LOG_RETURN)


def _log_uniform(rng: np.random.Generator, low: float, high: float, paths: int) -> Floats:
    return np.exp(rng.uniform(np.log(low), np.log(high), paths))


def _check(paths: int, length: int) -> None:
    if paths < 1 or length < 2:
        raise ValueError(f"{paths} paths of {length} prices; at least 1 path of 2 prices is needed")


def _series(kind: str, log_returns: Floats, start_price: Floats, seed: int) -> list[Series]:
    """One series per column of log returns (T, P); the first of the T prices is already one step from the start."""
    length, paths = log_returns.shape
    prices = np.exp(np.log(start_price) + np.cumsum(log_returns, axis=0)).T.copy()  # (P, T)
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
