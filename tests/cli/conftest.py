"""What the tests of several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.topics import write_config


@pytest.fixture
def config(tmp_path: Path, embedded_broker: str) -> Path:
    """A configuration file for the embedded broker, with topics of the test's own."""
    return write_config(tmp_path, embedded_broker)
