"""Prospects of a campaign (reference 004): added by the thousand, imported by the million, listed."""

from collections.abc import AsyncIterator, Sequence

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min.auth import Caller
from api_min.bodies import csv_chunks
from api_min.deps import Held
from api_min.protection import may_loosen
from api_min.replies import Page, reply
from api_min.routes.campaigns import Reader, Writer, parse_campaign_id
from api_min.routing import ApiRoute, StreamedRoute
from api_min.schemas import AddedOut, ImportOut, PhonesIn, ProspectsOut
from engine import ids
from engine.errors import InvalidInput
from engine.rules.campaign_config import SmsMode, parse_mode
from engine.rules.csv_rows import BadRow
from engine.rules.fields import shown
from engine.rules.phone import is_e164, is_region
from engine.rules.prospect import ProspectState, by_label
from engine.store import audit, campaigns, imports, prospects
from engine.store.campaigns import Campaign
from engine.store.prospects import Prospect

router = APIRouter(prefix="/campaigns/{campaign_id}/prospects", tags=["prospects"], route_class=ApiRoute)
uploads = APIRouter(prefix="/campaigns/{campaign_id}/prospects", tags=["prospects"], route_class=StreamedRoute)

ROWS_PER_CHUNK = 2_000

_CSV = {"schema": {"type": "string"}, "example": "phone,name\n(415) 555-0123,Ann\n"}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}


@router.post("", response_model=AddedOut)
async def add_prospects(campaign_id: str, body: PhonesIn, caller: Writer, held: Held) -> Response:
    """All or none: one number that is not E.164 refuses the request. `added` counts those new to the campaign."""
    phones = _checked(body.phones)
    runtime = held.runtime
    campaign = await _find(runtime.reader, caller, campaign_id)
    _check_needs(campaign)
    return reply({"added": await prospects.add(runtime.db, campaign, phones)})


@router.get("", response_model=ProspectsOut, response_model_exclude_none=True)
async def list_prospects(
    campaign_id: str,
    caller: Reader,
    held: Held,
    limit: int | None = None,
    cursor: str | None = None,
    status: str | None = None,
) -> Response:
    """All prospects in the order they were added, streamed; in pages with `limit` or `cursor`."""
    page, state = Page("pros", limit, cursor), _parse_status(status)
    db = held.runtime.reader
    campaign = await _find(db, caller, campaign_id)
    if page.is_whole:
        return StreamingResponse(_stream(db, campaign, state), media_type="application/json")
    async with db.connect() as conn:
        rows = await prospects.page(conn, campaign, page.fetch, page.after, state)
    return page.reply("prospects", rows, [_show(row) for row in rows])


@uploads.post(
    "/import",
    response_model=ImportOut,
    openapi_extra={"requestBody": {"content": {"text/csv": _CSV, "multipart/form-data": _FORM}, "required": True}},
)
async def import_prospects(
    request: Request,
    campaign_id: str,
    caller: Writer,
    held: Held,
    region: str = "US",
) -> Response:
    """A CSV of any size, all of it or nothing: a `phone` column, or the only one; other columns are kept as data.

    The columns `consent`, `consent_at`, `consent_source` and `consent_proof` are recorded as consents; by a test key
    of an account that has a live one they are refused (403).
    `region` (ISO 3166) reads numbers without a country code. With an `Idempotency-Key`, the body is not compared.
    """
    region = region.upper()
    if not is_region(region):
        fault = f"{shown(region)} is not a country; give a two-letter code such as US"
        raise InvalidInput(f"region: {fault}", {"region": fault})
    runtime = held.runtime
    campaign = await _find(runtime.reader, caller, campaign_id)
    async with held.imports.take(caller.account_id):
        now = runtime.clock.now()
        async with runtime.reader.connect() as conn:
            may_consent = await may_loosen(conn, caller)
        chunks = csv_chunks(request)
        report = await imports.run_import(runtime.db, campaign, now, chunks, region, may_consent=may_consent)
    counted: dict[str, object] = {"added": report.added, "duplicates": report.duplicates, "invalid": report.invalid}
    async with runtime.db.begin() as conn:
        now = runtime.clock.now()
        await audit.record(conn, caller.account_id, caller.actor, "campaign.import", campaign.public_id, now, counted)
    if report.held or report.released:
        counted |= {"held": report.held, "released": report.released, "lacking": _lines(report.lacking)}
    if report.consents:
        counted["consents"] = report.consents
    return reply(counted | {"errors": _lines(report.errors)})


def _lines(rows: Sequence[BadRow]) -> list[dict[str, object]]:
    return [{"line": row.line, "reason": row.reason, "text": row.text} for row in rows]


async def _find(db: AsyncEngine, caller: Caller, campaign_id: str) -> Campaign:
    async with db.connect() as conn:
        return await campaigns.get(conn, caller.account_id, parse_campaign_id(campaign_id))


def _checked(phones: Sequence[object]) -> list[str]:
    """Raises InvalidInput that counts the phones that are not E.164, and names index and value of the first ones."""
    faults = {
        f"phones[{index}]": f"{shown(phone)} is not an E.164 number such as +14155551234"
        for index, phone in enumerate(phones)
        if not (isinstance(phone, str) and is_e164(phone))
    }
    if faults:
        raise InvalidInput(f"{len(faults)} of {len(phones)} phones are not E.164; nothing was added", faults)
    return [str(phone) for phone in phones]


def _check_needs(campaign: Campaign) -> None:
    """Raises InvalidInput when the campaign's text needs data, which a bare number has not."""
    mode = parse_mode(campaign.channel, campaign.mode)
    if isinstance(mode, SmsMode) and (needs := mode.template.needs):
        fault = (
            f"the campaign's message needs {', '.join(needs)}, which a bare number does not have: import a file with"
            f" such a column, or give the message a default, as {{{{{needs[0]}|there}}}}"
        )
        raise InvalidInput(f"phones: {fault}", {"phones": fault})


def _parse_status(status: str | None) -> ProspectState | None:
    state = by_label(status) if status is not None else None
    if status is not None and state is None:
        fault = f"{shown(status)} is not one of {', '.join(each.label for each in ProspectState)}"
        raise InvalidInput(f"status: {fault}", {"status": fault})
    return state


async def _stream(db: AsyncEngine, campaign: Campaign, state: ProspectState | None) -> AsyncIterator[bytes]:
    """The whole list as one JSON object, read a chunk at a time: a million rows take no more memory than a page."""
    yield b'{"prospects":['
    after_id, between = None, b""
    while True:
        async with db.connect() as conn:  # not held while a slow client reads
            rows = await prospects.page(conn, campaign, ROWS_PER_CHUNK, after_id, state)
        if rows:
            yield between + orjson.dumps([_show(row) for row in rows])[1:-1]
            after_id, between = rows[-1].id, b","
        if len(rows) < ROWS_PER_CHUNK:
            break
    yield b"]}"


def _show(prospect: Prospect) -> dict[str, object]:
    return {
        "id": prospect.public_id,
        "campaignId": ids.encode("camp", prospect.campaign_id),
        "phone": prospect.phone,
        "status": prospect.state.label,
        **({"reason": prospect.reason} if prospect.reason else {}),
    }
