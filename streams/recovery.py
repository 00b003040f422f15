"""Partitions that wait to be taken again: fenced ones, and all where the state store lost writes.

A score depends on what other partitions have added. So where the store lost its last writes, no
partition goes on by itself: all that are behind are put aside, wait until the other workers have
noticed too, and go back together.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from faust.types import TP

from engine.errors import Unavailable
from streams.lane import Lane
from streams.log import get_logger
from streams.losses import Loss

if TYPE_CHECKING:
    from streams.app import RiskApp

logger = get_logger(__name__)

#: How often positions are compared with those in the store.
_LOOK_EVERY_S = 1.0

#: How often to look whether a loss has been accepted.
LOSS_EVERY_S = 3.0

#: How long partitions that go back wait: by then, every worker has looked.
_SETTLE_S = 2.5


class Recovery:
    """See the module's docstring.

    Args:
        app: whose partitions these are.

    Attributes:
        waiting: the partitions that are put aside, and when they are due, by the monotonic clock.
        losses: those among them whose states cannot be rebuilt, until somebody accepts it.
    """

    def __init__(self, app: RiskApp) -> None:
        self._app = app
        self._has_lost = asyncio.Event()
        self.waiting: dict[TP, float] = {}
        self.losses: dict[TP, Loss] = {}

    def forget(self) -> None:
        """Put nothing aside: every partition is taken anew."""
        self.waiting.clear()
        self.losses.clear()

    def put_aside(self, tps: Iterable[TP], for_s: float = -math.inf) -> None:
        """Process nothing of partitions until their positions are read again, after a while."""
        for tp in tps:
            self.waiting[tp] = time.monotonic() + for_s
            self._app.batches.pause_partitions([tp])

    def go_back(self, tps: Sequence[TP]) -> None:
        """Put aside partitions whose positions in the store are behind, and look at all others."""
        self.put_aside(tps, _SETTLE_S)
        if tps:
            self._has_lost.set()

    def tell_loss(self, tp: TP, loss: Loss) -> None:
        """Note that a partition's states cannot be rebuilt, and say so once; it holds up nobody."""
        self._app.pipeline.alignment.leave(tp.topic, [tp.partition])
        if self.losses.get(tp) != loss:
            logger.error("%s", loss)
        self.losses[tp] = loss

    async def look(self) -> None:
        """Wait a moment; then compare positions with the store's, and take what is due."""
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._has_lost.wait()
        except TimeoutError:
            pass
        self._has_lost.clear()
        for lane in self._lanes:
            try:
                behind = await lane.behind()
            except Unavailable:
                # Whatever else needs the store says so.
                return
            if behind:
                async with lane.lock:
                    await self._app.settle(lane)
                    self.put_aside([TP(lane.topic, each) for each in lane.drop(behind)], _SETTLE_S)
        await self._take_due()

    async def _take_due(self) -> None:
        """Take the partitions that are due and still assigned here, all together."""
        now = time.monotonic()
        assigned = set(self._app.batches.assignment())
        due = [tp for tp, at in self.waiting.items() if at <= now and tp in assigned]
        if not due:
            return
        async with AsyncExitStack() as stack:
            # Nothing is processed until all are taken.
            for lane in self._lanes:
                await stack.enter_async_context(lane.lock)
                await self._app.settle(lane)
            for lane in self._lanes:
                await self._take(lane, [tp for tp in due if tp.topic == lane.topic])

    async def _take(self, lane: Lane[Any], tps: list[TP]) -> None:
        if not tps:
            return
        starts = await self._app.owning.take(lane, tps)
        for tp in starts:
            self.losses.pop(tp, None)
        self.put_aside(self.losses.keys() & set(tps), LOSS_EVERY_S)
        for tp, offset in starts.items():
            # A rebalance meanwhile has read the positions already.
            if self.waiting.pop(tp, None) is not None:
                self._app.batches.rewind(tp, offset)
                self._app.batches.resume_partitions([tp])

    @property
    def _lanes(self) -> list[Lane[Any]]:
        return list(self._app.pipeline.lanes.values())
