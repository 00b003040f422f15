"""Wait for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.01


def wait_for(condition: Callable[[], T], deadline_s: float, what: str) -> T:
    """Return the condition's first true answer.

    Raises:
        TimeoutError: there was none in `deadline_s` seconds; the message names `what`.
    """
    end = time.monotonic() + deadline_s
    while not (answer := condition()):
        if time.monotonic() > end:
            raise TimeoutError(_message(what, deadline_s, answer))
        time.sleep(POLL_S)
    return answer


async def wait_for_async(condition: Callable[[], Awaitable[T]], deadline_s: float, what: str) -> T:
    """Return the awaited condition's first true answer, as `wait_for` does."""
    end = time.monotonic() + deadline_s
    while not (answer := await condition()):
        if time.monotonic() > end:
            raise TimeoutError(_message(what, deadline_s, answer))
        await asyncio.sleep(POLL_S)
    return answer


def _message(what: str, deadline_s: float, answer: object) -> str:
    return f"waited {deadline_s:g} s for {what}; the last answer was {answer!r}"
