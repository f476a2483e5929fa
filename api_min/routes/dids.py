"""DIDs: the account's own numbers, registered by hand."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min import owners
from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.ownership_schemas import DidChange
from api_min.replies import Page, moment, reply
from api_min.routing import ApiRoute
from api_min.schemas import DidIn, DidOut, DidsOut
from engine import ids
from engine.errors import InvalidInput, NotFound
from engine.rules.phone import is_e164
from engine.store import audit, dids
from engine.store.dids import Did, NewDid

router = APIRouter(prefix="/dids", tags=["dids"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("dids:read")]
Writer = Annotated[Caller, needs("dids:manage")]


@router.post("", status_code=201, response_model=DidOut)
async def add_did(body: DidIn, caller: Writer, held: Held) -> Response:
    """Registers a number that you already own at your carrier; it is active at once."""
    if not is_e164(body.number):
        fault = f"'{body.number[:40]}' is not an E.164 number such as +14155550123"
        raise InvalidInput(f"number: {fault}", {"number": fault})
    runtime = held.runtime
    now = runtime.clock.now()
    async with runtime.db.begin() as conn:
        line_id = await owners.line(conn, caller.account_id, body.line_id)
        new = NewDid(body.number, tuple(body.capabilities), body.label, line_id)
        (did,) = await dids.add(conn, caller.account_id, [new], now)
        await audit.record(conn, caller.account_id, caller.actor, "did.add", did.number, now)
    return reply(show(did), 201)


@router.patch("/{number}", response_model=DidOut)
async def change_did(number: str, body: DidChange, caller: Writer, held: Held) -> Response:
    """Moves a number to another line, or to the whole account with null, and renames it. Events that follow tell so."""
    given = body.model_fields_set
    if not given:
        fault = "give lineId, label or both"
        raise InvalidInput(fault, {"lineId": fault, "label": fault})
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        line_id = await owners.line(conn, caller.account_id, body.line_id)
        did = await dids.lock(conn, caller.account_id, number)
        if did is None:
            raise NotFound("there is no such number")
        label = body.label if "label" in given else did.label
        did = await dids.change(conn, did, label, line_id if "line_id" in given else did.line_id)
        detail = {"label": did.label, "lineId": owners.show("line", did.line_id)}
        await audit.record(conn, caller.account_id, caller.actor, "did.change", did.number, runtime.clock.now(), detail)
    return reply(show(did))


@router.get("", response_model=DidsOut, response_model_exclude_none=True)
async def list_dids(caller: Reader, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """All numbers of the account, oldest first; in pages with `limit` or `cursor`."""
    page = Page("did", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await dids.list_dids(conn, caller.account_id, page.fetch, page.after)
    return page.reply("dids", rows, [show(row) for row in rows])


def show(did: Did) -> dict[str, object]:
    return {
        "id": ids.encode("did", did.id),
        "number": did.number,
        "capabilities": did.capabilities,
        "state": did.state,
        "label": did.label,
        "lineId": owners.show("line", did.line_id),
        "createdAt": moment(did.created_at),
    }
