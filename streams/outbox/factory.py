"""Opening the way out that the configuration asks for."""

from __future__ import annotations

from engine.errors import ConfigError
from engine.records import without_event
from streams.outbox.at_least_once import AtLeastOnce
from streams.outbox.base import Outbox
from streams.outbox.exactly_once import ExactlyOnce
from streams.publisher import Publisher
from streams.retries import Retries
from streams.settings import Guarantee, Settings


def new_outbox(settings: Settings, publisher: Publisher, retries: Retries, note: str) -> Outbox:
    """Return the way out of a configuration.

    Args:
        settings: the configuration.
        publisher: its producer is started.
        retries: how steps wait for servers.
        note: what is written beside offsets: the states they belong to.
    """
    # An alert without its event is better than none.
    shrink = {settings.topics.alerts: without_event}
    if settings.app.guarantee is Guarantee.EXACTLY_ONCE:
        return ExactlyOnce(settings, publisher, shrink, retries, note)
    return AtLeastOnce(publisher, shrink, retries)


def check_guarantee(settings: Settings, has_transactions: bool) -> None:
    """Check that the broker can keep the guarantee.

    Raises:
        ConfigError: it cannot.
    """
    if settings.app.guarantee is Guarantee.EXACTLY_ONCE and not has_transactions:
        raise ConfigError(
            "app.guarantee = exactly_once must have a broker with transactions, however: the "
            f"embedded broker at {settings.broker.bootstrap} has none; use Apache Kafka, or set "
            "app.guarantee (RISKSTREAM_APP__GUARANTEE) to at_least_once"
        )
