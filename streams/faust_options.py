"""The configuration in Faust's words."""

from __future__ import annotations

from typing import Any

import faust
from faust.serializers.schemas import DecodeFunction
from faust.types import AppT, Message
from faust.types.auth import CredentialsT

from engine.errors import ConfigError
from streams.kafka import bootstrap_servers, ssl_context
from streams.settings import Broker, Settings


class PollSchema(faust.Schema[Any, Any]):
    """The schema of polls, which are values already: nothing is looked up to read them."""

    def compile(self, app: AppT, **_: Any) -> DecodeFunction:
        """Return what makes a message an event."""

        async def decode(message: Message, *, propagate: bool = False) -> faust.Event:
            return faust.Event(app, None, message.value, message.headers, message)

        return decode


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return what a Faust app is given."""
    broker, worker = settings.broker, settings.worker
    return {
        "broker": ";".join(f"riskstream://{each}" for each in bootstrap_servers(broker)),
        "broker_credentials": _credentials(broker),
        "broker_session_timeout": broker.session_timeout_s,
        "broker_heartbeat_interval": broker.session_timeout_s / 4,
        "broker_request_timeout": broker.request_timeout_s,
        "broker_commit_interval": worker.commit_interval_s,
        "broker_max_poll_records": worker.max_batch,
        "broker_max_poll_interval": 3600.0,
        # New partitions are noticed after so long.
        "consumer_metadata_max_age_ms": round(broker.metadata_age_s * 1000),
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 4_194_304,
        # One poll waits while another is scored: what is held in memory is bounded by these.
        "stream_buffer_maxsize": 1,
        "stream_wait_empty": True,
        "store": "memory://",
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "web_enabled": worker.web_port != 0,
        "web_bind": worker.web_host,
        "web_port": worker.web_port or None,
        "autodiscover": False,
    }


def _credentials(broker: Broker) -> CredentialsT | None:
    context = ssl_context(broker)
    if broker.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=broker.sasl_username,
            password=broker.sasl_password.get_secret_value(),
            mechanism=broker.sasl_mechanism,
            ssl_context=context,
        )
    if broker.security_protocol == "SSL":
        if context is None:
            raise ConfigError("broker.security_protocol = SSL must have an SSL context")
        return faust.SSLCredentials(context=context)
    return None
