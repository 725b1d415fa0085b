"""A progress display that records what it receives."""

from typing import Self


class ProgressRecorder:
    """Records every batch and epoch. Fails if one is reported while the display is closed."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int, int]] = []
        self.epochs: list[tuple[int, int, float, float | None]] = []
        self.is_open = False

    def __enter__(self) -> Self:
        self.is_open = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.is_open = False

    def on_batch_end(self, epoch: int, batches_done: int, batches: int) -> None:
        assert self.is_open
        self.batches.append((epoch, batches_done, batches))

    def on_epoch_end(self, epoch: int, epochs: int, loss: float, validation_loss: float | None) -> None:
        assert self.is_open
        self.epochs.append((epoch, epochs, loss, validation_loss))
