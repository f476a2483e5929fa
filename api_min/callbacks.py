"""Where carriers report: verified, committed to the inbox, answered; settled by the workers.

A document carrier waits for instructions in the answer, so its reports are settled before it is answered. A repeat
finds the report settled and gets the same plan again. What people send to us is acted on before it is answered: an
opt-out holds from the commit on, and an answer that never came makes the carrier send it again.
"""

import hashlib
import time
from collections.abc import Sequence

import structlog
from fastapi import Request, Response
from starlette.routing import Route

from api_min.bodies import ApiRequest
from api_min.deps import Deps, deps
from api_min.wake import wake
from engine import metrics
from engine.carriers.catalog import CARRIERS
from engine.carriers.port import (
    BadCallback,
    BadSignature,
    CallbackRequest,
    CarrierEvent,
    Command,
    EventKind,
    Inbound,
    InboundMessage,
    Shape,
)
from engine.clock import real_now
from engine.dispatch import inbound
from engine.dispatch.inbound import InboundContext
from engine.errors import Forbidden, NotFound
from engine.store import callbacks
from engine.store.callbacks import Report

log = structlog.get_logger(__name__)

_SHOWN_BYTES = 4_096


async def take_callback(request: Request) -> Response:
    """Answers what the carrier's protocol asks for, once the report is committed. 403: forged or stale."""
    held = await deps(request)
    request.scope["route"] = ROUTE
    name = request.path_params["name"]
    if name not in CARRIERS:
        raise NotFound("there is no such carrier")
    carrier = held.runtime.carrier(name)
    callback = await _as_received(request, held)
    received: list[Inbound] = []
    try:
        read = carrier.read(callback, time.time())
        reports = [Report(name, event) for event in read if isinstance(event, CarrierEvent)]
        received = [each for each in read if not isinstance(each, CarrierEvent)]
    except BadSignature as refusal:
        metrics.CALLBACKS.labels(name, "forged").inc()
        raise Forbidden("the signature does not hold") from refusal
    except BadCallback as fault:
        log.warning("callback.unreadable", carrier=name, error=str(fault))
        metrics.CALLBACKS.labels(name, "unreadable").inc()
        reports = [Report(name, _unreadable(callback, fault))]
    else:
        metrics.CALLBACKS.labels(name, "read").inc(len(read))
    plan = await _take_inbound(held, name, received)
    if carrier.caps.shape is Shape.DOCUMENT:
        plan = await _settle(held, reports) or plan
    else:
        await held.inbox.put(reports)
    answer = carrier.reply(callback, plan)
    return Response(answer.body, answer.status, media_type=answer.content_type)


async def _settle(held: Deps, reports: Sequence[Report]) -> Command | None:
    """Stores the reports of one call, settles what of them is not settled, and returns what the call does next.

    Workers hear nothing of them: one that was faster would send as a request what belongs into the answer.
    """
    if not reports:
        return None
    await held.document_inbox.put(reports)
    keys = [report.key for report in reports]
    async with held.runtime.reader.connect() as conn:
        ids = await callbacks.unsettled(conn, reports[0].carrier, keys)
    return await held.settle(reports[0].event.ref, keys, ids)


async def _take_inbound(held: Deps, carrier: str, received: Sequence[Inbound]) -> Command | None:
    """Acts on what came in, and returns what a caller is to hear."""
    runtime = held.runtime
    context = InboundContext(runtime.clock, carrier, runtime.simulated_carriers, runtime.settings.public_url)
    command: Command | None = None
    for each in received:
        if isinstance(each, InboundMessage):
            taken = await inbound.take_message(runtime.db, each, context)
        else:
            taken = await inbound.take_call(runtime.db, each, context)
        if not taken.is_known:
            log.warning("inbound.unknown_number", carrier=carrier, number=each.to)
            await held.document_inbox.put([Report(carrier, inbound.record(each, EventKind.UNRECOGNISED))])
        if taken.wake is not None:
            await wake(runtime.redis, taken.wake)
        command = command or taken.command
    return command


async def _as_received(request: Request, held: Deps) -> CallbackRequest:
    """The callback under the URL that the carrier was given: behind a proxy, ours is another."""
    settings = held.runtime.settings
    whole = ApiRequest(request.scope, request.receive, settings.max_body_bytes)
    target = str(request.scope["raw_path"].decode("latin-1"))
    query = request.scope["query_string"].decode("latin-1")
    return CallbackRequest(
        method=request.method,
        url=f"{settings.public_url.rstrip('/')}{target}{'?' if query else ''}{query}",
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await whole.body(),
    )


def _unreadable(callback: CallbackRequest, fault: BadCallback) -> CarrierEvent:
    """Kept for whoever mends the adapter; the key is the body's own, so that repeats are one row."""
    return CarrierEvent(
        kind=EventKind.UNRECOGNISED,
        key=f"unreadable:{hashlib.sha256(callback.body).hexdigest()}",
        ref="",
        carrier_id="",
        occurred_at=real_now(),
        raw={"error": str(fault), "url": callback.url, "body": callback.body[:_SHOWN_BYTES].decode("utf-8", "replace")},
    )


# Four of five requests in a campaign are callbacks, with nothing to validate or document: a plain route, matched first,
# spares them what FastAPI does for the others.
ROUTE = Route("/carriers/{name}/callbacks", take_callback, methods=["GET", "POST"], include_in_schema=False)
