"""The exception tree of riskstream.

::

    RiskstreamError
    ├── ConfigError             a setting is unknown or has a wrong value
    ├── SchemaError             an event schema contradicts itself
    ├── BundleError             a bundle is missing, damaged, or of another format
    ├── DeviceError             the requested device cannot run the graph
    ├── HistoryError            a file of events cannot be read as one
    ├── EmbeddedServerError     a server started by riskstream itself did not come up
    ├── StreamError             the stream cannot go on, and trying again would not help
    └── Unavailable             a server is not reachable
        ├── BrokerUnavailable   Kafka
        └── StoreUnavailable    Redis

Every message says the rule, then what was found, then what to do.
"""

from __future__ import annotations


class RiskstreamError(Exception):
    """The root: whatever riskstream raises on purpose."""


class ConfigError(RiskstreamError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class SchemaError(RiskstreamError):
    """An event schema contradicts itself."""


class BundleError(RiskstreamError):
    """A bundle is missing, truncated, tampered with, or of another format version."""


class DeviceError(RiskstreamError):
    """The requested device cannot run the graph."""


class HistoryError(RiskstreamError):
    """A file of events is missing, unreadable, or lacks a column."""


class EmbeddedServerError(RiskstreamError):
    """A server that riskstream starts itself did not come up or went down."""


class StreamError(RiskstreamError):
    """The stream cannot go on: topic and state do not fit, or a server refuses for good."""


class Unavailable(RiskstreamError):
    """A server that riskstream depends on is not reachable."""


class BrokerUnavailable(Unavailable):
    """The Kafka broker is not reachable."""


class StoreUnavailable(Unavailable):
    """The state store (Redis) is not reachable or refuses for now."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
