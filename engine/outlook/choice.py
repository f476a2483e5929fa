"""From which number a person would be contacted now: the coordinator's choice, made without spending anything."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.coordinator.assign import blocked_number, did_facts
from engine.coordinator.senders import free_from
from engine.rules.caller_id import DidFacts, Pool
from engine.rules.campaign_config import parse_strategy
from engine.rules.overlays import overlays_of
from engine.rules.phone import area_code
from engine.rules.prospect import Outcome
from engine.rules.retry import may_change_number
from engine.rules.zones import state_of
from engine.store import senders
from engine.store.campaigns import Campaign
from engine.store.prospects import Prospect

_LAST = text("""
    select did_id, outcome from attempts where prospect_id = :id and attempt = :attempt and campaign_id = :campaign
""")


@dataclass(frozen=True, slots=True)
class Choice:
    """`did` is None when no number can be used now; `free_at` is then when the first may be, if that is known.

    `usable` of the account's numbers match the campaign and are in use; `resting` match it and rest.
    """

    did: DidFacts | None
    because: str
    free_at: datetime | None
    usable: int
    resting: int


async def choose(conn: AsyncConnection, campaign: Campaign, prospect: Prospect, now: datetime, did_caps: str) -> Choice:
    """What pacing by the minute leaves of each number is not asked: it is a matter of seconds."""
    last_did, is_bound = await _last(conn, prospect)
    found = await senders.of_campaign(conn, campaign)
    free = {did.id: free_from(campaign, did, did_caps) for did in found.usable}
    counted = len(found.usable), len(found.resting)
    if blocked := blocked_number(found.blocked, last_did):
        return Choice(
            blocked,
            "this person was last contacted from it, and a carrier or an engine has turned against it",
            None,
            *counted,
        )
    now_s = now.timestamp()
    facts = [did_facts(did, 1, 0, did.used_epoch) for did in found.usable if free[did.id] <= now_s]
    if is_bound and last_did is not None and free.get(last_did, 0.0) > now_s:
        why = "after a failure only the number of the last attempt may contact them again, and it is not free yet"
        return Choice(None, why, _moment(free[last_did]), *counted)
    strategy = parse_strategy(campaign.caller_id_strategy)
    if did := Pool(facts, strategy).take(prospect.phone, last_did):
        because = _reason(did, prospect.phone, last_did, strategy.selection, is_local=strategy.local_presence)
        return Choice(did, because, None, *counted)
    first = min(free.values(), default=float("inf"))
    ends = [each.until for each in found.resting.values() if each.until is not None]
    return Choice(None, _why_none(campaign, *counted), _moment(first) or min(ends, default=None), *counted)


def _moment(epoch: float) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if epoch < float("inf") else None


async def _last(conn: AsyncConnection, prospect: Prospect) -> tuple[int | None, bool]:
    """The number of the attempt before, and whether no other may follow it."""
    params = {"id": prospect.id, "attempt": prospect.attempt - 1, "campaign": prospect.campaign_id}
    row = (await conn.execute(_LAST, params)).one_or_none()
    if row is None:
        return None, False
    return row.did_id, row.outcome is not None and not may_change_number(Outcome(row.outcome).label)


def _reason(did: DidFacts, phone: str, last_did: int | None, selection: str, *, is_local: bool) -> str:
    if did.id == last_did:
        return "this person was last contacted from it"
    ranked = f"chosen by {selection}"
    if not is_local:
        return ranked
    here, there = area_code(phone) or "", area_code(did.number) or ""
    if here and here == there:
        return f"of the same area code, {ranked}"
    if there in overlays_of(here):
        return f"of an area code of the same place, {ranked}"
    if state_of(phone) and state_of(phone) == state_of(did.number):
        return f"of the same state, {ranked}"
    return f"none is nearer, {ranked}"


def _why_none(campaign: Campaign, usable: int, resting: int) -> str:
    if usable:
        waits = "keeps its gap after a text" if campaign.channel == "sms" else "has made its calls of this hour or day"
        return f"each of the {usable} numbers that it may use {waits}"
    if resting:
        return f"all {resting} numbers that it may use rest"
    return f"the account has no number for {campaign.channel} that matches the campaign's callerIds"
