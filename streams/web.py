"""The worker's pages on Faust's web server: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from faust.web import Request, Response, View
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from engine.errors import Unavailable
from engine.records import DIGEST_SHOWN

if TYPE_CHECKING:
    from streams.app import RiskApp

_PROBE_S = 2.0


def add_pages(app: RiskApp) -> None:
    """Add the pages to an app."""

    async def healthz(view: View, request: Request) -> Response:
        """Whether the process and its event loop are alive."""
        return view.json({"status": "ok"})

    async def readyz(view: View, request: Request) -> Response:
        """Whether events are being scored: broker, state, work and model, each named."""
        checks = {
            "broker": await _check(lambda: _broker(app)),
            "state": await _check(app.pipeline.ping_store),
            "work": await _check(lambda: _work(app)),
            "model": {"ok": True, **_model(app)},
        }
        ready = all(check["ok"] for check in checks.values())
        body = {"status": "ready" if ready else "not ready", **checks}
        return view.json(body, status=200 if ready else 503)

    async def metrics(view: View, request: Request) -> Response:
        """The metrics as Prometheus reads them."""
        body = generate_latest(app.metrics.registry)
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return view.bytes(body, content_type=None, headers=headers)

    for path, page in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
        cast(Any, app).page(path)(page)


async def _check(probe: Callable[[], Awaitable[dict[str, Any] | None]]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PROBE_S):
            found = await probe()
    except TimeoutError:
        return {"ok": False, "error": f"no answer within {_PROBE_S:g} s"}
    except Unavailable as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True, **(found or {})}


async def _broker(app: RiskApp) -> dict[str, Any]:
    await app.pipeline.ping_broker()
    if app.is_spare:
        return {"partitions": []}
    if app.rebalancing or not app.has_been_assigned:
        raise Unavailable("the workers are sharing out the partitions")
    if app.recovery.losses:
        raise Unavailable("; ".join(map(str, app.recovery.losses.values())))
    if app.recovery.waiting:
        named = ", ".join(f"{tp.partition} of {tp.topic}" for tp in sorted(app.recovery.waiting))
        raise Unavailable(f"the positions of the fenced partitions {named} are to be read again")
    transactions = app.settings.topics.transactions
    mine = [tp.partition for tp in app.batches.assignment() if tp.topic == transactions]
    return {"partitions": sorted(mine)}


async def _work(app: RiskApp) -> None:
    """Raise where a step waits for a server that answers, but does not do what it is asked for."""
    for step, trouble in app.pipeline.retries.troubles.items():
        raise Unavailable(f"{step} is tried again: {trouble}")


def _model(app: RiskApp) -> dict[str, Any]:
    manifest = app.pipeline.scorer.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "bundle": app.pipeline.scorer.bundle.digest[:DIGEST_SHOWN],
        "provider": app.pipeline.scorer.provider,
    }
