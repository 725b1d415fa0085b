"""Helpers and fixtures for the tests of charts."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from app.artifact.evidence import PointBaseline, Score
from tests.training.conftest import make_backtest, make_series
from training.data.simulator import random_walk
from training.evaluation.scoring import score_backtest


@pytest.fixture(scope="session")
def scores() -> list[Score]:
    """Scores of two random walks, at horizons 1 and 3."""
    found = []
    for seed in (1, 2):
        series = make_series(random_walk(1, 600, seed)[0].prices, f"walk-{seed}")
        found += score_backtest(make_backtest(series, [50, 80, 95], horizon=3))
    return found


def make_baseline(name: str, ratio: float, reach: float = 0.001) -> PointBaseline:
    """Return a ratio with an interval of ± `reach`."""
    return PointBaseline(
        baseline=name, origins=9, rmse_ratio=ratio, low=ratio - reach, high=ratio + reach, p_value=None
    )


def dots(axes: Axes) -> list[tuple[float, float]]:
    """Return the positions of all dots."""
    return [
        (float(x), float(y))
        for line in axes.get_lines()
        if line.get_marker() == "o"
        for x, y in np.asarray(line.get_xydata(), dtype=float)
    ]


def edge_labels(axes: Axes) -> list[str]:
    """Return the ratios written at the edge of the axis."""
    return [text.get_text() for text in axes.texts]
