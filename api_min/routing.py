"""The route class of every authenticated route: key first, then body, then at most once.

FastAPI would read the body before it asks who sends it, and parse JSON leniently. Here a caller without a key costs no
reading, a body has a limit, and a write that carries an `Idempotency-Key` is carried out once.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute

from api_min import idempotent
from api_min.auth import bearer_key
from api_min.bodies import ApiRequest
from engine import ids
from engine.errors import InvalidInput, NotFound

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class ApiRoute(APIRoute):
    """Puts the Caller at `request.state.caller` and runs the route, through `idempotent.once` where asked to."""

    streams_body = False

    def get_route_handler(self) -> Handler:
        run = super().get_route_handler()
        has_json = self.body_field is not None

        async def handle(received: Request) -> Response:
            held = received.app.state.deps
            request = ApiRequest(received.scope, received.receive, held.runtime.settings.max_body_bytes)
            caller = await held.keys.identify(bearer_key(request))
            request.state.caller = caller
            _refuse_nul(request)
            structlog.contextvars.bind_contextvars(account=ids.encode("acct", caller.account_id), key=caller.actor)
            if has_json:
                await request.json()  # here, where its error keeps its words
            key = request.headers.get(idempotent.HEADER)
            if key is None or request.method not in _WRITES:
                return await run(request)
            body = b"" if self.streams_body else await request.body()
            return await idempotent.once(held.runtime.db, caller.key_id, key, request, body, run)

        return handle


def _refuse_nul(request: Request) -> None:
    """PostgreSQL stores no NUL and refuses to look for one. Raises NotFound: nothing has such a name; InvalidInput."""
    if "\0" in request.scope["path"]:
        raise NotFound("nothing has a NUL character in its name")
    if b"%00" in request.scope["query_string"]:
        names = [name for name, value in request.query_params.multi_items() if "\0" in name + value]
        fault = "contains a NUL character (%00); remove it"
        raise InvalidInput(f"{', '.join(names)[:80]}: {fault}", dict.fromkeys(names[:10], fault))


class StreamedRoute(ApiRoute):
    """For uploads of any size: the body is neither limited nor read ahead, so it is no part of the idempotency hash."""

    streams_body = True
