"""Trying a step again while a server is away, until it succeeds or the batch is given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential

from engine.errors import RiskstreamError, Unavailable
from streams.log import get_logger
from streams.metrics import Metrics

logger = get_logger(__name__)

_T = TypeVar("_T")

#: While a server is away, one line of the log for so many tries, about one a minute.
_TRIES_A_LINE = 60


class Interrupted(RiskstreamError):
    """A step was given up while a server was away: its partitions leave, or the worker stops."""


class Retries:
    """How the steps of a batch wait for servers.

    Args:
        metrics: where tries are counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._interrupted = False
        #: What steps wait for: each step's last error.
        self.troubles: dict[str, str] = {}

    def interrupt(self) -> None:
        """Give up a step that waits for a server, and every one that would, until allowed again."""
        self._interrupted = True

    def allow(self) -> None:
        """Let steps wait for servers again."""
        self._interrupted = False

    async def until_done(self, step: str, action: Callable[[], Awaitable[_T]]) -> _T:
        """Return what an action returns, trying again for as long as a server is unavailable.

        Raises:
            Interrupted: the step was given up.
        """
        try:
            return await action()
        except Unavailable as error:
            return await self._until_done(step, action, error)

    async def _until_done(
        self, step: str, action: Callable[[], Awaitable[_T]], first: Unavailable
    ) -> _T:
        """Go on after a first try that failed."""
        failed = [first]

        async def again() -> _T:
            if failed:
                raise failed.pop()
            return await action()

        def waiting(state: RetryCallState) -> None:
            self._metrics.retries.labels(step).inc()
            if state.attempt_number % _TRIES_A_LINE == 1 and state.outcome is not None:
                logger.warning("%s; trying again", state.outcome.exception())
            if state.outcome is not None:
                self.troubles[step] = str(state.outcome.exception())
            if self._interrupted:
                raise Interrupted(f"{step} was given up: the server is away, the partitions leave")

        try:
            async for attempt in AsyncRetrying(
                wait=wait_exponential(multiplier=0.05, max=1),
                retry=retry_if_exception_type(Unavailable),
                before_sleep=waiting,
                reraise=True,
            ):
                with attempt:
                    result = await again()
        finally:
            self.troubles.pop(step, None)
        return result
