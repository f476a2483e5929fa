"""The public application: routes at `/api/…` and at their bare aliases, streams, health."""

import asyncio
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api_min import document, problems
from api_min.context import RequestContext
from api_min.deps import Deps, Held
from api_min.realtime import realtime_routes
from api_min.realtime_socket import RealtimeSocket
from api_min.replies import reply
from api_min.routes import (
    billing,
    campaigns,
    catalog,
    components,
    consents,
    did_pool,
    dids,
    keys,
    lines,
    operations,
    outlook,
    previews,
    prospects,
    reputation,
    sms,
    suppression,
    teams,
    users,
    voice,
    webhooks,
)
from api_min.schemas import ErrorOut
from api_min.sms_stream import Lifetime, sms_stream_routes
from api_min.streams import stream_routes

READY_TIMEOUT_S = 2.0

_DESCRIPTION = """Campaigns of outbound voice and SMS.

Send your key as `Authorization: Bearer tk_…`. Errors are `{"error": {"code", "message", "fields"}}`. Unknown request
fields are refused. Every write takes an `Idempotency-Key`. Lists are whole, or in pages with `limit` and `cursor`;
texts, suppressions, consents and logs of webhooks are always in pages, keys always whole."""

_ERRORS: dict[int | str, dict[str, Any]] = {400: {"model": ErrorOut}}  # the others: `document`

_ROUTERS = (
    campaigns.router,
    prospects.uploads,
    prospects.router,
    previews.router,
    outlook.router,
    voice.router,
    sms.router,
    components.router,
    did_pool.router,
    reputation.router,
    operations.router,
    suppression.router,
    consents.router,
    dids.router,
    keys.router,
    teams.router,
    users.router,
    lines.router,
    billing.router,
    catalog.router,
    webhooks.router,
)

# Without a process's state, so that every application of a process shares them: FastAPI makes a route's models, which
# takes longer than most requests, when the first application is asked for it.
_offered = APIRouter(strict_content_type=False)
for _router in _ROUTERS:
    _offered.include_router(_router, prefix="/api", responses=dict(_ERRORS))
    _offered.include_router(_router, include_in_schema=False)

health = APIRouter(include_in_schema=False)


class Application(FastAPI):
    """FastAPI whose documentation is complete, and says what is answered."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document.complete(super().openapi())
        return self.openapi_schema


def create_app(held: Deps) -> FastAPI:
    """The ASGI application over what its process has opened; it opens and closes nothing itself."""
    app = Application(
        title="Carillon",
        version="0.1.0",
        description=_DESCRIPTION,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.deps = held
    problems.install(app)
    app.add_middleware(RequestContext)
    app.router.routes += _offered.routes
    settings = held.runtime.settings
    lifetime = Lifetime(settings.sms_stream_least_s, settings.sms_stream_most_s)
    app.include_router(stream_routes(held.hub, held.keys.identify))
    app.include_router(sms_stream_routes(held.hub, held.keys.identify, lifetime))
    app.include_router(realtime_routes(held.hub, held.keys.identify))
    app.router.routes += RealtimeSocket(held.hub, held.keys.identify).routes()
    app.include_router(health)
    return app


@health.get("/healthz")
async def healthz() -> Response:
    """This process answers."""
    return reply({"ok": True})


@health.get("/readyz")
async def readyz(held: Held) -> Response:
    """This process can do its work: PostgreSQL answers. Redis is disposable and is not asked."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S), held.runtime.reader.connect() as conn:
            await conn.execute(text("select 1"))
    except (SQLAlchemyError, TimeoutError, OSError):
        return reply({"ok": False, "database": False}, 503)
    return reply({"ok": True, "database": True})
