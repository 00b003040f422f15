"""What a training tells of itself while it runs."""

from __future__ import annotations

from collections.abc import Mapping


class Progress:
    """Is told; each method does nothing unless a subclass has it do something."""

    def features(self, done: int, total: int) -> None:
        """``done`` of ``total`` events have their features."""

    def resumed(self, epochs: int) -> None:
        """The training goes on after so many epochs, from its checkpoint."""

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Some of an epoch's batches are done; ``loss`` is the mean of the last ones."""

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """An epoch is done, the first being 1; ``loss`` and figures of the validation period."""

    def not_kept(self, error: OSError) -> None:
        """The checkpoint of this epoch could not be written; the training goes on."""
