"""The pinball loss in Keras equals the pinball score in NumPy."""

import numpy as np
import pytest

from app.artifact.arrays import F64
from app.evaluation import scores
from training.fitting.losses import PinballLoss

pytestmark = pytest.mark.slow


def loss_and_score(outcomes: F64, quantiles: F64, taus: list[float]) -> tuple[float, float]:
    """The Keras loss, and the mean over the horizons of the NumPy score."""
    flat = quantiles.reshape(len(quantiles), -1).astype(np.float32)
    loss = float(np.asarray(PinballLoss(taus)(outcomes.astype(np.float32), flat)))
    by_horizon = [scores.pinball(quantiles[:, h], outcomes[:, h], taus) for h in range(outcomes.shape[1])]
    return loss, float(np.mean(by_horizon))


@pytest.mark.parametrize("taus", [[0.5], [0.1, 0.5, 0.9], [0.025, 0.1, 0.5, 0.9, 0.975]])
@pytest.mark.parametrize("horizon", [1, 4])
def test_pinball_loss_equals_the_pinball_score(taus: list[float], horizon: int) -> None:
    rng = np.random.default_rng(2)
    loss, score = loss_and_score(rng.normal(size=(33, horizon)), rng.normal(size=(33, horizon, len(taus))), taus)
    assert loss == pytest.approx(score, rel=1e-5)


def test_pinball_loss_two_steps_and_three_quantiles() -> None:
    """Outcomes are 1 and −1, and the quantiles are −1, 0, 1 at both steps."""
    quantiles = np.tile([-1.0, 0.0, 1.0], (1, 2, 1))
    first = 0.1 * 2 + 0.5 * 1 + 0.9 * 0
    second = 0.1 * 0 + 0.5 * 1 + 0.1 * 2
    loss, score = loss_and_score(np.array([[1.0, -1.0]]), quantiles, [0.1, 0.5, 0.9])
    assert loss == pytest.approx((first + second) / 6, rel=1e-6)
    assert score == pytest.approx((first + second) / 6)
