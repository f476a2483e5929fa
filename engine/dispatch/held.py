"""Prospects that an intent did not contact, written down in its transaction: cancelled for good, or due later."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.compose import SUPPRESSED
from engine.dispatch.hints import Hint
from engine.ids import encode
from engine.rules.events import Event
from engine.rules.prospect import ProspectState
from engine.rules.stats import Delta
from engine.rules.whom import Bar
from engine.store import outbox

# Why a campaign leaves a person alone for good.
_DO_NOT_CONTACT = frozenset({SUPPRESSED, *Bar})

# By key as in `record`.
_CANCEL = text(f"""
    update prospects p set state = {ProspectState.CANCELLED:d}, reason = h.reason, next_attempt_at = 'infinity'
      from unnest(cast(:campaigns as bigint[]), cast(:prospects as bigint[]), cast(:reasons as text[]))
           as h(campaign_id, prospect_id, reason)
     where p.campaign_id = any(array[h.campaign_id]) and p.id = h.prospect_id
       and p.state = {ProspectState.QUEUED:d}
""")
_POSTPONE = text(f"""
    update prospects p set reason = h.reason, next_attempt_at = h.next_at
      from unnest(cast(:campaigns as bigint[]), cast(:prospects as bigint[]), cast(:reasons as text[]),
                  cast(:next_at as timestamptz[])) as h(campaign_id, prospect_id, reason, next_at)
     where p.campaign_id = any(array[h.campaign_id]) and p.id = h.prospect_id
       and p.state = {ProspectState.QUEUED:d}
""")


@dataclass(slots=True)
class Held:
    """Prospects to be written as not contacted, and why."""

    cancelled: list[tuple[Hint, str]] = field(default_factory=list)
    later: list[tuple[Hint, str, datetime]] = field(default_factory=list)

    def add(self, hint: Hint, reason: str, again_at: datetime | None) -> None:
        """Due again then, or without a time never; without a reason nothing is written."""
        if again_at is not None:
            self.later.append((hint, reason, again_at))
        elif reason:
            self.cancelled.append((hint, reason))


async def write_held(
    conn: AsyncConnection,
    held: Held,
    campaigns: Mapping[int, CampaignFacts],
    now: datetime,
    deltas: dict[int, Delta],
) -> None:
    """Writes them, tells of those cancelled, and adds to `deltas` what they change."""
    if held.later:
        await conn.execute(
            _POSTPONE,
            {
                "campaigns": [h.campaign_id for h, _, _ in held.later],
                "prospects": [h.prospect_id for h, _, _ in held.later],
                "reasons": [reason for _, reason, _ in held.later],
                "next_at": [at for _, _, at in held.later],
            },
        )
    if not held.cancelled:
        return
    await conn.execute(
        _CANCEL,
        {
            "campaigns": [h.campaign_id for h, _ in held.cancelled],
            "prospects": [h.prospect_id for h, _ in held.cancelled],
            "reasons": [reason for _, reason in held.cancelled],
        },
    )
    leave_queue(deltas, [hint for hint, _ in held.cancelled], ProspectState.CANCELLED)
    events: dict[int, list[str]] = {}
    for hint, reason in held.cancelled:
        if reason == SUPPRESSED:
            deltas[hint.campaign_id].add("suppressed", 1)
        event = event_of(hint, reason, campaigns[hint.campaign_id].is_direct, now)
        events.setdefault(hint.account_id, []).append(event.encode())
    await outbox.publish(conn, events)


def leave_queue(deltas: dict[int, Delta], hints: Sequence[Hint], state: ProspectState) -> None:
    """Counts prospects that leave the queue for `state`; a later attempt is no longer one that waits for its retry."""
    by_campaign = Counter(hint.campaign_id for hint in hints)
    retries = Counter(_retries(hints))
    for campaign_id, amount in by_campaign.items():
        delta = deltas.setdefault(campaign_id, Delta())
        delta.move(ProspectState.QUEUED, state, amount=amount)
        delta.add("retrying", -retries[campaign_id])


def _retries(hints: Iterable[Hint]) -> list[int]:
    return [hint.campaign_id for hint in hints if hint.attempt > 1]


def event_of(hint: Hint, reason: str, is_one_off: bool, now: datetime) -> Event:
    """Somebody may not be contacted; a message, one-off or refused for its words, has failed."""
    if reason in _DO_NOT_CONTACT and not hint.is_one_off_text:
        return left_alone(hint.campaign_id, hint.prospect_id, hint.phone, reason, is_one_off, now)
    public_id = encode("msg", hint.prospect_id)
    owner = {} if is_one_off else _of_campaign(hint.campaign_id, hint.prospect_id)
    status = reason if reason == SUPPRESSED else "failed"
    facts = {"id": public_id, **owner, "from": hint.from_number, "to": hint.phone, "status": status, "reason": reason}
    return Event("sms.failed", now, facts, unique_id=public_id)


def left_alone(campaign_id: int, prospect_id: int, phone: str, reason: str, is_one_off: bool, now: datetime) -> Event:
    """A campaign's prospect may not be contacted, or somebody by a one-off call: that is known by its own id, for no
    client ever sees the campaign which holds it."""
    name = encode("call" if is_one_off else "pros", prospect_id)
    whose = {"id": name} if is_one_off else _of_campaign(campaign_id, prospect_id)
    return Event("campaign.prospect.dnc", now, {**whose, "phone": phone, "reason": reason}, unique_id=name)


def _of_campaign(campaign_id: int, prospect_id: int) -> dict[str, str]:
    return {"campaignId": encode("camp", campaign_id), "prospectId": encode("pros", prospect_id)}
