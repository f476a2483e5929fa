"""What settling reads: the attempts themselves, locked, and what their campaigns want of them.

A campaign's plan is parsed once per change; its status is read anew with every batch, under the campaign's key.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ids import encode
from engine.rules.campaign import CampaignStatus
from engine.rules.campaign_config import Agent, SmsMode, parse_agent, parse_mode
from engine.rules.decision import AttemptView, CallPlan, Limits, Plan, SmsPlan
from engine.rules.purpose import Purpose
from engine.rules.retry import RetryHours
from engine.rules.schedule import ANY_TIME, parse_schedule
from engine.rules.telephony import AgentKind, AgentTarget, Channel
from engine.settings import Settings
from engine.store import arrays


class AttemptKey(NamedTuple):
    campaign_id: int
    prospect_id: int
    attempt: int


def lock_order(key: AttemptKey) -> tuple[int, int]:
    """Rows are locked by ascending prospect, then attempt."""
    return key.prospect_id, key.attempt


@dataclass(frozen=True, slots=True)
class Campaign:
    account_id: int
    channel: Channel
    is_direct: bool
    is_system: bool
    is_live: bool  # made with a live key
    is_over: bool
    plan: CallPlan | SmsPlan


_OVER = (CampaignStatus.CANCELLED, CampaignStatus.FAILED, CampaignStatus.COMPLETED)
_AGENT_WORDS = ("systemPrompt", "model", "voice", "firstSpeaker", "temperature", "tools")  # of a one-off AI call

_COLUMNS = """a.campaign_id, a.prospect_id, a.attempt, a.try, a.account_id, a.phone, a.did_id, a.from_number, a.carrier,
    a.carrier_id, a.state, a.agent_state, a.amd, a.outcome, a.reason, a.intent_at, a.answered_at, a.greeting_ended_at,
    a.ended_at, a.duration_s, a.check_at, a.command, a.command_no, a.segments, a.encoding"""
_KEYS = """unnest(cast(:prospects as bigint[]), cast(:attempts as smallint[]), cast(:campaigns as bigint[]))
    as k(prospect_id, attempt, campaign_id)"""

# A lateral look-up stays a nested loop on the primary key whatever the statistics say, and so locks in our order.
_LOCK = text(f"""
    select {_COLUMNS} from {_KEYS} cross join lateral (
        select * from attempts
         where prospect_id = k.prospect_id and attempt = k.attempt and campaign_id = k.campaign_id for update) a
""")
_READ = text(f"""
    select {_COLUMNS} from {_KEYS} cross join lateral (
        select * from attempts
         where prospect_id = k.prospect_id and attempt = k.attempt and campaign_id = k.campaign_id offset 0) a
     order by a.prospect_id, a.attempt
""")
_CAMPAIGNS = text("""
    select c.id, c.account_id, c.channel, c.is_direct, c.is_system, c.is_live, c.status, c.carrier, c.mode::text,
           a.agent::text, c.purpose, c.schedule::text,
           a.name, a.settings ->> 'identification' as identification
      from campaigns c join accounts a on a.id = c.account_id where c.id = any(cast(:ids as bigint[]))
""")
_PARAMETERS = text("""
    select p.id, p.data from unnest(cast(:campaigns as bigint[]), cast(:prospects as bigint[])) as k(campaign_id, id)
     cross join lateral (select id, data from prospects where campaign_id = k.campaign_id and id = k.id offset 0) p
""")


async def lock_attempts(conn: AsyncConnection, keys: Collection[AttemptKey]) -> list[AttemptView]:
    """The attempts that exist, locked in ascending order, as they are after whoever held them before."""
    return await _select(conn, _LOCK, keys)


async def read_attempts(conn: AsyncConnection, keys: Collection[AttemptKey]) -> list[AttemptView]:
    return await _select(conn, _READ, keys)


async def load_campaigns(
    conn: AsyncConnection,
    campaign_ids: Collection[int],
    limits: Limits,
    document_carriers: Collection[str],
    takes: timedelta,
) -> dict[int, Campaign]:
    """The campaigns that exist, by id, as this statement sees them. `takes`: see `opening.takes`."""
    rows = await conn.execute(_CAMPAIGNS, {"ids": arrays.numbers(sorted(campaign_ids))})
    return {row.id: campaign_of(row, limits, document_carriers, takes) for row in rows}


def campaign_of(row: Any, limits: Limits, document_carriers: Collection[str], takes: timedelta) -> Campaign:
    """The campaign of one row of `load_campaigns`."""
    status = CampaignStatus(row.status)
    said = row.identification or f"This call was placed by {row.name}. To be left alone, call {{number}}."
    plan = _plan(
        row.id, row.channel, row.is_direct, status in _OVER, row.carrier in document_carriers, row.mode, row.agent,
        said, limits, row.purpose, row.schedule, takes,
    )  # fmt: skip
    is_over = status in _OVER
    return Campaign(row.account_id, Channel(row.channel), row.is_direct, row.is_system, row.is_live, is_over, plan)


async def load_one_off_plans(
    conn: AsyncConnection, keys: Collection[AttemptKey], campaigns: Mapping[int, Campaign]
) -> dict[int, CallPlan | SmsPlan]:
    """The plans of those that are one-off contacts, by prospect."""
    plans = {campaign_id: each.plan for campaign_id, each in campaigns.items() if each.is_direct}
    if not plans:
        return {}
    one_offs = [key for key in keys if key.campaign_id in plans]
    parameters = await _load_parameters(conn, one_offs)
    return {
        key.prospect_id: one_off_plan(plans[key.campaign_id], parameters.get(key.prospect_id, {})) for key in one_offs
    }


async def _load_parameters(conn: AsyncConnection, keys: Sequence[AttemptKey]) -> dict[int, Mapping[str, Any]]:
    """What each one-off call or message was asked to be, by prospect."""
    params = {
        "campaigns": arrays.numbers([key.campaign_id for key in keys]),
        "prospects": arrays.numbers([key.prospect_id for key in keys]),
    }
    return {row.id: row.data or {} for row in await conn.execute(_PARAMETERS, params)}


def one_off_plan(plan: CallPlan | SmsPlan, parameters: Mapping[str, Any]) -> CallPlan | SmsPlan:
    """A one-off contact's own plan: a call with a `systemPrompt` is an AI call, whose agent is told all about it."""
    if isinstance(plan, SmsPlan):
        return replace(plan, media_urls=tuple(parameters.get("mediaUrls") or ()))
    told = {name: _word(parameters[name]) for name in _AGENT_WORDS if parameters.get(name) is not None}
    longest = parameters.get("maxDuration")
    agent = plan.agent and replace(plan.agent, params={**plan.agent.params, **told})
    return replace(
        plan,
        agent=agent,
        is_ai="systemPrompt" in told,
        max_duration_s=float(longest) if isinstance(longest, int) else plan.max_duration_s,
    )


def limits_of(settings: Settings, speed: float) -> Limits:
    return Limits(
        speed=speed,
        abandon_after_s=settings.abandon_after_s,
        create_s=settings.ticket_s + settings.carrier_timeout_s,
        reconcile_after_s=settings.reconcile_after_s,
        reconcile_give_up_s=settings.reconcile_give_up_s,
        delivery_deadline_s=settings.delivery_deadline_s,
    )


async def _select(conn: AsyncConnection, statement: Any, keys: Collection[AttemptKey]) -> list[AttemptView]:
    ordered = sorted(keys, key=lock_order)
    params = {
        "prospects": arrays.numbers([key.prospect_id for key in ordered]),
        "attempts": arrays.numbers([key.attempt for key in ordered]),
        "campaigns": arrays.numbers([key.campaign_id for key in ordered]),
    }
    rows = (await conn.execute(statement, params)).all()
    return [AttemptView._make(row) for row in rows]


@lru_cache(maxsize=4096)
def _plan(
    campaign_id: int,
    channel: str,
    is_direct: bool,
    is_over: bool,
    is_document: bool,
    mode_text: str,
    account_agent: str | None,
    identification: str,
    limits: Limits,
    purpose: str,
    schedule: str | None,
    takes: timedelta,
) -> CallPlan | SmsPlan:
    mode = parse_mode(channel, orjson.loads(mode_text))
    name = encode("camp", campaign_id)
    own = parse_schedule(orjson.loads(schedule)) if schedule else ANY_TIME
    hours = None if is_direct else RetryHours(channel, Purpose(purpose), mode.is_automated, own, takes)
    base = Plan(campaign=name, is_direct=is_direct, is_over=is_over, retry=mode.retry, hours=hours, limits=limits)
    shared: dict[str, Any] = {field: getattr(base, field) for field in Plan.__slots__}
    if isinstance(mode, SmsMode):
        return SmsPlan(**shared)
    agent = mode.agent
    if agent is None and (mode.ai or is_direct) and account_agent is not None:
        agent = parse_agent(orjson.loads(account_agent))
    return CallPlan(
        **shared,
        agent=None if agent is None else _target(agent, mode.system_prompt),
        is_ai=mode.ai,
        audio_url=mode.voicemail_audio_url or "",
        identification=identification,
        ring_timeout_s=mode.ring_timeout_s,
        max_duration_s=mode.max_duration_s,
        is_document=is_document,
    )


def _target(agent: Agent, system_prompt: str | None) -> AgentTarget:
    params = dict(agent.params) | ({"systemPrompt": system_prompt} if system_prompt else {})
    return AgentTarget(AgentKind(agent.kind), agent.address, params)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
