"""Tests of the style that all charts share."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.training.conftest import make_backtest
from training.data.simulator import random_walk
from training.reports import forecast_plots, plot_style


def test_escape_mathtext_escapes_dollar_signs() -> None:
    assert plot_style.escape_mathtext("US$_^ per EUR$") == r"US\$_^ per EUR\$"


def test_save_png_reduces_colors_and_size(tmp_path: Path) -> None:
    figure = forecast_plots.plot_fan(make_backtest(random_walk(1, 300, 1)[0], horizon=5))
    plot_style.save_png(figure, tmp_path / "few.png")
    figure.savefig(tmp_path / "all.png", dpi=plot_style.DPI)
    few, every = (Image.open(tmp_path / name) for name in ("few.png", "all.png"))
    assert few.size == every.size
    colors = few.convert("RGB").getcolors()
    assert colors is not None
    assert len(colors) <= plot_style.PNG_COLORS
    off = np.abs(np.asarray(few.convert("RGB"), dtype=float) - np.asarray(every.convert("RGB"), dtype=float))
    assert off.mean() < 1
    assert (tmp_path / "few.png").stat().st_size < 0.6 * (tmp_path / "all.png").stat().st_size
