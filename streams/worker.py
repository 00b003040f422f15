"""Running a worker: open what it needs, start it, and stop it cleanly on a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from engine.bundle import Bundle
from engine.decode import Decoder, Limits
from engine.errors import ConfigError, RiskstreamError, StreamError
from engine.manifest import Manifest, Thresholds
from engine.scorer import Scorer
from streams.app import RiskApp
from streams.kafka import ensure_topics, new_producer, start_client, tells_ends
from streams.log import get_logger
from streams.metrics import Metrics
from streams.outbox.factory import check_guarantee, new_outbox
from streams.pipeline import Pipeline
from streams.publisher import Publisher
from streams.retries import Retries
from streams.settings import Settings
from streams.store.generations import named
from streams.stores import new_generations, new_stores, reach_store

logger = get_logger(__name__)

_T = TypeVar("_T")

_LOOK_EVERY_S = 1.0
#: Looks in a row that find Kafka away before a worker that stops waits for it no longer.
_LOOKS = 2

#: So many objects more than there were begin a garbage collection of the young ones.
_YOUNG = 50_000

#: The exit code of a worker that could not stop cleanly.
EXIT_NOT_CLEAN = 1


def new_decoder(settings: Settings, manifest: Manifest) -> Decoder:
    """Return the decoder of a model's events as this stream carries them."""
    events = settings.events
    limits = Limits(events.max_bytes, round(events.max_future_s * 1000))
    return Decoder(manifest.schema.with_paths(settings.fields), limits)


def new_scorer(settings: Settings, bundle: Bundle) -> Scorer:
    """Return the scorer of a bundle, on the configured device, deciding as is configured."""
    model = settings.model
    thresholds = thresholds_of(settings, bundle)
    return Scorer(
        bundle, model.device, model.threads, thresholds, settings.parameters, settings.limits
    )


def thresholds_of(settings: Settings, bundle: Bundle) -> Thresholds:
    """Return a bundle's thresholds, or those that are configured instead."""
    own, model = bundle.manifest.thresholds, settings.model
    return Thresholds(
        own.review if model.review_threshold is None else model.review_threshold,
        own.decline if model.decline_threshold is None else model.decline_threshold,
    )


async def run_worker(settings: Settings, bundle: Bundle) -> None:
    """Score until SIGTERM or SIGINT; then finish the batch at hand and return.

    Raises:
        RiskstreamError: the bundle does not load, or Kafka or the store is not there at the start,
            or the stream cannot go on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _check_port(settings)
    async with AsyncExitStack() as stack:
        opening = stack.enter_async_context(_opened(settings, bundle))
        app = await _unless(stop, opening)
        if app is None:
            logger.info("stopped before it started")
            return
        # What is loaded stays: no garbage collection need walk it again. Of a batch, nothing is
        # left in cycles: walking its records many times while it is processed finds none.
        gc.freeze()
        gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
        try:
            await _run(app, stop)
        finally:
            await _stop(app, settings)
    logger.info("stopped")


async def _run(app: RiskApp, stop: asyncio.Event) -> None:
    async def started() -> RiskApp:
        await app.start()
        return app

    if await _unless(stop, started()) is None:
        logger.info("stopped before it started")
        _end_at_once(0)
    await app.wait_first(stop.wait(), app.failed.wait())
    error = app.error or app.crash_reason
    if isinstance(error, RiskstreamError) or (error is not None and error is app.error):
        raise error
    if app.crashed:
        raise StreamError(
            "the stream must go on, however: Faust gave up after "
            f"{type(error).__name__}: {error}; start the worker again"
        ) from error
    logger.info("stopping: finishing the batch at hand")


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """Return what some work returns, or None, and cancel it, where the worker is to stop."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def _stop(app: RiskApp, settings: Settings) -> None:
    """Stop an app, for as long as it may take and as Kafka is there to hear of it.

    To end at once is safe at any moment: what is not written is read and scored again.
    """
    deadline = time.monotonic() + settings.worker.stop_timeout_s
    stopping = asyncio.ensure_future(app.stop())
    looks_away = 0
    while not (await asyncio.wait((stopping,), timeout=_LOOK_EVERY_S))[0]:
        looks_away = looks_away + 1 if await app.broker_watch.look() else 0
        if looks_away == _LOOKS:
            logger.warning("stopped without Kafka; positions and states are in the store")
        elif time.monotonic() > deadline:
            logger.error(
                "the worker must stop within worker.stop_timeout_s = %g s, however: it still waits "
                "for a server; ending at once",
                settings.worker.stop_timeout_s,
            )
        else:
            continue
        error = app.error or app.crash_reason
        if error is not None:
            logger.error("%s: %s", type(error).__name__, error)
        _end_at_once(0 if looks_away == _LOOKS and error is None else EXIT_NOT_CLEAN)
    await stopping


def _end_at_once(code: int) -> None:
    """End the process. Clients wait long for a broker that is away, and their threads longer."""
    logging.shutdown()
    os._exit(code)


def _check_port(settings: Settings) -> None:
    """Raise :class:`ConfigError` where the web server's port is taken."""
    host, port = settings.worker.web_host, settings.worker.web_port
    if not port:
        return
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise ConfigError(
            f"worker.web_port must be a free port of worker.web_host, however: {host}:{port}: "
            f"{error.strerror}; give another worker of this machine a port of its own "
            "(--web-port, RISKSTREAM_WORKER__WEB_PORT), or --web-port 0 for no web server"
        ) from None


@asynccontextmanager
async def _opened(settings: Settings, bundle: Bundle) -> AsyncIterator[RiskApp]:
    scorer = new_scorer(settings, bundle)
    decoder = new_decoder(settings, bundle.manifest)
    metrics = Metrics()
    metrics.set_model(bundle.manifest, bundle.digest, scorer.provider)
    logger.info("%s", scorer.device_line)
    async with AsyncExitStack() as stack:
        generations = new_generations(settings, bundle.manifest)
        stack.push_async_callback(generations.close)
        generation = await reach_store(generations, settings)
        stores = new_stores(settings, bundle.manifest, generation)
        stack.push_async_callback(stores.close)
        partitions = await ensure_topics(settings)
        exact_ends = await tells_ends(settings.broker)
        check_guarantee(settings, has_transactions=exact_ends)
        producer = new_producer(settings.broker)
        stack.push_async_callback(producer.stop)
        await start_client(producer, settings.broker)
        publisher, retries = Publisher(producer, settings.broker, partitions), Retries(metrics)
        note = named(bundle.manifest.stored_digest, generation)
        outbox = new_outbox(settings, publisher, retries, note)
        stack.push_async_callback(outbox.close)
        pipeline = Pipeline(
            settings, decoder, scorer, stores, publisher, outbox, retries, metrics, note
        )
        yield RiskApp(settings, pipeline, exact_ends=exact_ends)
