"""``riskstream settings``: every setting, with its default and its environment variable."""

from __future__ import annotations

import sys

from riskstream.options import ConfigOption, settings_of
from riskstream.settings_reference import reference_toml


def settings(config: ConfigOption = None) -> None:
    """Print every setting as a configuration file to start from; check one with --config.

    [bold]Examples[/bold]

      riskstream settings > riskstream.toml

      riskstream settings --config riskstream.toml > /dev/null && echo valid
    """
    settings_of(config)
    sys.stdout.write(reference_toml())
