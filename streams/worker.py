"""Running a worker: open what it needs, start it, and stop it cleanly on a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_exponential

from engine.bundle import Bundle
from engine.decode import Decoder, Limits
from engine.errors import StoreUnavailable
from engine.manifest import Manifest, Thresholds
from engine.scorer import Scorer
from streams.app import RiskApp
from streams.kafka import ensure_topics, new_producer, start_client, tells_ends
from streams.log import get_logger
from streams.metrics import Metrics
from streams.processor import Processor
from streams.publisher import Publisher
from streams.settings import Settings
from streams.store.base import Store
from streams.store.factory import open_store
from streams.store.redis.address import redact

logger = get_logger(__name__)

_DAY_S = 86_400

#: The exit code of a worker that could not stop cleanly.
EXIT_NOT_CLEAN = 1


def new_decoder(settings: Settings, manifest: Manifest) -> Decoder:
    """Return the decoder of a model's events as this stream carries them."""
    events = settings.events
    limits = Limits(events.max_bytes, round(events.max_future_s * 1000))
    return Decoder(manifest.schema.with_paths(settings.fields), limits)


def new_scorer(settings: Settings, bundle: Bundle) -> Scorer:
    """Return the scorer of a bundle with the configured device and thresholds."""
    own, model = bundle.manifest.thresholds, settings.model
    thresholds = Thresholds(
        own.review if model.review_threshold is None else model.review_threshold,
        own.decline if model.decline_threshold is None else model.decline_threshold,
    )
    return Scorer(bundle, model.device, model.threads, thresholds)


def new_store(settings: Settings, manifest: Manifest, topic: str) -> Store:
    """Return the store of this application's states and positions of one topic.

    Models of another layout never see them, and another topic has states and positions of its own:
    offsets of one topic mean nothing in another.
    """
    days = settings.state.expire_days
    return open_store(
        settings.state.url.get_secret_value(),
        namespace=f"{settings.app.id}.{manifest.state.digest}:{topic}",
        expire_s=None if days is None else max(round(days * _DAY_S), 1),
        timeout_s=settings.state.timeout_s,
    )


async def run_worker(settings: Settings, bundle: Bundle) -> None:
    """Score until SIGTERM or SIGINT; then finish the batch at hand and return.

    Raises:
        RiskstreamError: the bundle does not load, or Kafka or the store is not there at the start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _opened(settings, bundle) as app:
        await app.start()
        try:
            await app.wait_first(stop.wait(), app.failed.wait())
            if app.error is not None:
                raise app.error
            logger.info("stopping: finishing the batch at hand")
        finally:
            loop.call_later(settings.worker.stop_timeout_s, _end_at_once, settings)
            await app.stop()
    logger.info("stopped")


def _end_at_once(settings: Settings) -> None:
    """End the process. Clients wait long for a broker that is away, and their threads longer.

    It is safe at any moment: what is not written is read and scored again.
    """
    logger.error(
        "the worker must stop within worker.stop_timeout_s = %g s, however: it still waits for a "
        "server; ending at once",
        settings.worker.stop_timeout_s,
    )
    logging.shutdown()
    os._exit(EXIT_NOT_CLEAN)


@asynccontextmanager
async def _opened(settings: Settings, bundle: Bundle) -> AsyncIterator[RiskApp]:
    scorer = new_scorer(settings, bundle)
    decoder = new_decoder(settings, bundle.manifest)
    metrics = Metrics()
    metrics.set_model(bundle.manifest, bundle.digest, scorer.provider)
    logger.info("%s", scorer.device_line)
    store = new_store(settings, bundle.manifest, settings.topics.transactions)
    producer = new_producer(settings.broker)
    try:
        await _reach_store(store, settings)
        partitions = await ensure_topics(settings)
        exact_ends = await tells_ends(settings.broker)
        await start_client(producer, settings.broker)
        publisher = Publisher(producer, settings.broker, partitions)
        processor = Processor(settings, decoder, scorer, store, publisher, metrics)
        yield RiskApp(settings, scorer, processor, metrics, exact_ends=exact_ends)
    finally:
        await producer.stop()
        await store.close()


async def _reach_store(store: Store, settings: Settings) -> None:
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
            await store.ping()
