"""Logging: one line an event, and no secrets."""

from __future__ import annotations

import logging
import sys


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, below ``riskstream``."""
    return logging.getLogger(f"riskstream.{name.removeprefix('streams.')}")


def set_up_logging(level: str) -> None:
    """Log to standard error, one line a record; libraries from their warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z"
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("riskstream").setLevel(level)
    logging.getLogger("engine").setLevel(level)
    if level == "DEBUG":
        logging.getLogger("faust").setLevel(logging.INFO)
    else:
        # What the clients say of a broker that is away is said once, by riskstream.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        # An interrupted aiokafka producer leaves tasks behind, which asyncio reports as errors.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        logging.getLogger("faust.transport").setLevel(logging.CRITICAL)
