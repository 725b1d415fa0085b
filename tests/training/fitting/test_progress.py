"""The progress bar for terminals, and the progress lines for files."""

import io
import sys
from types import SimpleNamespace

import pytest

from tests.training.fitting.small_network import constant_samples, small_network, training_config
from training.fitting.progress import ProgressBar, ProgressLines, progress_display
from training.fitting.training_loop import fit_network

pytestmark = pytest.mark.slow


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_lines_show_losses_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("training.fitting.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    lines = ProgressLines()
    with lines:
        now[0] += 6
        lines.on_batch_end(0, 1, 1)
        lines.on_epoch_end(0, 4, 0.5, None)
        now[0] += 6
        lines.on_epoch_end(1, 4, 0.25, 0.125)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/4  loss 0.50000  18 s left",
        "epoch 2/4  loss 0.25000  validation 0.12500  12 s left",
    ]


def test_progress_lines_are_printed_during_training(capsys: pytest.CaptureFixture[str]) -> None:
    fit_network(
        small_network(), training_config(epochs=2), [0.5], constant_samples(1.0), constant_samples(1.0), ProgressLines()
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss" in line and "validation" in line and line.endswith(" s left") for line in lines)
    assert lines[-1].endswith("  0 s left")


def redirect_stdout(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    """Make `stream` standard output, and clear the environment variables about terminals."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stream)


def test_progress_display_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    redirect_stdout(monkeypatch, terminal)
    progress = progress_display(2)
    assert isinstance(progress, ProgressBar)
    fit_network(
        small_network(),
        training_config(epochs=2, batch=16),
        [0.5],
        constant_samples(1.0),
        constant_samples(1.0),
        progress,
    )
    drawn = terminal.getvalue()
    assert "epoch" in drawn
    assert "2/2" in drawn
    assert "validation" in drawn


def test_progress_bar_interrupted_restores_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    redirect_stdout(monkeypatch, terminal)
    hide, show = "\x1b[?25l", "\x1b[?25h"

    def draw_and_interrupt() -> None:
        with ProgressBar(3) as bar:
            bar.on_batch_end(0, 1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_and_interrupt()
    assert terminal.getvalue().count(hide) == terminal.getvalue().count(show) == 1


def test_progress_display_without_terminal_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    redirect_stdout(monkeypatch, io.StringIO())
    assert isinstance(progress_display(2), ProgressLines)
