"""Addresses that may be shown: a URL without its secrets."""

from __future__ import annotations

import re

# Up to the last @ of all: a password that was not percent-encoded may hold any character.
USER_AND_PASSWORD = re.compile(r"(?<=://).*@")
SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|token|secret)[^=&]*=)[^&]*", re.IGNORECASE)


def redact(url: str) -> str:
    """Return `url` with what could be a password replaced by `***`.

    >>> redact("redis://risk:s3cret@db:6379/0")
    'redis://***@db:6379/0'
    >>> redact("unix:///run/redis.sock?db=1&password=s3cret")
    'unix:///run/redis.sock?db=1&password=***'
    """
    return SECRET_OPTION.sub(r"\1***", USER_AND_PASSWORD.sub("***@", url))
