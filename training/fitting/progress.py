"""Progress displays for training."""

import sys
import time
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressDisplay(Protocol):
    """Is told of every batch and epoch."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def batch(self, epoch: int, done: int, batches: int) -> None: ...

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None: ...


class ProgressBar:
    """A moving bar, for a terminal."""

    def __init__(self, epochs: int) -> None:
        self._progress = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("", total=epochs, said="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def batch(self, epoch: int, done: int, batches: int) -> None:
        self._progress.update(self._task, completed=epoch + done / batches)

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        self._progress.update(self._task, completed=epoch + 1, said=_losses(loss, validation))


class ProgressLines:
    """A line an epoch, for a file or a log."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def batch(self, epoch: int, done: int, batches: int) -> None:
        pass

    def epoch(self, epoch: int, epochs: int, loss: float, validation: float | None) -> None:
        left_s = (time.monotonic() - self._started) / (epoch + 1) * (epochs - epoch - 1)
        print(f"epoch {epoch + 1}/{epochs}  {_losses(loss, validation)}  {left_s:.0f} s left", flush=True)


def progress_display(epochs: int) -> ProgressDisplay:
    """The display that fits where standard output goes."""
    return ProgressBar(epochs) if Console(file=sys.stdout).is_terminal else ProgressLines()


def _losses(loss: float, validation: float | None) -> str:
    return f"loss {loss:.5f}" + ("" if validation is None else f"  validation {validation:.5f}")
