"""The event loop of a worker: uvloop's, which spends about half of what asyncio's own does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import uvloop

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end on a loop of its own, as :func:`asyncio.run` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def both(first: Awaitable[object], second: Awaitable[object]) -> None:
    """Wait until two things are done, and raise what either raised once neither goes on."""
    for found in await asyncio.gather(first, second, return_exceptions=True):
        if isinstance(found, BaseException):
            raise found
