"""Which addresses and arguments open a store, and that none shows its password."""

from __future__ import annotations

import pytest

from engine.errors import ConfigError
from streams.store.factory import open_store
from streams.store.redis.address import redact


@pytest.mark.parametrize(
    "url",
    ["", "redis", "http://host", "unix+cluster:///a", "redis://host:port", "redis://u:pw@h:x"],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"state\.url") as caught:
        open_store(url, namespace="app")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "a}b", "{a"])
def test_a_wrong_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        open_store("redis://host", namespace=namespace)


def test_an_expiry_is_at_least_a_second() -> None:
    with pytest.raises(ConfigError, match="expire_s"):
        open_store("redis://host", namespace="app", expire_s=0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:p@ss/w?rd#@host:6379/0", "redis://***@host:6379/0"),
        ("unix:///a.sock?PASSWORD=x&db=1", "unix:///a.sock?PASSWORD=***&db=1"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown
