"""The event loops of a worker: uvloop's, which spend about half of what asyncio's own do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

_T = TypeVar("_T")


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for a thread."""
    return uvloop.new_event_loop()


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end on a loop of its own, as :func:`asyncio.run` does."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)
