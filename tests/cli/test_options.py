"""Reading what options say."""

from __future__ import annotations

import pytest

from engine.errors import ConfigError
from riskstream.options import parse_duration, parse_time


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("7d", 604_800_000),
        ("12h", 43_200_000),
        ("30m", 1_800_000),
        ("1s", 1_000),
        ("0s", 0),
        ("0.5s", 500),
        (" 1.5 h ", 5_400_000),
        ("3650d", 315_360_000_000),
        (None, None),
    ],
)
def test_durations(text: str | None, milliseconds: int | None) -> None:
    assert parse_duration("--labels-delay", text) == milliseconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "+1d", "1w", "1D", "1d 2h", ".5d", "inf"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--labels-delay must be a number and a unit") as raised:
        parse_duration("--labels-delay", text)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("text", ["3650.1d", "9" * 400 + "s"])
def test_a_duration_has_an_end(text: str) -> None:
    with pytest.raises(ConfigError, match="at most 3650d"):
        parse_duration("--labels-delay", text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:01Z", 1_000),
        ("0001-01-01", -62_135_596_800_000),
    ],
)
def test_times(text: str, milliseconds: int) -> None:
    assert parse_time("--from", text) == milliseconds


@pytest.mark.parametrize("text", ["", "soon", "2026-02-30", "9999-12-31T23:59:59-14:00"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="--from must be an ISO 8601 time"):
        parse_time("--from", text)
