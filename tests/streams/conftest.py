"""Streams for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from models.packs.registry import pack_folder
from tests.streams.harness import Stream


@pytest.fixture
def make_stream(tmp_path: Path, valkey_url: str) -> Iterator[Callable[..., Stream]]:
    """A factory of streams: ``make_stream(bootstrap, topics__partitions=3)``."""
    with ExitStack() as stack:

        def make(bootstrap: str, bundle: Path | None = None, **settings: Any) -> Stream:
            folder = bundle or pack_folder("fraud") / "bundle"
            return stack.enter_context(Stream(tmp_path, bootstrap, valkey_url, folder, **settings))

        yield make
