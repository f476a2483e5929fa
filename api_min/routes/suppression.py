"""The suppression list: numbers that the account leaves alone, in every campaign."""

from typing import Annotated

from fastapi import APIRouter, Response

from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.protection import check_may_loosen
from api_min.replies import DEFAULT_PER_PAGE, Page, moment, reply
from api_min.routes.campaigns import Reader
from api_min.routing import ApiRoute
from api_min.whom_schemas import SuppressedOut, SuppressionIn, SuppressionOut, SuppressionsOut
from engine import metrics
from engine.errors import InvalidInput, NotFound
from engine.rules.fields import shown
from engine.rules.phone import is_e164
from engine.store import audit, suppressions
from engine.store.suppressions import OF_THE_PERSON, SMS_KEYWORD, Suppression

router = APIRouter(prefix="/suppression", tags=["suppression"], route_class=ApiRoute)

Writer = Annotated[Caller, needs("campaigns:write")]


@router.post("", status_code=201, response_model=SuppressedOut)
async def suppress(body: SuppressionIn, caller: Writer, held: Held) -> Response:
    """All or none. When this has answered, no contact with these numbers is decided any more on the channel; one that
    was decided just before may still begin, within two seconds.

    Their queued prospects are cancelled when their turn comes, with the reason `suppressed`.
    """
    phones = _phones(body)
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        added = await suppressions.add(
            conn, caller.account_id, phones, body.reason, body.source, runtime.clock, body.channel
        )
        subject = phones[0] if body.phone else f"{len(phones)} numbers"
        detail = {"added": added, "channel": body.channel, "source": body.source, "reason": body.reason}
        await audit.record(
            conn, caller.account_id, caller.actor, "suppression.add", subject, runtime.clock.now(), detail
        )
        found = await suppressions.get(conn, caller.account_id, phones[0]) if body.phone else None
    metrics.SUPPRESSED.labels("one" if body.phone else "many").inc(added)
    return reply({"added": added} | (_show(found) if found else {}), 201)


@router.get("", response_model=SuppressionsOut)
async def list_suppressions(
    caller: Reader, held: Held, phone: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Response:
    """With `phone`, whether that number is on the list; without, the list by number, in pages."""
    size = Page("", DEFAULT_PER_PAGE if limit is None else limit, None).size
    if phone is not None:
        _check("phone", phone)
        async with held.runtime.reader.connect() as conn:
            found = await suppressions.get(conn, caller.account_id, phone)
        return reply(_show(found) if found else {"phone": phone, "suppressed": False})
    if cursor is not None:
        _check("cursor", cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await suppressions.page(conn, caller.account_id, size + 1, cursor or "")
    next_cursor = rows[size - 1].phone if len(rows) > size else None
    return reply({"suppressions": [_show(row) for row in rows[:size]], "nextCursor": next_cursor})


@router.delete("/{phone}", response_model=SuppressionOut)
async def unsuppress(phone: str, caller: Writer, held: Held, reason: str = "") -> Response:
    """Takes a number off the list. Where the person opted out themselves, say why they may be contacted again.

    A test key may not, in an account that has a live one (403).
    """
    _check("phone", phone)
    why = reason.replace("\0", "").strip()
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        await check_may_loosen(conn, caller, "takes numbers off the suppression list")
        found = await suppressions.remove(conn, caller.account_id, phone, caller.actor, runtime.clock.now(), why)
        if found is None:
            raise NotFound("this number is not suppressed")
        if found.source in OF_THE_PERSON and not why:
            fault = f"this person opted out ({found.source}); say why they may be contacted again: ?reason=…"
            raise InvalidInput(f"reason: {fault}", {"reason": fault})  # which rolls the removal back
    return reply({"phone": phone, "suppressed": False})


def _phones(body: SuppressionIn) -> list[str]:
    """Raises InvalidInput that names every fault."""
    faults: dict[str, str] = {}
    if (body.phone is None) is (body.phones is None):
        faults["phone"] = "give either phone or phones"
    if body.source == SMS_KEYWORD:
        faults["source"] = f"{SMS_KEYWORD} is for what people text to us, which they can take back; choose another"
    given = [("phone", body.phone)] if body.phones is None else [(f"phones[{n}]", p) for n, p in enumerate(body.phones)]
    faults |= {
        name: f"{shown(phone)} is not an E.164 number such as +14155551234"
        for name, phone in given
        if phone is not None and not (isinstance(phone, str) and is_e164(phone))
    }
    if faults:
        name, fault = next(iter(faults.items()))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidInput(f"{name}: {fault}{more}; nothing was suppressed", faults)
    return [str(phone) for _, phone in given]


def _check(name: str, phone: str) -> None:
    if not is_e164(phone):
        fault = f"{shown(phone)} is not an E.164 number such as +14155551234; write + as %2B in a URL's query"
        raise InvalidInput(f"{name}: {fault}", {name: fault})


def _show(found: Suppression) -> dict[str, object]:
    return {
        "phone": found.phone,
        "suppressed": True,
        "channel": found.channel,
        "reason": found.reason,
        "source": found.source,
        "createdAt": moment(found.created_at),
    }
