"""Opening the stores of an application, as its configuration and its model say."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential

from engine.errors import StoreUnavailable
from engine.manifest import Manifest
from streams.log import get_logger
from streams.settings import Settings
from streams.store.base import Store
from streams.store.factory import open_generations, open_shared_store, open_store
from streams.store.generations import Generations, named
from streams.store.hot import HotStates, HotStore
from streams.store.redis.address import redact
from streams.store.shared import SharedStore

logger = get_logger(__name__)

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of a worker.

    Args:
        events: states of accounts, and positions in the topic of events.
        labels: positions in the topic of labels.
        shared: buckets of shared entities.
    """

    events: Store
    labels: Store
    shared: SharedStore

    async def close(self) -> None:
        """Give back all connections."""
        await self.events.close()
        await self.labels.close()
        await self.shared.close()


def namespace_of(settings: Settings, manifest: Manifest) -> str:
    """Return what separates this application and model from others that share a server.

    Models of another layout never see its states.
    """
    return f"{settings.app.id}.{manifest.stored_digest}"


def new_store(settings: Settings, manifest: Manifest, topic: str, generation: int = 0) -> Store:
    """Return the store of this application's states and positions of one topic.

    Another topic has states and positions of its own: offsets of one topic mean nothing in
    another.
    """
    days = settings.state.expire_days
    return open_store(
        settings.state.url.get_secret_value(),
        namespace=f"{named(namespace_of(settings, manifest), generation)}:{topic}",
        expire_s=None if days is None else max(round(days * DAY_S), 1),
        timeout_s=settings.state.timeout_s,
    )


def new_stores(settings: Settings, manifest: Manifest, generation: int = 0) -> Stores:
    """Return all that a worker of this application keeps."""
    return Stores(
        events=_hot(
            settings,
            manifest,
            new_store(settings, manifest, settings.topics.transactions, generation),
        ),
        labels=new_store(settings, manifest, settings.topics.labels, generation),
        shared=open_shared_store(
            settings.state.url.get_secret_value(),
            manifest.shared,
            namespace=named(namespace_of(settings, manifest), generation),
            shards=settings.state.shards,
            keep_s=max(round(settings.labels.keep_days * DAY_S), 1),
            timeout_s=settings.state.timeout_s,
        ),
    )


def _hot(settings: Settings, manifest: Manifest, store: Store) -> Store:
    """Return a store that keeps what it wrote last, where the settings say so."""
    state = settings.state
    if not state.hot_accounts:
        return store
    keep_s = None if state.expire_days is None else state.expire_days * DAY_S
    return HotStore(store, HotStates(state.hot_accounts, keep_s))


def new_generations(settings: Settings, manifest: Manifest) -> Generations:
    """Return which generation of states this application uses."""
    return open_generations(
        settings.state.url.get_secret_value(),
        namespace=namespace_of(settings, manifest),
        timeout_s=settings.state.timeout_s,
    )


async def reach_store(generations: Generations, settings: Settings) -> int:
    """Wait until the state store answers, and return the generation in use.

    Raises:
        StoreUnavailable: it did not answer within ``state.connect_timeout_s``.
    """
    url = redact(settings.state.url.get_secret_value())
    limit_s = settings.state.connect_timeout_s

    def waiting(attempt: RetryCallState) -> None:
        if attempt.attempt_number == 1:
            logger.warning("waiting up to %g s for the state store at %s (state.url)", limit_s, url)

    async for attempt in AsyncRetrying(
        stop=stop_after_delay(limit_s),
        wait=wait_exponential(multiplier=0.1, max=2),
        retry=retry_if_exception_type(StoreUnavailable),
        before_sleep=waiting,
        reraise=True,
    ):
        with attempt:
            generation = await generations.current()
    return generation
