"""The processes that train one model together, as ``torchrun`` starts them.

Each of them has all the data and the same weights, learns from its share of every batch, and adds
its gradient to those of the others, so that all take the same step.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Processes:
    """One of ``size`` processes; alone by default.

    Args:
        rank: which one, from 0 on. The first writes and tells.
        size: how many there are.
        device: on which this one trains.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def share(self) -> tuple[int, int]:
        """Its share of what is split among them: ``(rank, size)``."""
        return self.rank, self.size

    @property
    def first(self) -> bool:
        """Whether this one writes and tells."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all of them have come here."""
        if self.size > 1:
            dist.barrier()

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, in place, and return it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace each weight's gradient by its sum over all processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [each.grad for each in weights if each.grad is not None]
        flat = self.add_up(torch.cat([each.flatten() for each in gradients]))
        parts = torch.split(flat, [each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


ALONE = Processes()


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; be alone where it did not.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for CUDA where there is such a device. Of several,
            each process of a machine takes its own.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if dist.is_torchelastic_launched() else 1
    local = int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else 0
    own = _device(device, local)
    if size == 1:
        yield Processes(device=own)
        return
    # Optimisers import this at their first step. Imported while a group is open, it keeps the
    # group's threads alive until the interpreter ends, and one of them may then abort the process.
    importlib.import_module("torch._dynamo")
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, own)
    finally:
        dist.destroy_process_group()


def _device(wanted: str, local: int) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    own = torch.device("cuda", local % max(1, torch.cuda.device_count()))
    torch.cuda.set_device(own)
    return own
