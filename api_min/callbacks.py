"""Where carriers report: verified, committed to the inbox, answered; settled by the workers.

A document carrier waits for instructions in the answer, so its reports are settled before it is answered. A repeat
finds the report settled and gets the same plan again. What people send to us is acted on before it is answered: an
opt-out holds from the commit on, and an answer that never came makes the carrier send it again.
"""

import hashlib
import re
import time
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

import structlog
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api_min import problems
from api_min.bodies import ApiRequest
from api_min.context import RequestContext
from api_min.deps import Deps
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
    HttpReply,
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

_PATH = re.compile(r"/carriers/(?P<name>[^/]+)/callbacks")
_ROUTE = SimpleNamespace(path="/carriers/{name}/callbacks")  # for the metrics
_METHODS = ("GET", "POST")
_SHOWN_BYTES = 4_096


class CallbackDoor:
    """ASGI: answers carriers, and passes all other requests on to `others`.

    Four of five requests in a campaign are callbacks, with nothing to validate or document: ahead of the framework they
    are spared what it does for the others, which is half of what one costs.
    """

    def __init__(self, held: Deps, others: ASGIApp) -> None:
        self._held, self._others = held, others
        self._take = RequestContext(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _PATH.fullmatch(scope["path"])):
            scope["route"], scope["path_params"] = _ROUTE, found.groupdict()
            await self._take(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] not in _METHODS:
                raise HTTPException(405, headers={"Allow": ", ".join(_METHODS)})
            reply = await take_callback(
                self._held, ApiRequest(scope, receive, self._held.runtime.settings.max_body_bytes)
            )
            answer = Response(reply.body, reply.status, media_type=reply.content_type)
        except Exception as error:
            answer = problems.answer(error)
        await answer(scope, receive, send)


async def take_callback(held: Deps, request: ApiRequest) -> HttpReply:
    """What the carrier's protocol asks for, once the report is committed. Raises Forbidden: forged or stale."""
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
        _counted(name, "forged").inc()
        raise Forbidden("the signature does not hold") from refusal
    except BadCallback as fault:
        log.warning("callback.unreadable", carrier=name, error=str(fault))
        _counted(name, "unreadable").inc()
        reports = [Report(name, _unreadable(callback, fault))]
    else:
        _counted(name, "read").inc(len(read))
    plan = await _take_inbound(held, name, received) if received else None
    if carrier.caps.shape is Shape.DOCUMENT:
        plan = await _settle(held, reports) or plan
    else:
        await held.inbox.put(reports)
    return carrier.reply(callback, plan)


@cache
def _counted(carrier: str, result: str) -> Counter:
    return metrics.CALLBACKS.labels(carrier, result)


async def _settle(held: Deps, reports: Sequence[Report]) -> Command | None:
    """Stores the reports of one call, settles what of them is not settled, and returns what the call does next.

    Workers hear nothing of them: one that was faster would send as a request what belongs into the answer.
    """
    if not reports:
        return None
    await held.document_inbox.put(reports)
    async with held.runtime.reader.connect() as conn:
        ids = await callbacks.unsettled(conn, reports)
    return await held.settle(reports[0].event.ref, [report.key for report in reports], ids)


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


async def _as_received(request: ApiRequest, held: Deps) -> CallbackRequest:
    """The callback under the URL that the carrier was given: behind a proxy, ours is another."""
    scope = request.scope
    target = str(scope["raw_path"].decode("latin-1"))
    query = scope["query_string"].decode("latin-1")
    return CallbackRequest(
        method=request.method,
        url=f"{held.runtime.settings.public_url.rstrip('/')}{target}{'?' if query else ''}{query}",
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=await request.body(),
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
