"""`Idempotency-Key`: a write that carries one is carried out once, and its first answer is given again."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min import problems
from api_min.bodies import CutOff
from engine.errors import InvalidInput
from engine.store import idempotency

HEADER = "Idempotency-Key"
REPLAY = "Idempotency-Replay"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# What says nothing of the request itself: who sent it, how fast, how large. A repeat is then judged anew.
_NOT_KEPT = frozenset({401, 403, 408, 413, 429})


async def once(
    db: AsyncEngine,
    key_id: int,
    key: str,
    request: Request,
    body: bytes,
    run: Callable[[Request], Coroutine[Any, Any, Response]],
) -> Response:
    """Runs the request, or replays the first answer to it.

    Refusals (400, 404, 409) are kept as well: the same request gets the same answer for a day. A route may leave other
    bytes to keep at `request.state.kept_body`, when its answer holds a secret.
    Raises IdempotencyConflict when the key was used for another request, and what the route raises.
    """
    if not _KEY.fullmatch(key):
        fault = "give 1 to 255 visible ASCII characters, such as a UUID"
        raise InvalidInput(f"{HEADER}: {fault}", {HEADER: fault})
    replay = await idempotency.begin(db, key_id, key, _name(request), body)
    if replay is not None:
        media_type = "application/json" if replay.body else None
        return Response(replay.body, replay.status, {REPLAY: "true"}, media_type)
    try:
        response = await _answer(request, run)
    except Exception:
        await idempotency.abandon(db, key_id, key)
        raise
    if response.status_code >= 500 or response.status_code in _NOT_KEPT:
        await idempotency.abandon(db, key_id, key)
    else:
        kept = getattr(request.state, "kept_body", bytes(response.body))
        await idempotency.finish(db, key_id, key, response.status_code, kept)
    return response


async def _answer(request: Request, run: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    """The route's answer; its refusals as the answers that they become. Raises CutOff, whose answer is not kept."""
    try:
        return await run(request)
    except CutOff:
        raise
    except problems.REFUSALS as refusal:
        return problems.refuse(refusal)


def _name(request: Request) -> str:
    """`POST /api/campaigns`; the bare alias of a path is the same request."""
    path = request.url.path
    path = path if path.startswith("/api/") else f"/api{path}"
    return f"{request.method} {path}{'?' if request.url.query else ''}{request.url.query}"
