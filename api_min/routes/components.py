"""The media of incoming messages: what a worker has fetched from the carrier is listed and served from here."""

import mimetypes
from typing import Annotated

from fastapi import APIRouter, Response

from api_min.auth import Caller, needs
from api_min.component_schemas import ComponentsOut
from api_min.deps import Held
from api_min.replies import parse_id, reply
from api_min.routing import ApiRoute
from engine import ids
from engine.errors import NotFound, Unavailable
from engine.store import media
from engine.store.media import Component

router = APIRouter(prefix="/sms/{message_id}/components", tags=["sms"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("sms:read")]

# A person chose the bytes: a browser must neither guess what they are nor show them as a page of ours.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=86400, immutable",
}


@router.get("", response_model=ComponentsOut)
async def list_components(message_id: str, caller: Reader, held: Held) -> Response:
    """The files of an incoming MMS; an SMS has none."""
    found = await _find(held, caller, message_id)
    return reply({"components": [_show(each) for each in found]})


@router.get("/{n}", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
async def get_component(message_id: str, n: int, caller: Reader, held: Held) -> Response:
    """One file, as the carrier had it. 503 with `Retry-After` while it is still being fetched."""
    found = await _find(held, caller, message_id)
    if not 1 <= n <= len(found):
        raise NotFound(f"the message has {len(found)} components, numbered from 1")
    number = parse_id("msg", message_id, "message")
    async with held.runtime.reader.connect() as conn:
        kept = await media.body(conn, caller.account_id, number, n)
    if kept is None:
        raise _absent(found[n - 1])
    content_type, body = kept
    name = f"{ids.encode('msg', number)}-{n}{mimetypes.guess_extension(content_type) or ''}"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, headers={**_HEADERS, **disposition, "Content-Type": content_type})


async def _find(held: Held, caller: Caller, message_id: str) -> list[Component]:
    """Raises NotFound for what is no incoming message of the account."""
    number = parse_id("msg", message_id, "message")
    async with held.runtime.reader.connect() as conn:
        found = await media.components(conn, caller.account_id, number)
    if found is None:
        raise NotFound("there is no such message")
    return found


def _absent(component: Component) -> NotFound | Unavailable:
    if component.is_awaited:
        return Unavailable("the carrier has not given us this file yet; try again in a moment")
    return NotFound(f"this file could not be fetched: {component.fault or 'gone'}")


def _show(component: Component) -> dict[str, object]:
    status = "ready" if component.size is not None else "pending" if component.is_awaited else "failed"
    return {
        "n": component.number,
        "contentType": component.content_type,
        "size": component.size,
        "status": status,
        "reason": component.fault if status == "failed" else None,
    }
