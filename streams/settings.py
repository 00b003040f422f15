"""The configuration: one typed file, environment variables over it, every setting here.

The file is TOML with the sections below. A setting ``url`` of the section ``state`` is also the
environment variable ``RISKSTREAM_STATE__URL``, which wins. Units stand in the names: ``_s`` is
seconds, ``_ms`` milliseconds, ``_bytes`` bytes, ``_days`` days.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.device import Device

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_MAX_PORT = 65_535


#: What an alert holds beside its event is at most so large.
ALERT_BYTES = 16_384


class OnWrongKey(StrEnum):
    """What happens to an event whose key is not its account."""

    DEAD_LETTER = "dead-letter"
    REKEY = "rekey"


class Guarantee(StrEnum):
    """How often a reader sees what comes of an event."""

    AT_LEAST_ONCE = "at_least_once"
    EXACTLY_ONCE = "exactly_once"


class Section(BaseModel):
    """A section of the configuration; unknown settings are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any, info: ValidationInfo) -> Any:
        """Read an empty text as None where a setting may be None: TOML has no other way."""
        field = cls.model_fields[info.field_name or ""]
        if value == "" and NoneType in get_args(field.annotation):
            return None
        return value


class Application(Section):
    """Who this is. All workers of one id share the work and the states."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "riskstream"
    """The consumer group, and the first part of every key in the state store."""
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    """at_least_once, or exactly_once (Kafka transactions; readers with read_committed)."""


class Broker(Section):
    """Kafka."""

    bootstrap: str = "127.0.0.1:9092"
    """Host and port of one or more brokers, with commas between."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to connect."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How to log in, where the protocol is one of SASL."""
    sasl_username: str = ""
    """The user, where the protocol is one of SASL."""
    sasl_password: SecretStr = SecretStr("")
    """The password, where the protocol is one of SASL. Never logged."""
    ssl_ca_file: Path | None = None
    """Certificates to trust (PEM), where the protocol is one of SSL; the system's if not given."""
    session_timeout_s: Annotated[float, Field(ge=1, le=1800)] = 10.0
    """How long a silent worker keeps its partitions."""
    request_timeout_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    """How long one request may take; at least the session timeout."""
    fetch_wait_ms: Annotated[int, Field(ge=1, le=60_000)] = 500
    """How long the broker may hold a fetch that finds nothing. Low for brokers that always wait."""
    metadata_age_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """How often to ask what partitions there are: new ones are read after so long."""
    connect_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long to try to reach the broker at the start. A running worker tries for ever."""

    @field_validator("bootstrap")
    @classmethod
    def _bootstrap_is_addresses(cls, value: str) -> str:
        """Return the addresses with commas between, and no blanks."""
        addresses = [each.strip() for each in value.split(",")]
        for address in addresses:
            found = _ADDRESS.fullmatch(address)
            if found is None or not 1 <= int(found[2]) <= _MAX_PORT:
                raise ValueError(
                    "broker.bootstrap must be HOST:PORT, or several with commas between, with "
                    f"ports from 1 to {_MAX_PORT:,}, however: {address!r}"
                )
        return ",".join(addresses)

    @model_validator(mode="after")
    def _timeouts_fit(self) -> Self:
        if self.session_timeout_s > self.request_timeout_s:
            raise ValueError(
                "broker.session_timeout_s must not be greater than broker.request_timeout_s, "
                f"however: {self.session_timeout_s:g} > {self.request_timeout_s:g}"
            )
        return self


class Topics(Section):
    """Topics. Those that are missing are created."""

    transactions: TopicName = "transactions"
    """Events to score; the key is the account."""
    labels: TopicName = "labels"
    """What events turned out to be; the key is the event's id. Read where the model uses labels."""
    scores: TopicName = "scores"
    """A record for every event scored."""
    alerts: TopicName = "alerts"
    """A record for every event that is not approved."""
    dead_letters: TopicName = "dead-letters"
    """What could not be scored: the original bytes, with reason and origin in the headers."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """How many partitions a topic gets when it is created."""
    replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    """How many replicas a topic gets when it is created."""
    max_message_bytes: Annotated[int, Field(ge=100_000, le=1_000_000_000)] = 1_048_588
    """The largest record that a topic takes when it is created."""

    @property
    def part_bytes(self) -> int:
        """How many bytes of its event one record of a dead letter holds at most."""
        # Beside them lie a key of up to 64 KiB and the headers.
        return min(900_000, self.max_message_bytes - 81_920)

    @property
    def names(self) -> list[str]:
        """All topics."""
        return [self.transactions, self.labels, self.scores, self.alerts, self.dead_letters]

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError(f"topics must have different names, however: {', '.join(names)}")
        return self


class State(Section):
    """The state store: Redis or Valkey."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """redis://, rediss:// (TLS), unix:// or redis+cluster:// address. May hold a password."""
    expire_days: Annotated[float, Field(gt=0, le=3650)] | None = 180.0
    """An account without events for so long is forgotten; an empty text for never."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    """How long one request may take."""
    connect_timeout_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long to try to reach the store at the start. A running worker tries for ever."""
    hot_accounts: Annotated[int, Field(ge=0, le=100_000_000)] = 100_000
    """How many accounts' states a worker keeps, so as not to read them again; 0 for none."""
    hot_entities: Annotated[int, Field(ge=0, le=100_000_000)] = 50_000
    """Of how many shared entities of a kind a worker keeps the closed buckets; 0 for none."""
    shards: Annotated[int, Field(ge=1, le=4096)] = 8
    """Over how many parts shared entities are spread. Another number starts them anew."""


class Labels(Section):
    """What events turned out to be, told later."""

    keep_days: Annotated[float, Field(gt=0, le=3650)] = 60.0
    """How long after its event a label may come."""


class Alignment(Section):
    """Keeping partitions together in event time, where the stream runs faster than life."""

    grace_s: Annotated[float, Field(ge=0, le=31_536_000)] = 86_400.0
    """How far, in event time, a partition may be ahead of the slowest before it is paused."""
    idle_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """A partition from which nothing came for so long holds up nobody."""
    stale_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """A worker that has said nothing for so long holds up nobody."""


class Model(Section):
    """What scores."""

    bundle: Path | None = None
    """The folder of the bundle; the fraud bundle that comes with riskstream if not given."""
    device: Device = Device.AUTO
    """Where the graph runs: cpu, cuda, tensorrt, or auto: batches go where they run faster."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU threads of one run of the graph. More workers serve better than more threads."""
    review_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Review events from this score on, instead of the bundle's threshold."""
    decline_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Decline events from this score on, instead of the bundle's threshold."""


class Events(Section):
    """What an event may be."""

    max_bytes: Annotated[int, Field(ge=100, le=50_000_000)] = 262_144
    """The largest event; larger ones are dead letters."""
    max_future_s: Annotated[float, Field(ge=0)] = 300.0
    """How far an event's time may lie ahead of its arrival."""
    on_wrong_key: OnWrongKey = OnWrongKey.DEAD_LETTER
    """An event whose key is not its account: dead-letter, or rekey to publish it again."""


class Worker(Section):
    """The process."""

    max_batch: Annotated[int, Field(ge=1, le=100_000)] = 4_096
    """The most events scored together."""
    stop_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 20.0
    """How long a clean stop may take. Beyond it the worker just ends, as in a crash."""
    commit_interval_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    """How often Kafka is told the offsets. Positions in the state store are exact without it."""
    web_host: str = "0.0.0.0"
    """The address of the web server: /healthz, /readyz, /metrics."""
    web_port: Annotated[int, Field(ge=0, le=65_535)] = 6066
    """The port of the web server; 0 for none."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much to log."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix="RISKSTREAM_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    app: Application = Application()
    broker: Broker = Broker()
    topics: Topics = Topics()
    state: State = State()
    model: Model = Model()
    events: Events = Events()
    worker: Worker = Worker()
    labels: Labels = Labels()
    alignment: Alignment = Alignment()
    fields: dict[str, str] = {}
    parameters: dict[str, float] = {}
    limits: dict[str, float] = {}

    @model_validator(mode="after")
    def _alerts_fit(self) -> Self:
        largest = self.topics.max_message_bytes - ALERT_BYTES
        if self.events.max_bytes > largest:
            raise ValueError(
                "events.max_bytes must be at most topics.max_message_bytes less "
                f"{ALERT_BYTES:,}, since an alert carries its event, however: "
                f"{self.events.max_bytes:,} > {largest:,}"
            )
        return self
