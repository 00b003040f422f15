"""Servers for the tests, each started once a session and only where a test asks for it."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from streams.embedded.broker import EmbeddedBroker
from streams.embedded.kafka import ApacheKafka, why_not
from streams.embedded.valkey import EmbeddedValkey

# A test asserts behaviour, not how long an example takes on a busy machine.
settings.register_profile("riskstream", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("riskstream")

# Tests run side by side. Two threads of PyTorch on busy cores take five times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A console keeps for good the width that it finds here when it is made; each test has its own.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey for the whole session; a test takes a namespace of its own."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded broker; a test takes topics and groups of its own."""
    with EmbeddedBroker(tmp_path_factory.mktemp("tansu")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def kafka_home() -> Path:
    """A folder that Apache Kafka can be run from, or a skip with the reason."""
    home = os.environ.get("KAFKA_HOME")
    reason = why_not(home) if home else "KAFKA_HOME is not set"
    if not home or reason:
        pytest.skip(f"no Apache Kafka: {reason}")
    return Path(home)


@pytest.fixture(scope="session")
def apache_kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of Apache Kafka: KAFKA_BOOTSTRAP, Docker, KAFKA_HOME, or a skip."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
    elif _docker_runs():
        yield from _kafka_in_docker()
    else:
        home: Path = request.getfixturevalue("kafka_home")
        with ApacheKafka(home, tmp_path_factory.mktemp("kafka")) as kafka:
            yield kafka.bootstrap


@pytest.fixture(params=["embedded_broker", "apache_kafka"], ids=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> str:
    """The address of each kind of broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(
    params=[pytest.param("embedded_broker", marks=pytest.mark.slow), "apache_kafka"],
    ids=["embedded", "kafka"],
)
def joined_broker(request: pytest.FixtureRequest) -> str:
    """The same for tests in which workers join often: the embedded broker takes its time there."""
    address: str = request.getfixturevalue(request.param)
    return address


def _docker_runs() -> bool:
    import docker

    with warnings.catch_warnings():
        # The Docker client leaves a socket open where nothing listens on the other side.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with closing(docker.from_env()) as client:
                return bool(client.ping())
        except docker.errors.DockerException:
            return False
        finally:
            gc.collect()


def _kafka_in_docker() -> Iterator[str]:
    from testcontainers.kafka import KafkaContainer

    with KafkaContainer().with_kraft() as container:
        yield container.get_bootstrap_server()
