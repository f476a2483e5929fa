"""What surrounds every request: its correlation id, its metrics, and the 500 that shows no stack."""

import re
import time
from functools import cache

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_min.problems import render
from engine import ids, metrics

log = structlog.get_logger(__name__)

_HEADER = b"x-request-id"
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._-]{1,64}")  # what a client sends ends up in our logs
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
                message["headers"] = [*message["headers"], (_HEADER, request_id.encode())]
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
    sent = next((value for name, value in scope["headers"] if name == _HEADER), b"")
    return sent.decode() if _ACCEPTABLE.fullmatch(sent) else ids.encode("req", ids.new_id())


def _count(scope: Scope, status: int, seconds: float) -> None:
    """By the route's template, never by the path as sent: labels must be a closed set."""
    route = getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"] if route != "unmatched" else "any"
    _requests(method, route, status).inc()
    if not route.endswith(_STREAMS):
        _durations(method, route).observe(seconds)


@cache  # looking a child up costs more than counting with it
def _requests(method: str, route: str, status: int) -> Counter:
    return metrics.HTTP_REQUESTS.labels(method, route, status)


@cache
def _durations(method: str, route: str) -> Histogram:
    return metrics.HTTP_SECONDS.labels(method, route)
