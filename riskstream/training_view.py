"""How far a training is: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from models.progress import Progress as Told


class TrainingView(Told):
    """Shows a training's progress on a console. Use it in a ``with`` block.

    On a terminal a bar shows the features, then the epochs: how much is done, the loss of the last
    batches, the last epoch's figures, and how long the rest takes at most (it may stop early).
    Each epoch that is done is a line, on a terminal and in a pipe.

    Args:
        console: where it is shown.
        epochs: the most epochs.
        checkpoint: where each epoch is kept, to say so.
    """

    def __init__(self, console: Console, epochs: int, checkpoint: Path | None = None) -> None:
        self._console, self._epochs, self._checkpoint = console, epochs, checkpoint
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._figures = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def features(self, done: int, total: int) -> None:
        """See :class:`models.progress.Progress`."""
        if self._task is None:
            self._task = self._bar.add_task("features", total=total, told="")
        self._bar.update(self._task, completed=done, told=f"{total:,} events")
        if done == total:
            self._bar.remove_task(self._task)
            self._task = None

    def resumed(self, epochs: int) -> None:
        """See :class:`models.progress.Progress`."""
        self._print(f"going on after epoch {epochs}, from {self._checkpoint}")

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """See :class:`models.progress.Progress`."""
        task = self._epoch_task(epoch)
        self._bar.update(
            task, completed=epoch - 1 + done / total, told=f"loss {loss:.4f}{self._figures}"
        )

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """See :class:`models.progress.Progress`."""
        self._figures = f"  validation {_shown(figures)}"
        self._bar.update(self._epoch_task(epoch), completed=epoch, told=self._figures.strip())
        self._print(f"epoch {epoch:>3}  {line_of(figures)}")

    def not_kept(self, error: OSError) -> None:
        """See :class:`models.progress.Progress`."""
        self._print(f"the checkpoint cannot be written, the training goes on without: {error}")

    def _epoch_task(self, epoch: int) -> TaskID:
        if self._task is None:
            self._task = self._bar.add_task("", total=self._epochs, completed=epoch - 1, told="")
        self._bar.update(self._task, description=f"epoch {epoch} of {self._epochs}")
        return self._task

    def _print(self, text: str) -> None:
        self._console.print(escape(text))


def _shown(figures: Mapping[str, float]) -> str:
    """Return the figure that says most in little room.

    >>> _shown({"loss": 0.25, "auc_roc": 0.9, "average_precision": 0.7})
    'AP 0.7000'
    """
    if "average_precision" in figures:
        return f"AP {figures['average_precision']:.4f}"
    return next((f"{name} {value:.4f}" for name, value in figures.items() if name != "loss"), "")


#: Figures below it, such as losses of returns, are written with six decimals.
_SMALL = 0.01


def line_of(figures: Mapping[str, float]) -> str:
    """Return figures as a line for people.

    >>> line_of({"loss": 0.25, "auc_roc": 0.9})
    'loss 0.2500  auc_roc 0.9000'
    """
    return "  ".join(
        f"{name} {value:.{6 if abs(value) < _SMALL else 4}f}" for name, value in figures.items()
    )
