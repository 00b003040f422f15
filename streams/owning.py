"""Taking partitions: where each goes on, by the store, by what Kafka holds and what it was told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from faust.types import TP

from engine.errors import StreamError
from streams.committed import Committed, committed
from streams.lane import Lane
from streams.log import get_logger
from streams.losses import loss_of
from streams.ranges import Start, start_at
from streams.retries import Interrupted

if TYPE_CHECKING:
    from streams.app import RiskApp

logger = get_logger(__name__)


class Owning:
    """See the module's docstring.

    Args:
        app: whose partitions these are.
    """

    def __init__(self, app: RiskApp) -> None:
        self._app = app
        self._revocations = 0
        self._told_lost: dict[TP, int] = {}

    def revoked(self) -> None:
        """Note that partitions leave: what is being taken is perhaps another worker's."""
        self._revocations += 1

    async def take(self, lane: Lane[Any], wanted: Iterable[TP]) -> dict[TP, int]:
        """Own partitions and return where they go on; nothing where the worker is to stop."""
        tps, revocations = {tp.partition: tp for tp in wanted}, self._revocations
        try:
            found = await lane.positions(tps)
            starts = await self._starts({tps[each]: at for each, at in found.items()})
            if self._revocations != revocations:
                return {}
            caught_up = [tp.partition for tp, start in starts.items() if start.is_caught_up]
            await lane.own({tp.partition: found[tp.partition] for tp in starts}, caught_up)
        except Interrupted as error:
            logger.warning("%s", error)
            return {}
        except StreamError as error:
            self._app.fail(error)
            return {}
        return {tp: start.offset for tp, start in starts.items()}

    async def _starts(self, found: Mapping[TP, int | None]) -> dict[TP, Start]:
        held = await self._app.pipeline.retries.until_done(
            "read", lambda: self._app.batches.held(found, self._app.exact_ends)
        )
        told = await self._committed(found)
        starts = {}
        for tp, position in sorted(found.items()):
            loss = loss_of(
                *tp, position, held[tp], told.get((tp.topic, tp.partition)), self._app.commit_note
            )
            if loss is not None:
                self._app.recovery.tell_loss(tp, loss)
                continue
            start = start_at(tp.topic, tp.partition, position, held[tp])
            self.tell_lost(tp, start.offset - start.lost, start.offset)
            logger.info(
                "partition %d of %s goes on at offset %d", tp.partition, tp.topic, start.offset
            )
            starts[tp] = start
        return starts

    async def _committed(self, tps: Iterable[TP]) -> dict[tuple[str, int], Committed]:
        """Return what Kafka was told of partitions; nothing where it is not to be believed."""
        if not self._app.exact_ends:
            return {}
        broker, group = self._app.settings.broker, self._app.settings.app.id
        places = [(tp.topic, tp.partition) for tp in tps]
        return await self._app.pipeline.retries.until_done(
            "read", lambda: committed(broker, group, places)
        )

    def tell_lost(self, tp: TP, first: int, end: int) -> None:
        """Tell of the events from one offset to before another that are gone, once."""
        first = max(first, self._told_lost.get(tp, 0))
        if first >= end:
            return
        self._told_lost[tp] = end
        self._app.metrics.lost.labels(tp.topic, tp.partition).inc(end - first)
        logger.error(
            "%d events of partition %d of %s were deleted before they were scored",
            end - first,
            tp.partition,
            tp.topic,
        )
