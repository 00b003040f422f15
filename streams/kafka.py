"""Connecting to Kafka as the configuration says, and the topics it must have."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential

from engine.errors import BrokerUnavailable, ConfigError
from streams.log import get_logger
from streams.settings import Broker, Settings, Topics

logger = get_logger(__name__)

#: The most bytes of records in one produce request for a partition.
MAX_REQUEST_BYTES = 1_000_000

#: How long a transaction may take before Kafka aborts it.
TRANSACTION_TIMEOUT_S = 60.0

_TANSU = "tansu_cluster"


def bootstrap_servers(broker: Broker) -> list[str]:
    """Return the addresses of ``broker.bootstrap``.

    >>> bootstrap_servers(Broker(bootstrap="a:9092, b:9092,"))
    ['a:9092', 'b:9092']
    """
    return [each.strip() for each in broker.bootstrap.split(",") if each.strip()]


def client_options(broker: Broker) -> dict[str, Any]:
    """Return what every aiokafka client takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(broker),
        "security_protocol": broker.security_protocol,
        "request_timeout_ms": round(broker.request_timeout_s * 1000),
    }
    context = ssl_context(broker)
    if context is not None:
        options["ssl_context"] = context
    if broker.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = broker.sasl_mechanism
        options["sasl_plain_username"] = broker.sasl_username
        options["sasl_plain_password"] = broker.sasl_password.get_secret_value()
    return options


def ssl_context(broker: Broker) -> ssl.SSLContext | None:
    """Return how to talk TLS; None where the protocol has none. Raises :class:`ConfigError`."""
    if "SSL" not in broker.security_protocol:
        return None
    try:
        cafile = None if broker.ssl_ca_file is None else str(broker.ssl_ca_file)
        return ssl.create_default_context(cafile=cafile)
    except OSError as error:
        raise ConfigError(
            f"broker.ssl_ca_file must be a file of PEM certificates, however: "
            f"{broker.ssl_ca_file}: {error}"
        ) from None


def new_producer(broker: Broker) -> AIOKafkaProducer:
    """Return a producer whose acknowledgements mean that all in-sync replicas have the record."""
    return AIOKafkaProducer(
        acks="all",
        max_batch_size=MAX_REQUEST_BYTES // 2,
        max_request_size=MAX_REQUEST_BYTES,
        **client_options(broker),
    )


def new_transactional_producer(broker: Broker, transactional_id: str) -> AIOKafkaProducer:
    """Return a producer of transactions; once it is started, earlier ones of its id are fenced."""
    return AIOKafkaProducer(
        acks="all",
        max_batch_size=MAX_REQUEST_BYTES // 2,
        max_request_size=MAX_REQUEST_BYTES,
        transactional_id=transactional_id,
        transaction_timeout_ms=round(TRANSACTION_TIMEOUT_S * 1000),
        **client_options(broker),
    )


async def ensure_topics(settings: Settings) -> dict[str, int]:
    """Create the topics that are missing and return the partitions of each.

    Raises:
        BrokerUnavailable: the broker does not answer, or refuses to create a topic.
    """
    topics = settings.topics
    names = topics.names
    admin = AIOKafkaAdminClient(**client_options(settings.broker))
    try:
        await start_client(admin, settings.broker)
        # To ask about a topic by name would create it, with the broker's default partitions.
        existing = set(await admin.list_topics())
        missing = [name for name in names if name not in existing]
        if missing:
            await _create(admin, topics, missing)
        return await _settled(admin, names)
    except KafkaError as error:
        raise _unavailable(settings.broker, error) from None
    finally:
        await admin.close()


async def tells_ends(broker: Broker) -> bool:
    """Whether the broker's end offsets can be believed.

    Those of the embedded broker, Tansu, can not: they may lie before records that it has given out.
    It is known by its cluster's id.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    admin = AIOKafkaAdminClient(**client_options(broker))
    try:
        await start_client(admin, broker)
        cluster: Mapping[str, Any] = await admin.describe_cluster()
    except KafkaError as error:
        raise _unavailable(broker, error) from None
    finally:
        await admin.close()
    return cluster.get("cluster_id") != _TANSU


async def start_client(client: Any, broker: Broker) -> None:
    """Start a producer, a consumer or an admin client, trying again while Kafka is away.

    Raises:
        BrokerUnavailable: it is away for longer than ``broker.connect_timeout_s``.
    """

    def waiting(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            logger.warning(
                "waiting up to %g s for Kafka at %s (broker.bootstrap)",
                broker.connect_timeout_s,
                broker.bootstrap,
            )

    try:
        async for attempt in AsyncRetrying(
            stop=stop_after_delay(broker.connect_timeout_s),
            wait=wait_exponential(multiplier=0.1, max=2),
            retry=retry_if_exception_type((KafkaError, OSError)),
            before_sleep=waiting,
            reraise=True,
        ):
            with attempt:
                await client.start()
    except (KafkaError, OSError) as error:
        raise _unavailable(broker, error) from None


def _unavailable(broker: Broker, error: BaseException) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"Kafka must answer at broker.bootstrap = {broker.bootstrap}, however: {error}; start it, "
        "or set broker.bootstrap (RISKSTREAM_BROKER__BOOTSTRAP)"
    )


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    described: list[Mapping[str, Any]] = await admin.describe_topics(names)
    return {
        each["topic"]: len(each["partitions"])
        for each in described
        if each["error_code"] == 0 and each["partitions"]
    }


async def _create(admin: AIOKafkaAdminClient, topics: Topics, missing: list[str]) -> None:
    new = [
        NewTopic(
            name=name,
            num_partitions=topics.partitions,
            replication_factor=topics.replication_factor,
            topic_configs={"max.message.bytes": str(topics.max_message_bytes)},
        )
        for name in missing
    ]
    response = await admin.create_topics(new)
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            raise error(f"the topic {name} cannot be created")
    logger.info("created the topics %s", ", ".join(missing))


async def _settled(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Wait until every new topic has its partitions in the broker's metadata."""
    async for attempt in AsyncRetrying(
        stop=stop_after_delay(30),
        wait=wait_exponential(multiplier=0.05, max=1),
        retry=retry_if_exception_type(KafkaError),
        reraise=True,
    ):
        with attempt:
            found = await _partitions(admin, names)
            missing = [name for name in names if name not in found]
            if missing:
                raise KafkaError(f"the topics {', '.join(missing)} were created but do not show up")
    return found
