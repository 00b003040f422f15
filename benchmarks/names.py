"""What tables call those that take part."""

from __future__ import annotations

RISKSTREAM = "riskstream"
#: With the bundle that comes with it: buckets of terminals and accounts, labels, alerts, reasons.
DEFAULT = "riskstream, default bundle"
ECHO = "echo"
FAUST = "faust tutorial"
QUIX = "quix streams"
