"""The distributions of the simulator's parameters."""

from dataclasses import fields

import numpy as np
import pytest

from training.data.simulation_parameters import SimulationParameters, draw_parameters
from training.data.simulator import BURN_IN_STEPS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn() -> SimulationParameters:
    return draw_parameters(3000, np.random.default_rng(3))


def test_draw_parameters_are_valid(drawn: SimulationParameters) -> None:
    p = drawn
    for field in fields(SimulationParameters):
        values = getattr(p, field.name)
        assert values.shape == (3000,), field.name
        assert np.isfinite(values).all(), field.name
    for positive in (p.volatility, p.skew, p.season_steps, p.season_sharpness):
        assert (positive > 0).all()
    for share in (p.news, p.asymmetry, p.up_probability, p.down_probability, p.jumps_per_step, p.stale_probability):
        assert ((share >= 0) & (share <= 1)).all()
    for memory in (p.persistence, p.slow_persistence, p.fast_persistence):
        assert ((memory >= 0) & (memory < 1)).all()
    for correlation in (p.leverage, p.autocorrelation):
        assert (np.abs(correlation) < 1).all()
    for size in (p.slow_sd, p.fast_sd, p.season_amplitude, p.jump_size, p.bounce, p.tick):
        assert (size >= 0).all()
    assert (p.news <= p.persistence).all()  # the difference is the weight of the last variance
    assert (p.degrees_of_freedom > 2).all()  # otherwise the variance is infinite
    assert (p.regime_ratio >= 1).all()
    assert np.isin(p.excited_by_rises, (0, 1)).all()


@pytest.mark.parametrize(
    ("parameter", "disabled"),
    [
        *(("persistence", 0), ("asymmetry", 0), ("slow_sd", 0), ("fast_sd", 0), ("regime_ratio", 1), ("skew", 1)),
        *(("season_amplitude", 0), ("jumps_per_step", 0), ("bounce", 0), ("tick", 0), ("stale_probability", 0)),
        *(("degrees_of_freedom", 100), ("leverage", 0), ("excited_by_rises", 0)),
    ],
)
def test_draw_parameters_component_is_in_some_paths_only(
    drawn: SimulationParameters, parameter: str, disabled: float
) -> None:
    share_without = float(np.mean(getattr(drawn, parameter) == disabled))
    assert 0.01 < share_without < 0.99


def test_draw_parameters_memory_fits_into_the_burn_in(drawn: SimulationParameters) -> None:
    """The burn-in is long enough to forget the initial value of garch_t."""
    has_garch = drawn.persistence > 0
    assert np.median(drawn.persistence[has_garch] ** BURN_IN_STEPS) < 0.01
