"""The names of the keys.

::

    rs:{<namespace>:<partition>}             position of the partition
    rs:{<namespace>:<partition>}:<account>   state of an account

The braces are Redis Cluster's hash tag: all keys of a partition lie in one slot, so that one script
can write them. An account may hold any character, braces and colons too, since a hash tag is the
first pair of braces only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.errors import ConfigError

PREFIX = "rs:"
GLOB_SPECIAL = re.compile(rb"[\\*?\[\]]")


class Keys:
    """Key names of one namespace."""

    def __init__(self, namespace: str) -> None:
        """Take a namespace.

        Raises:
            ConfigError: it is empty, or holds a brace, which would move the hash tag.
        """
        if not namespace or "{" in namespace or "}" in namespace:
            raise ConfigError(
                "the namespace of a state store must be a text without braces, "
                f"however: namespace={namespace!r}"
            )
        self._namespace = namespace

    def position(self, partition: int) -> bytes:
        """Return the key of a partition's position."""
        return f"{PREFIX}{{{self._namespace}:{partition}}}".encode()

    def states(self, partition: int, accounts: Sequence[str]) -> list[bytes]:
        """Return the keys of accounts, in their order."""
        start = self._start(partition)
        return [start + _encode(account) for account in accounts]

    def pattern(self, partition: int) -> bytes:
        """Return the SCAN pattern that finds every state of a partition."""
        return beginning(self._start(partition))

    def account(self, partition: int, key: bytes) -> str:
        """Return the account whose state lies at `key`."""
        return key[len(self._start(partition)) :].decode("utf-8", "surrogatepass")

    def _start(self, partition: int) -> bytes:
        return self.position(partition) + b":"


def beginning(start: bytes) -> bytes:
    """Return the SCAN pattern of the keys that begin so.

    >>> beginning(b"rs:[a]")
    b'rs:\\\\[a\\\\]*'
    """
    return GLOB_SPECIAL.sub(rb"\\\g<0>", start) + b"*"


def _encode(account: str) -> bytes:
    # JSON may carry half of a surrogate pair; it is a different account, not an error.
    return account.encode("utf-8", "surrogatepass")
