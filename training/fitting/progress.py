"""Displays of training progress."""

import sys
import time
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressDisplay(Protocol):
    """Receives the progress of one training run, which enters it as a context manager. Epochs count from 0."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        """Handle the end of a batch."""

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        """Handle the end of an epoch."""


class ProgressBar:
    """Shows a progress bar in a terminal."""

    def __init__(self, epochs: int) -> None:
        self._progress = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("", total=epochs, losses="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        """Advance the bar by a fraction of an epoch."""
        self._progress.update(self._task, completed=epoch + batches_done / batches)

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        """Show the losses of the epoch."""
        self._progress.update(self._task, completed=epoch + 1, losses=_format_losses(loss, validation_loss))


class ProgressLines:
    """Prints one line per epoch, for files and logs."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        """Print nothing."""

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        """Print the losses and the estimated remaining time."""
        left_s = (time.monotonic() - self._started) / (epoch + 1) * (epochs - epoch - 1)
        losses = _format_losses(loss, validation_loss)
        print(f"epoch {epoch + 1}/{epochs}  {losses}  {left_s:.0f} s left", flush=True)


def progress_display(epochs: int) -> ProgressDisplay:
    """Create a `ProgressBar` if standard output is a terminal, and `ProgressLines` otherwise."""
    return ProgressBar(epochs) if Console(file=sys.stdout).is_terminal else ProgressLines()


def _format_losses(loss: float, validation_loss: float | None) -> str:
    return f"loss {loss:.5f}" + ("" if validation_loss is None else f"  validation {validation_loss:.5f}")
