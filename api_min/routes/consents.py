"""Consent records: what people have allowed, since when, and by which proof."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response

from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.protection import check_may_loosen
from api_min.replies import DEFAULT_PER_PAGE, Page, moment, reply
from api_min.routes.campaigns import Reader
from api_min.routing import ApiRoute
from api_min.whom_schemas import ConsentIn, ConsentsOut, RecordedOut, RevokedOut, Scope
from engine import ids
from engine.errors import InvalidInput
from engine.rules.consent import LABELS, Consent
from engine.rules.consent_columns import given_at
from engine.rules.fields import shown
from engine.rules.phone import is_e164
from engine.store import audit, consents
from engine.store.consents import NewConsent, Record

router = APIRouter(prefix="/consents", tags=["consents"], route_class=ApiRoute)

Writer = Annotated[Caller, needs("campaigns:write")]


@router.post("", status_code=201, response_model=RecordedOut)
async def record(body: ConsentIn, caller: Writer, held: Held) -> Response:
    """All or none. The highest class that is not revoked is in force; `none` takes back what was given before.

    A test key records nothing else than `none` in an account that has a live key (403).
    """
    runtime = held.runtime
    new = _checked(body, runtime.clock.now())
    async with runtime.db.begin() as conn:
        if any(each.consent is not Consent.NONE for each in new):
            await check_may_loosen(conn, caller, "records consents")
        recorded = await consents.add(conn, caller.account_id, new, runtime.clock)
        subject = new[0].phone if len(new) == 1 else f"{len(new)} numbers"
        await audit.record(conn, caller.account_id, caller.actor, "consent.record", subject, runtime.clock.now())
    return reply({"recorded": len(new), "ids": [ids.encode("cons", each) for each in recorded]}, 201)


@router.get("", response_model=ConsentsOut)
async def list_consents(
    caller: Reader, held: Held, phone: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Response:
    """With `phone`, what is in force for that number and all its records, newest first; without, all in pages."""
    page = Page("cons", DEFAULT_PER_PAGE if limit is None else limit, None if phone is not None else cursor)
    if phone is not None:
        _check_phone(phone)
        async with held.runtime.reader.connect() as conn:
            found = await consents.of_phone(conn, caller.account_id, phone)
        return reply({"phone": phone, "inForce": _in_force(found), "consents": [_show(each) for each in found]})
    async with held.runtime.reader.connect() as conn:
        rows = await consents.page(conn, caller.account_id, page.size + 1, page.after or 0)
    return page.reply("consents", rows, [_show(row) for row in rows])


@router.delete("/{phone}", response_model=RevokedOut)
async def revoke(phone: str, caller: Writer, held: Held, channel: Scope = "all", reason: str = "") -> Response:
    """When this has answered, no contact that needs it is decided any more, though an older consent be recorded later;
    one that was decided just before may still begin, within two seconds. The records stay, with the time and the
    reason."""
    _check_phone(phone)
    runtime = held.runtime
    async with runtime.db.begin() as conn:
        revoked = await consents.revoke(
            conn, caller.account_id, phone, channel, reason.replace("\0", ""), caller.actor, runtime.clock
        )
    return reply({"phone": phone, "channel": channel, "revoked": revoked})


def _checked(body: ConsentIn, now: datetime) -> list[NewConsent]:
    items = body.items()
    if not items or (body.consents is not None and (body.phone is not None or body.class_ is not None)):
        fault = "give phone and class, or a list of consents"
        raise InvalidInput(fault, {"phone": fault})
    faults: dict[str, str] = {}
    new = []
    for index, item in enumerate(items):
        path = f"consents[{index}]." if body.consents is not None else ""
        if not is_e164(item.phone):
            faults[f"{path}phone"] = f"{shown(item.phone)} is not an E.164 number such as +14155551234"
        at = None
        if item.at is not None and (at := given_at(item.at, now)) is None:
            faults[f"{path}at"] = f"{shown(item.at)} is no past time in ISO 8601"
        new.append(NewConsent(item.phone, LABELS[item.class_], item.channel, item.source, item.proof, at))
    if faults:
        name, fault = next(iter(faults.items()))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidInput(f"{name}: {fault}{more}; nothing was recorded", faults)
    return new


def _in_force(found: Sequence[Record]) -> dict[str, str]:
    def highest(channel: str) -> Consent:
        said = [each for each in found if each.revoked_at is None and each.channel in ("all", channel)]
        withdrawn = [each.recorded_at for each in said if each.consent is Consent.NONE]
        standing = [each.consent for each in said if not withdrawn or each.given_at >= max(withdrawn)]
        return max([Consent.NONE, *standing])

    return {channel: highest(channel).label for channel in ("voice", "sms")}


def _check_phone(phone: str) -> None:
    if not is_e164(phone):
        fault = f"{shown(phone)} is not an E.164 number such as +14155551234; write + as %2B in a URL's query"
        raise InvalidInput(f"phone: {fault}", {"phone": fault})


def _show(found: Record) -> dict[str, object]:
    return {
        "id": found.public_id,
        "phone": found.phone,
        "class": found.consent.label,
        "channel": found.channel,
        "source": found.source,
        "proof": found.proof,
        "givenAt": moment(found.given_at),
        "recordedAt": moment(found.recorded_at),
        "revokedAt": moment(found.revoked_at),
        "revokedFor": found.revoked_for or None,
    }
