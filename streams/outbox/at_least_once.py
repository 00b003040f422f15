"""At least once: published until acknowledged; a crash publishes a batch again, under its ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.delivery import Shrink
from streams.outbox.base import Results
from streams.publisher import Publisher
from streams.retries import Retries


class AtLeastOnce:
    """See the module's docstring, and :class:`streams.outbox.base.Outbox`.

    Args:
        publisher: sends the records.
        shrink: for a topic, what to send in the place of a record that is too large for it.
        retries: how steps wait for servers.
    """

    tells_offsets = False

    def __init__(
        self, publisher: Publisher, shrink: Mapping[str, Shrink], retries: Retries
    ) -> None:
        self._publisher = publisher
        self._shrink = shrink
        self._retries = retries

    async def own(self, topic: str, partitions: Iterable[int]) -> None:
        """See `Outbox.own`. The position in the state store is what fences others."""

    def published(self, topic: str, partition: int) -> int:
        """See `Outbox.published`."""
        return 0

    async def publish(self, topic: str, positions: Mapping[int, int], results: Results) -> set[int]:
        """See `Outbox.publish`."""
        delivery = self._publisher.delivery(results.all(), self._shrink)
        await self._retries.until_done("publish", delivery.send)
        return set()

    def leave(self) -> None:
        """See `Outbox.leave`."""

    async def close(self) -> None:
        """See `Outbox.close`. The publisher is its opener's."""
