"""What the workers need to know of a campaign, read with each batch and parsed once per change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.carriers.catalog import is_simulated
from engine.errors import InvalidInput, Unavailable
from engine.ids import encode
from engine.rules.account_limits import SLOWEST, UNLIMITED, AccountLimits, parse_limits
from engine.rules.attempt_caps import DEFAULT_CAP, Cap, parse_cap
from engine.rules.campaign import CampaignStatus
from engine.rules.campaign_config import Agent, SmsMode, VoiceMode, parse_agent, parse_mode
from engine.rules.compliance import STRICTEST, USUAL, Compliance, parse_compliance
from engine.rules.content import DEFAULT_POLICY, Policy, policy_of
from engine.rules.did_policy import DEFAULT_POLICY as DEFAULT_DID_POLICY
from engine.rules.did_policy import Policy as DidPolicy
from engine.rules.did_policy import policy_of as did_policy_of
from engine.rules.purpose import Purpose
from engine.rules.schedule import Schedule, parse_schedule
from engine.rules.telephony import Channel
from engine.rules.whom import Kind
from engine.rules.window import Hours, hours
from engine.store import people

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CampaignFacts:
    id: int
    account_id: int
    is_direct: bool
    is_system: bool
    channel: Channel
    purpose: Purpose
    status: CampaignStatus
    carrier: str
    calls_per_second: float
    mode: VoiceMode | SmsMode
    schedule: Schedule
    hours: Hours
    agent: Agent | None  # the campaign's agent target, else its account's
    policy: Policy = DEFAULT_POLICY  # what its texts may say
    is_live: bool = False  # made with a live key
    did_policy: DidPolicy = DEFAULT_DID_POLICY  # how much its account's numbers may call
    limits: AccountLimits = UNLIMITED  # of its account at the carrier
    compliance: Compliance = USUAL  # what its account must keep to
    cap: Cap | None = None  # its own on contacts of one person

    @cached_property
    def kind(self) -> Kind:
        return Kind(self.channel, self.purpose, self.mode.is_automated, self.is_direct, self.compliance, self.cap)

    def kind_for(self, data: Mapping[str, object] | None) -> Kind:
        """Of one of its contacts: a one-off one may say what it is for."""
        purpose = data.get("purpose") if self.is_direct and data else None
        if purpose is None or purpose == self.purpose:
            return self.kind
        return replace(self.kind, purpose=Purpose(str(purpose)))

    @cached_property
    def wants(self) -> int:
        """Which facts of its people are looked up (`store.people`); none of answers that the law asks for."""
        return 0 if self.is_system else people.flags(self.kind, self.is_live)

    @property
    def is_paced_by_agents(self) -> bool:
        return isinstance(self.mode, VoiceMode) and self.mode.pacing is not None


# JSON as text, because text is what the parse is remembered by.
_SELECT = text("""
    select c.id, c.account_id, c.is_direct, c.is_system, c.channel, c.purpose, c.status, c.carrier, c.calls_per_second,
           c.mode::text, c.schedule::text, a.agent::text, c.is_live, (a.settings -> 'content')::text as content,
           (a.settings -> 'didPolicy')::text as did_policy,
           (a.settings -> 'limits')::text as limits, (a.settings -> 'compliance')::text as compliance,
           c.frequency_cap::text
      from campaigns c join accounts a on a.id = c.account_id
     where c.id = any(cast(:ids as bigint[]))
""")


async def load_campaigns(
    conn: AsyncConnection, campaign_ids: Iterable[int], did_policy: str = ""
) -> dict[int, CampaignFacts]:
    """The campaigns that exist, by id, as this statement sees them. `did_policy` is the setting.

    One that this version cannot read is told of and left out: nobody of it is contacted, and it holds up no other.
    """
    rows = await conn.execute(_SELECT, {"ids": sorted(campaign_ids)})
    return {row.id: facts for row in rows if (facts := _readable(row, did_policy)) is not None}


async def load_campaign(conn: AsyncConnection, campaign_id: int, did_policy: str) -> CampaignFacts:
    """One campaign. Raises Unavailable when this version cannot read it: another one may."""
    found = (await load_campaigns(conn, [campaign_id], did_policy)).get(campaign_id)
    if found is None:
        raise Unavailable("this version cannot read the campaign, and contacts nobody of it")
    return found


async def read_campaigns(reader: AsyncEngine, campaign_ids: Iterable[int]) -> dict[int, CampaignFacts]:
    """`load_campaigns` outside of a transaction."""
    async with reader.connect() as conn:
        return await load_campaigns(conn, campaign_ids)


def _readable(row: Any, did_policy: str) -> CampaignFacts | None:
    try:
        return facts_of(row, did_policy)
    except InvalidInput as error:
        _tell_once(encode("camp", row.id), error.message)
        return None


@lru_cache(maxsize=4096)
def _tell_once(campaign: str, said: str) -> None:
    log.error("campaign.unreadable", campaign=campaign, error=said)


def facts_of(row: Any, did_policy: str) -> CampaignFacts:
    mode = _mode(row.channel, row.mode)
    purpose, schedule = Purpose(row.purpose), _schedule(row.schedule)
    own_agent = mode.agent if isinstance(mode, VoiceMode) else None
    return CampaignFacts(
        id=row.id,
        account_id=row.account_id,
        is_direct=row.is_direct,
        is_system=row.is_system,
        channel=Channel(row.channel),
        purpose=purpose,
        status=CampaignStatus(row.status),
        carrier=row.carrier,
        calls_per_second=row.calls_per_second,
        mode=mode,
        schedule=schedule,
        hours=hours(row.channel, purpose, mode.is_automated, schedule),
        agent=own_agent or _agent(row.agent),
        policy=_policy(row.content, row.is_live),
        is_live=row.is_live,
        did_policy=did_policy_of(did_policy, row.did_policy or ""),
        limits=_limits(row.limits),
        compliance=compliance_of(row.compliance, is_real=row.is_live and not is_simulated(row.carrier)),
        cap=_cap(row.frequency_cap),
    )


@lru_cache(maxsize=4096)
def compliance_of(setting: str | None, *, is_real: bool) -> Compliance:
    """What the account's setting says, as JSON; the strictest when it cannot be read. `is_real`: a live key's traffic
    at a real carrier."""
    try:
        return parse_compliance(orjson.loads(setting) if setting else None, is_real=is_real)
    except InvalidInput as error:
        log.error("account.compliance_unreadable", error=error.message)
        return STRICTEST


@lru_cache(maxsize=4096)
def _cap(cap: str | None) -> Cap | None:
    """One contact a day when it cannot be read."""
    try:
        return parse_cap(orjson.loads(cap), "campaign") if cap else None
    except InvalidInput as error:
        log.error("campaign.cap_unreadable", error=error.message)
        return DEFAULT_CAP._replace(most=1)


@lru_cache(maxsize=4096)
def _mode(channel: str, mode: str) -> VoiceMode | SmsMode:
    return parse_mode(channel, orjson.loads(mode))


@lru_cache(maxsize=4096)
def _schedule(schedule: str | None) -> Schedule:
    return parse_schedule(orjson.loads(schedule)) if schedule else Schedule()


@lru_cache(maxsize=4096)
def _agent(agent: str | None) -> Agent | None:
    return parse_agent(orjson.loads(agent)) if agent else None


@lru_cache(maxsize=4096)
def _policy(settings: str | None, is_live: bool) -> Policy:
    return policy_of(orjson.loads(settings) if settings else None, is_live=is_live)


@lru_cache(maxsize=4096)
def _limits(limits: str | None) -> AccountLimits:
    if limits is None:
        return UNLIMITED
    try:
        return parse_limits(orjson.loads(limits))
    except InvalidInput as error:
        log.error("account.limits_unreadable", error=error.message)
        return SLOWEST
