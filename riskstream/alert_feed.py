"""The alerts of a feed, and whether Kafka is there while none come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from engine.errors import BrokerUnavailable
from riskstream.alert_table import fault_of
from streams.feed import Entry, Feed
from streams.log import get_logger

logger = get_logger(__name__)

_LOOK_EVERY_S = 2.0


class AlertFeed:
    """Alerts as they come.

    Args:
        feed: an open feed of the alerts topic.
        decision: leave out alerts with another decision; None for all.
        once: end where there are no more.
        tell: takes a line when Kafka goes away, and one when it is back.
    """

    def __init__(
        self,
        feed: Feed,
        decision: str | None,
        once: bool,
        tell: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.once, self.away = once, False
        self._feed, self._decision, self._tell = feed, decision, tell
        self._looked_s = time.monotonic()

    async def batches(self) -> AsyncIterator[list[Entry]]:
        """Yield what came within a moment, perhaps nothing, in the order of publication.

        Raises:
            BrokerUnavailable: Kafka refuses; or it is away, and this is to end by itself.
        """
        while True:
            entries = await self._feed.poll()
            await self._look(bool(entries))
            yield [entry for entry in entries if self._is_wanted(entry)]
            if self.once and not entries and await self._feed.at_end():
                return

    async def _look(self, is_there: bool) -> None:
        """See after Kafka, now and then while nothing comes."""
        if not is_there and time.monotonic() - self._looked_s < _LOOK_EVERY_S:
            return
        found = None if is_there else await self._fault()
        self._looked_s = time.monotonic()
        if found and not self.away:
            self._tell(f"Kafka is away, and is waited for: {found}")
        elif self.away and not found:
            self._tell("Kafka is back")
        self.away = found is not None

    async def _fault(self) -> str | None:
        try:
            await self._feed.check()
        except BrokerUnavailable as error:
            return str(error)
        return None

    def _is_wanted(self, entry: Entry) -> bool:
        fault = fault_of(entry.body)
        if fault is None:
            return self._decision is None or entry.body["decision"] == self._decision
        logger.warning(
            "%s must hold alerts, however: offset %d of partition %d is none (%s); passed over",
            entry.topic,
            entry.offset,
            entry.partition,
            fault,
        )
        return False
