"""Knowing whether Kafka is there, and saying so once when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.errors import Unavailable
from streams.log import get_logger

logger = get_logger(__name__)

_ANSWER_WITHIN_S = 2.0


class BrokerWatch:
    """Whether Kafka answers.

    Args:
        ping: returns if it does, and raises :class:`Unavailable` if it does not.
        address: for the lines of the log.
    """

    def __init__(self, ping: Callable[[], Awaitable[None]], address: str) -> None:
        self._ping = ping
        self._address = address
        self._is_away = False

    async def look(self) -> bool:
        """Return whether Kafka is away now."""
        away = not await self._answers()
        was_away, self._is_away = self._is_away, away
        if self._is_away and not was_away:
            logger.warning("Kafka is away: no answer at %s (broker.bootstrap)", self._address)
        elif was_away and not self._is_away:
            logger.warning("Kafka is back at %s", self._address)
        return self._is_away

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await self._ping()
        except (TimeoutError, Unavailable):
            return False
        return True
