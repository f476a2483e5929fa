"""Messages, one at a time: queued, read and listed, those that come in among those that go out.

An outbound message is a prospect: of the account's hidden direct campaigns when it was sent by itself, else of the
campaign that sends it. Its id is the prospect's, as in every event. Lists go by id, newest first, and each filter has
an index: nothing is scanned but what is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import iso
from engine.ids import encode
from engine.rules import segments, template
from engine.rules.attempt import AttemptState
from engine.rules.campaign_config import SmsMode, parse_mode
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.whom import Bar
from engine.store import one_off
from engine.store.campaigns import Campaign

INBOUND, OUTBOUND = "inbound", "outbound"
AT = "at"  # in a one-off message's data: the engine time at which it was asked for

# Reasons for which a message was cancelled: the person was on a list, or came onto it while the message waited.
_TOLD_AS_STATUS: Mapping[str, str] = {
    "suppressed": "suppressed",
    "opted_out": "suppressed",
    "content_rejected": "content_rejected",
    **dict.fromkeys(Bar, "failed"),
}
_ATTEMPT = """left join lateral (
        select from_number, state, segments, encoding, reason, error_code, carrier_id, intent_at, ended_at from attempts
         where prospect_id = p.id order by attempt desc limit 1) a on true"""
_OUTBOUND = """p.id, p.campaign_id, p.phone, p.state, p.outcome, coalesce(p.reason, a.reason) as reason, p.data,
    case when isfinite(p.next_attempt_at) then p.next_attempt_at end as next_attempt_at, c.is_direct, c.channel,
    c.mode, a.from_number, a.state as attempt_state, a.segments, a.encoding, a.carrier_id,
    a.intent_at, a.ended_at, a.error_code"""
_INBOUND = "id, from_number, to_number, body, segments, components, meaning, campaign_id, prospect_id, received_at"

_GET_ONE_OFF = text(f"""
    select {_OUTBOUND} from campaigns c join prospects p on p.campaign_id = c.id {_ATTEMPT}
     where c.account_id = :account_id and c.is_direct and c.channel = 'sms' and p.id = :id
""")
# A campaign's message is known by its attempts, which are found by the prospect's id alone.
_GET_CAMPAIGNS = text(f"""
    select {_OUTBOUND}
      from (select campaign_id from attempts
             where prospect_id = :id and account_id = :account_id order by attempt limit 1) f
      join campaigns c on c.id = f.campaign_id and c.account_id = :account_id and c.channel = 'sms'
      join prospects p on p.campaign_id = c.id and p.id = :id {_ATTEMPT}
""")
_GET_INBOUND = text(f"select {_INBOUND} from inbound_messages where id = :id and account_id = :account_id")


@dataclass(frozen=True, slots=True)
class Message:
    """`status`: queued, sending, sent, delivered, failed, unknown, suppressed, cancelled; received. Engine time."""

    id: int
    direction: str
    from_number: str | None  # None: its campaign has not chosen a number yet
    to: str
    text: str
    status: str
    segments: int
    encoding: str | None  # None: an MMS
    created_at: datetime | None  # None: of a campaign's prospects it is not kept
    media_urls: tuple[str, ...] = ()
    reason: str | None = None
    error_code: str | None = None  # the carrier's
    sent_at: datetime | None = None
    ended_at: datetime | None = None  # delivered, failed, or given up
    next_attempt_at: datetime | None = None
    campaign_id: int | None = None
    prospect_id: int | None = None
    media_count: int = 0  # of an inbound MMS, whose files are at `/api/sms/:id/components/:n`
    meaning: str = ""  # of an inbound one: an opt-out, for instance

    @property
    def public_id(self) -> str:
        return encode("msg", self.id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to list. `campaign_id` is one of the account's own campaigns: its messages, and the replies to them; their
    own numbers are its attempts', so `from_number` then asks for replies only (`direction` inbound)."""

    account_id: int
    limit: int
    before: int | None = None  # ids below this
    direction: str | None = None
    from_number: str | None = None
    to: str | None = None
    campaign_id: int | None = None


async def queue(
    conn: AsyncConnection,
    home: Campaign,
    from_number: str,
    to: str,
    message: str,
    now: datetime,
    *,
    media_urls: Sequence[str] = (),
    request_name: str = "",
    purpose: str = "",
) -> int:
    """Queues one message in a hidden direct campaign, due at once; returns its id. `request_name`: see `one_off.add`;
    `purpose`: a `rules.purpose.Purpose`, without one marketing.

    Wake the coordinators after the commit: until then there is nothing to see.
    """
    data = columns(from_number, message, now, media_urls=media_urls, purpose=purpose)
    return await one_off.add(conn, home, to, data, now, request_name)


def columns(
    from_number: str, message: str, now: datetime, *, media_urls: Sequence[str] = (), purpose: str = ""
) -> dict[str, object]:
    """What the row of a one-off message says of it."""
    data: dict[str, object] = {"from": from_number, "message": message, AT: iso(now)}
    if media_urls:
        data["mediaUrls"] = list(media_urls)
    if purpose:
        data["purpose"] = purpose
    return data


async def get(conn: AsyncConnection, account_id: int, message_id: int) -> Message | None:
    """A message of this account, whichever way it went; None for another tenant's."""
    params = {"account_id": account_id, "id": message_id}
    for statement, read in ((_GET_ONE_OFF, _outbound), (_GET_INBOUND, _inbound), (_GET_CAMPAIGNS, _outbound)):
        if row := (await conn.execute(statement, params)).one_or_none():
            return read(row)
    return None


async def page(conn: AsyncConnection, wanted: Wanted) -> list[Message]:
    """The newest messages first. The order of time, except that a campaign's own messages follow the replies to them,
    in the order in which its people were added, latest first."""
    found: list[Message] = []
    if wanted.direction != INBOUND:
        found += [_outbound(row) for row in await conn.execute(_outbound_page(wanted), _params(wanted))]
    if wanted.direction != OUTBOUND:
        found += [_inbound(row) for row in await conn.execute(_inbound_page(wanted), _params(wanted))]
    found.sort(key=lambda message: -message.id)
    return found[: wanted.limit]


def _params(wanted: Wanted) -> dict[str, object]:
    given = {
        "account_id": wanted.account_id,
        "limit": wanted.limit,
        "before": wanted.before,
        "from_number": wanted.from_number,
        "to": wanted.to,
        "campaign_id": wanted.campaign_id,
    }
    return {name: value for name, value in given.items() if value is not None}


def _outbound_page(wanted: Wanted) -> TextClause:
    """Only the conditions that are asked for, so that each has its index: by campaign and id, phone, or sender."""
    of_campaign = "c.id = :campaign_id" if wanted.campaign_id is not None else "c.is_direct and c.channel = 'sms'"
    conditions = ["p.campaign_id = c.id"]
    conditions += ["p.id < :before"] if wanted.before is not None else []
    conditions += ["p.phone = :to"] if wanted.to is not None else []
    conditions += ["p.one_off <> 0 and p.data ->> 'from' = :from_number"] if wanted.from_number is not None else []
    return text(f"""
        select {_OUTBOUND}
          from campaigns c
         cross join lateral (
               select * from prospects p where {" and ".join(conditions)} order by p.id desc limit :limit) p
          {_ATTEMPT}
         where c.account_id = :account_id and {of_campaign} order by p.id desc limit :limit
    """)


def _inbound_page(wanted: Wanted) -> TextClause:
    conditions = ["account_id = :account_id"]
    conditions += ["id < :before"] if wanted.before is not None else []
    conditions += ["from_number = :from_number"] if wanted.from_number is not None else []
    conditions += ["to_number = :to"] if wanted.to is not None else []
    conditions += ["campaign_id = :campaign_id"] if wanted.campaign_id is not None else []
    return text(f"""
        select {_INBOUND} from inbound_messages where {" and ".join(conditions)} order by id desc limit :limit
    """)


def _outbound(row: Row[tuple[Any, ...]]) -> Message:
    data: Mapping[str, Any] = row.data or {}
    said = str(data.get("message", "")) if row.is_direct else _campaigns_text(row.mode, data)
    media = tuple(data.get("mediaUrls") or ()) if row.is_direct else ()
    size = segments.count(said)
    is_mms = bool(media)
    return Message(
        id=row.id,
        direction=OUTBOUND,
        from_number=row.from_number or data.get("from"),
        to=row.phone,
        text=said,
        status=_status(row),
        segments=row.segments or (1 if is_mms else size.parts),
        encoding=row.encoding or (None if is_mms else size.encoding),
        created_at=datetime.fromisoformat(data[AT]) if row.is_direct and AT in data else None,
        media_urls=media,
        reason=row.reason,
        error_code=row.error_code,
        sent_at=row.intent_at if row.carrier_id is not None else None,
        ended_at=row.ended_at if row.attempt_state == AttemptState.ENDED else None,
        next_attempt_at=row.next_attempt_at if row.state == ProspectState.QUEUED else None,
        campaign_id=None if row.is_direct else row.campaign_id,
        prospect_id=None if row.is_direct else row.id,
    )


def _inbound(row: Row[tuple[Any, ...]]) -> Message:
    size = segments.count(row.body)
    return Message(
        id=row.id,
        direction=INBOUND,
        from_number=row.from_number,
        to=row.to_number,
        text=row.body,
        status="received",
        segments=row.segments,
        encoding=None if row.components else size.encoding,
        created_at=row.received_at,
        campaign_id=row.campaign_id,
        prospect_id=row.prospect_id,
        media_count=len(row.components),
        meaning=row.meaning,
    )


def _campaigns_text(mode: Mapping[str, object], data: Mapping[str, object]) -> str:
    """What a campaign says to a person: always the same, for neither its text nor the data of an import changes."""
    parsed = parse_mode("sms", mode)
    assert isinstance(parsed, SmsMode)
    return parsed.template.render(template.values_of(data))


def _status(row: Row[tuple[Any, ...]]) -> str:
    state = ProspectState(row.state)
    if state is ProspectState.COMPLETED and row.outcome is not None:
        return Outcome(row.outcome).label
    return _TOLD_AS_STATUS.get(row.reason, state.label) if state is ProspectState.CANCELLED else state.label
