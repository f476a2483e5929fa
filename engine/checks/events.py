"""P6: events are complete and ordered."""

import asyncio
from typing import NamedTuple

from sqlalchemy import text

from engine.checks.evidence import Evidence
from engine.clock import boottime
from engine.ids import encode

_POLL_S = 0.02

_GAPS = text("""
    select h.account_id, h.seq, h.kept_from, count(e.seq) as n, count(distinct e.seq) as different,
           min(e.seq) as first, max(e.seq) as last
      from event_heads h left join events e on e.account_id = h.account_id and e.seq >= h.kept_from
     group by h.account_id, h.seq, h.kept_from order by h.account_id
""")
_NEWEST = text("select coalesce(max(id), 0) from outbox")
_WAITING = text("select count(*) from outbox where id <= :newest")
# One row per call or message: there are six times as many events.
_FIRST_SEEN = text("""
    select account_id, tracking_id, json_object_agg(type, seq) as seen
      from (select e.account_id, told."trackingId" as tracking_id, told.type, min(e.seq) as seq
              from events e cross join lateral json_to_record(e.body) told ("trackingId" text, type text)
             where told."trackingId" <> '' and told.type <> '' group by 1, 2, 3) as first_of_a_type
     group by 1, 2
""")
_KEPT_FROM = text("select account_id, kept_from from event_heads")

# Event → those of which one must have come before. A create that is refused fails without having been initiated.
_INITIATED = ("voice.initiated", "voice.ai.initiated")
_CAUSES: dict[str, tuple[str, ...]] = {
    "voice.answered": _INITIATED,
    "voice.amd": ("voice.answered",),
    "voice.completed": _INITIATED,
    "voice.ai.completed": ("voice.ai.initiated",),
    "campaign.call.voicemail": ("campaign.call.initiated",),
    "campaign.call.human_connected": ("campaign.call.initiated",),
    "campaign.call.human_hangup": ("campaign.call.human_connected",),
    "sms.delivered": ("sms.sent",),
}
# Event → those that may not come after it.
_LAST_WORDS: dict[str, tuple[str, ...]] = {
    "voice.completed": ("voice.initiated", "voice.answered", "voice.amd"),
    "voice.ai.completed": ("voice.ai.initiated", "voice.answered", "voice.amd"),
    "voice.failed": ("voice.initiated", "voice.ai.initiated", "voice.answered", "voice.amd"),
    "sms.delivered": ("sms.sent",),
    "sms.failed": ("sms.sent", "sms.delivered"),
}


async def gapless(evidence: Evidence) -> list[str]:
    """Each account's events are numbered without a gap, from 1 or from the oldest that is kept, to its head."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_GAPS)).all()
    problems = []
    for row in rows:
        found = Numbers(row.n, row.different, row.first, row.last)
        problems += [f"{encode('acct', row.account_id)}: {gap}" for gap in gaps(found, row.kept_from, row.seq)]
    return problems


class Numbers(NamedTuple):
    """The numbers of an account's events: how many there are, how many different ones, the first, the last."""

    all: int
    different: int
    first: int | None
    last: int | None


def gaps(found: Numbers, kept_from: int, head: int) -> list[str]:
    """What is wrong with the numbers of the events that should be there, from `kept_from` to `head`."""
    problems, expected = [], head - kept_from + 1
    if found.all != found.different:
        problems.append(f"{found.all - found.different} numbers are given twice")
    if expected and (found.different, found.first, found.last) != (expected, kept_from, head):
        problems.append(f"{found.different} of the events {kept_from} to {head} are there")
    return problems


async def outbox_drains(evidence: Evidence) -> list[str]:
    """What is in the outbox now has been taken out within seconds."""
    deadline = boottime() + evidence.relay_s
    async with evidence.engine.connect() as conn:
        newest = (await conn.execute(_NEWEST)).scalar()
    while True:
        async with evidence.engine.connect() as conn:
            waiting = (await conn.execute(_WAITING, {"newest": newest})).scalar()
        if not waiting:
            return []
        if boottime() > deadline:
            return [f"{waiting} rows have waited for more than {evidence.relay_s:g} s: is the relay running?"]
        await asyncio.sleep(_POLL_S)


async def causes_come_first(evidence: Evidence) -> list[str]:
    """Within one call or message no event comes before its cause, or after the last word."""
    problems = []
    async with evidence.engine.connect() as conn:
        kept_from = {row.account_id: row.kept_from for row in await conn.execute(_KEPT_FROM)}
        async with conn.stream(_FIRST_SEEN) as rows:
            async for account_id, tracking_id, seen in rows:
                faults = disorder(seen, is_complete=kept_from.get(account_id, 1) == 1)
                problems += [f"{encode('acct', account_id)} {tracking_id}: {fault}" for fault in faults]
    return sorted(problems)


def disorder(seen: dict[str, int], is_complete: bool) -> list[str]:
    """What is wrong with the first numbers of one call's event types. Causes may lack unless the log `is_complete`."""
    faults = []
    for effect, causes in _CAUSES.items():
        if effect not in seen:
            continue
        came = min((seen[cause] for cause in causes if cause in seen), default=None)
        if came is None and is_complete:
            faults.append(f"{effect} without {' or '.join(causes)}")
        elif came is not None and came > seen[effect]:
            faults.append(f"{effect} (event {seen[effect]}) before its cause (event {came})")
    faults += [
        f"{late} (event {seen[late]}) after {last} (event {seen[last]})"
        for last, forbidden in _LAST_WORDS.items()
        for late in forbidden
        if last in seen and late in seen and seen[late] > seen[last]
    ]
    return faults
