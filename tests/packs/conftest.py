"""The fixtures of streams, for the packs' streams."""

from tests.streams.conftest import make_stream

__all__ = ["make_stream"]
