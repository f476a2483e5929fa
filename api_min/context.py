"""What surrounds every request: its correlation id, its metrics, and the 500 that shows no stack."""

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_min.problems import render
from engine import ids, metrics

log = structlog.get_logger(__name__)

HEADER = "X-Request-Id"

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a client sends ends up in our logs
_STREAMS = ("/events", "/stream", "/ws")  # they last as long as the client likes: no latency


class RequestContext:
    """ASGI middleware. Binds `request_id` to the log context, from the client's header or fresh."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)  # ends with the request's task
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request.failed")
            if status:
                raise  # the answer has begun: the server can only cut it off
            answer = render(500, "internal_error", f"something went wrong on our side; quote {request_id} to support")
            await answer(scope, receive, send_with_id)
        finally:
            _count(scope, status, time.perf_counter() - started)


def _request_id(scope: Scope) -> str:
    sent = Headers(scope=scope).get(HEADER, "")
    return sent if _ACCEPTABLE.fullmatch(sent) else ids.encode("req", ids.new_id())


def _count(scope: Scope, status: int, seconds: float) -> None:
    """By the route's template, never by the path as sent: labels must be a closed set."""
    route = getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"] if route != "unmatched" else "any"
    metrics.HTTP_REQUESTS.labels(method, route, status).inc()
    if not route.endswith(_STREAMS):
        metrics.HTTP_SECONDS.labels(method, route).observe(seconds)
