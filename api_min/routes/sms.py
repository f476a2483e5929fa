"""Messages (reference 003): sent one at a time, read and listed, with those that came in."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response

from api_min.auth import Caller, needs
from api_min.contact import check_hours, check_numbers, check_person, one_off_kind
from api_min.deps import Deps, Held
from api_min.idempotent import HEADER
from api_min.replies import DEFAULT_PER_PAGE, Page, moment, parse_id, reply
from api_min.routes.campaigns import carrier_for
from api_min.routing import ApiRoute
from api_min.schemas import ErrorOut
from api_min.sms_schemas import MessageIn, MessageOut, MessagesOut, QueuedOut
from api_min.wake import wake
from engine import ids
from engine.carriers.port import Capabilities
from engine.errors import InvalidInput, NotFound
from engine.rules import content, segments
from engine.rules.did_pool import USABLE
from engine.rules.phone import is_e164
from engine.rules.segments import Segments
from engine.store import accounts, audit, campaigns, dids, messages, suppressions
from engine.store.messages import INBOUND, OUTBOUND, Message, Wanted

router = APIRouter(prefix="/sms", tags=["sms"], route_class=ApiRoute)

Reader = Annotated[Caller, needs("sms:read")]
Writer = Annotated[Caller, needs("sms:send")]

_LONGEST_URL = 2_048


@router.post("", status_code=201, response_model=QueuedOut, responses={422: {"model": ErrorOut}})
async def send_message(body: MessageIn, caller: Writer, held: Held, request: Request) -> Response:
    """Accepted when it is queued, which it leaves within milliseconds; `GET /api/sms/{id}` and events tell the rest.

    Refused with 400 outside legal hours at the recipient (`next_open_at`); for want of consent, on a do-not-call
    registry, or over the cap on contacts (`reason`, `next_allowed_at`); with 422 `content_rejected` for what it says.
    To somebody who has opted out it is accepted and not sent: its status becomes `suppressed`.
    """
    runtime = held.runtime
    now = runtime.clock.now()
    check_numbers(body.from_, body.to)
    media = _checked_media(body.media_urls or [])
    check_hours("sms", body.to, now)
    async with runtime.db.begin() as conn:
        account = await accounts.get(conn, caller.account_id)
        settings = account.settings if account else {}
        carrier = carrier_for(caller, settings, runtime.settings.test_carrier)
        did = await dids.find(conn, caller.account_id, body.from_)
        _check_sender(body.from_, did)
        size = _checked_size(body.message, media, runtime.carrier(carrier).caps)
        policy = content.policy_of(settings.get("content"), is_live=caller.is_live, is_one_off=True)
        scan = content.scan(body.message, policy)
        content.raise_if_blocked(scan, "message")
        if not await suppressions.is_suppressed(conn, caller.account_id, body.to, "sms"):
            kind = one_off_kind("sms", body.purpose, caller, carrier, settings)
            await check_person(conn, caller, kind, body.to, now)
        home = await campaigns.direct(conn, caller.account_id, "sms", caller.is_live, carrier, now)
        key = request.headers.get(HEADER)
        name = f"{caller.key_id} {key}" if key else ""
        message_id = await messages.queue(
            conn,
            home,
            body.from_,
            body.to,
            body.message,
            now,
            media_urls=media,
            request_name=name,
            purpose=body.purpose or "",
        )
        public_id = ids.encode("msg", message_id)
        await audit.record(conn, caller.account_id, caller.actor, "sms.send", public_id, now, {"to": body.to})
    await wake(runtime.redis, home.id)
    answer = {"id": public_id, "status": "queued", "segments": size.parts, "encoding": None if media else size.encoding}
    return reply(answer | {"warnings": [finding.rule for finding in scan.warnings]}, 201)


@router.get("", response_model=MessagesOut)
async def list_messages(
    caller: Reader,
    held: Held,
    direction: str | None = None,
    from_: Annotated[str | None, Query(alias="from")] = None,
    to: str | None = None,
    campaign_id: Annotated[str | None, Query(alias="campaignId")] = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Response:
    """Newest first: what was sent by itself and what came in; with `campaignId` that campaign's, replies first."""
    page = Page("msg", DEFAULT_PER_PAGE if limit is None else limit, cursor)
    _check_filters(direction, from_, to, campaign_id)
    campaign = None if campaign_id is None else parse_id("camp", campaign_id, "campaign")
    wanted = Wanted(caller.account_id, page.size + 1, page.after, direction, from_, to, campaign)
    async with held.runtime.reader.connect() as conn:
        if campaign is not None:
            await campaigns.get(conn, caller.account_id, campaign)
        rows = await messages.page(conn, wanted)
    return page.reply("messages", rows, [_show(row, held) for row in rows])


@router.get("/{message_id}", response_model=MessageOut)
async def get_message(message_id: str, caller: Reader, held: Held) -> Response:
    """One message, whichever way it went: sent by itself or by a campaign, or received."""
    number = parse_id("msg", message_id, "message")
    async with held.runtime.reader.connect() as conn:
        message = await messages.get(conn, caller.account_id, number)
    if message is None:
        raise NotFound("there is no such message")
    return reply(_show(message, held))


def _checked_media(urls: list[str]) -> tuple[str, ...]:
    """Raises InvalidInput that names each address which no carrier could fetch."""
    faults = {
        f"mediaUrls[{index}]": f"'{url[:60]}' is not an https address of at most {_LONGEST_URL} characters"
        for index, url in enumerate(urls)
        if not _is_https(url)
    }
    if faults:
        raise InvalidInput("; ".join(f"{name}: {fault}" for name, fault in faults.items()), faults)
    return tuple(urls)


def _is_https(url: str) -> bool:
    if len(url) > _LONGEST_URL or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_sender(number: str, did: dids.Did | None) -> None:
    if did is None:
        fault = f"{number} is not one of your numbers; GET /api/dids lists them"
    elif "sms" not in did.capabilities:
        fault = f"{number} is for {' and '.join(did.capabilities)}; choose one with the capability sms"
    elif did.state not in USABLE:
        fault = f"{number} is {did.state} and may not send; choose an active or warming number"
    else:
        return
    raise InvalidInput(f"from: {fault}", {"from": fault})


def _checked_size(text: str, media: tuple[str, ...], caps: Capabilities) -> Segments:
    """The parts that it takes, one for an MMS. Raises InvalidInput over what the carrier takes."""
    if not text.strip():
        fault = "is blank; write something"
        raise InvalidInput(f"message: {fault}", {"message": fault})
    if len(media) > caps.most_media:
        fault = f"has {len(media)} addresses; this carrier takes {caps.most_media or 'no media'}"
        raise InvalidInput(f"mediaUrls: {fault}", {"mediaUrls": fault})
    size = segments.count(text)
    if media:
        return size._replace(parts=1)
    if size.parts > caps.most_segments:
        fault = f"takes {size.parts} parts in {size.encoding}; this carrier takes {caps.most_segments}: shorten it"
        if size.encoding == segments.UCS_2:
            fault += f", or write it without {segments.foreign(text)[:10]}"
        raise InvalidInput(f"message: {fault}", {"message": fault, "segments": size.parts})
    return size


def _check_filters(direction: str | None, from_: str | None, to: str | None, campaign_id: str | None) -> None:
    faults: dict[str, str] = {}
    if direction not in (None, INBOUND, OUTBOUND):
        faults["direction"] = f"'{direction[:40]}' is neither inbound nor outbound"
    for name, number in (("from", from_), ("to", to)):
        if number is not None and not is_e164(number):
            faults[name] = f"'{number[:40]}' is not an E.164 number such as +14155550123; write + as %2B in a URL"
    if campaign_id is not None and from_ is not None and direction != INBOUND:
        faults["from"] = "a campaign's messages are not kept by sender; filter by to, or by direction=inbound"
    if faults:
        raise InvalidInput("; ".join(f"{name}: {fault}" for name, fault in faults.items()), faults)


def _show(message: Message, held: Deps) -> dict[str, object]:
    base = f"{held.runtime.settings.public_url.rstrip('/')}/api/sms/{message.public_id}/components"
    own_media = [f"{base}/{number}" for number in range(1, message.media_count + 1)]
    is_failed = message.status in ("failed", "unknown")
    shown: dict[str, object] = {
        "id": message.public_id,
        "direction": message.direction,
        "from": message.from_number,
        "to": message.to,
        "message": message.text,
        "status": message.status,
        "segments": message.segments,
        "encoding": message.encoding,
        "mediaUrls": [*message.media_urls, *own_media],
        "errorCode": message.error_code,
        "reason": message.reason,
        "createdAt": moment(message.created_at),
        "sentAt": moment(message.sent_at),
        "deliveredAt": moment(message.ended_at) if message.status == "delivered" else None,
        "failedAt": moment(message.ended_at) if is_failed else None,
        "nextAttemptAt": moment(message.next_attempt_at),
        "campaignId": None if message.campaign_id is None else ids.encode("camp", message.campaign_id),
        "prospectId": None if message.prospect_id is None else ids.encode("pros", message.prospect_id),
    }
    if message.direction == INBOUND:
        shown["meaning"] = message.meaning or None
    return shown
