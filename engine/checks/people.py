"""P5: who was contacted at all: caps on attempts, consent, registries. By the rules and settings in use now."""

from collections import deque
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import text

from engine.carriers.catalog import is_simulated
from engine.checks.evidence import Evidence
from engine.dispatch.campaigns import compliance_of
from engine.ids import attempt_ref
from engine.rules import attempt_caps, registry, relationship, whom
from engine.rules.attempt import AttemptState
from engine.rules.attempt_caps import LONGEST_PERIOD_S, parse_cap
from engine.rules.campaign_config import parse_mode
from engine.rules.consent import Consent
from engine.rules.purpose import Purpose
from engine.rules.registry import BLOCK_LINES
from engine.rules.whereabouts import Place, whereabouts
from engine.rules.whom import STILL, Kind, Person
from engine.store import registries

# `wrote_at`: the person's own last message before the intent.
_KIND = """c.is_live, c.carrier, c.channel, c.is_direct, c.mode::text, c.frequency_cap::text,
    (acc.settings -> 'compliance')::text as compliance,
    coalesce(case when c.is_direct then p.data ->> 'purpose' end, c.purpose) as purpose, p.data"""
_FROM = f"""
      from attempts a
      join campaigns c on c.id = a.campaign_id and not c.is_system
      join accounts acc on acc.id = a.account_id
      left join prospects p on p.campaign_id = a.campaign_id and p.id = a.prospect_id
      left join lateral (select max(received_at) as wrote_at from inbound_messages
                          where c.is_direct and account_id = a.account_id and from_number = a.phone
                            and received_at <= a.intent_at) m on true
     where a.state <> {AttemptState.RELEASED:d}
"""
# Only of people who were contacted more than once: no cap is below one.
_CONTACTS = text(f"""
    select a.account_id, a.campaign_id, a.prospect_id, a.attempt, a.phone, a.intent_at, m.wrote_at, {_KIND} {_FROM}
       and (a.account_id, a.phone) in (select account_id, phone from attempts group by 1, 2 having count(*) > 1)
     order by a.account_id, c.is_live, a.phone, a.intent_at
""")
# What was in force at the intent: neither revoked by then, nor older than a withdrawal.
_CLASS = """coalesce((select max(class) from consents s
                      where s.account_id = a.account_id and s.phone = a.phone and s.channel in ('all', c.channel)
                        and s.recorded_at <= a.intent_at and (s.revoked_at is null or s.revoked_at > a.intent_at)
                        and not exists (select from consents r
                                         where r.account_id = a.account_id and r.phone = a.phone and r.class = 0
                                           and r.channel in ('all', c.channel) and r.recorded_at > s.given_at
                                           and r.recorded_at <= a.intent_at)), 0) as class"""
_CONSENTS = text(f"""
    select a.campaign_id, a.prospect_id, a.attempt, a.phone, a.intent_at, m.wrote_at, {_KIND},
           {_CLASS} {_FROM}
""")
# Until when the person wished to be left alone, as it was known at the intent.
_ENDED = f"""(select max(at) from (
    select recorded_at as at from consents s
     where s.account_id = a.account_id and s.phone = a.phone and class = 0 and recorded_at <= a.intent_at
    union all
    select case when lifted_at <= a.intent_at then lifted_at else timestamptz '{STILL.isoformat()}' end
      from lifted_suppressions s
     where s.account_id = a.account_id and s.phone = a.phone and suppressed_at <= a.intent_at
    union all
    select timestamptz '{STILL.isoformat()}' from suppressions s
     where s.account_id = a.account_id and s.phone = a.phone and created_at <= a.intent_at) e) as ended_at"""
# The copy in use now, as far as it was then; what an older one said is gone with it.
_LISTED = text(f"""
    select a.campaign_id, a.prospect_id, a.attempt, a.phone, a.intent_at, a.allowed_by, m.wrote_at, {_KIND}, r.registry,
           {_ENDED}, {_CLASS}
      from registry_copies r
      join registry_blocks b on b.copy_id = r.id
      join attempts a on substr(a.phone, 2)::bigint / {BLOCK_LINES} = b.block and a.intent_at > r.loaded_at
       and {registries.names("substr(a.phone, 2)::bigint")}
      {_FROM.replace("from attempts a", "", 1)} and r.is_current
""")


async def attempts_capped(evidence: Evidence) -> list[str]:
    """Nobody got more marketing contacts in a sliding period than the account, the campaign and the states allow."""
    problems: list[str] = []
    person: tuple[object, ...] = ()
    earlier: deque[datetime] = deque()
    async for row in _rows(evidence, _CONTACTS):
        kind, place = kind_of(row), whereabouts(row.phone, row.data)
        if (row.account_id, row.is_live, row.phone) != person:
            person, earlier = (row.account_id, row.is_live, row.phone), deque()
        if not whom.counts(kind, Person(wrote_at=row.wrote_at), place, row.intent_at):
            continue
        while earlier and earlier[0] <= row.intent_at - timedelta(seconds=LONGEST_PERIOD_S):
            earlier.popleft()
        if full := attempt_caps.full(earlier, whom.caps(kind, place, row.intent_at), row.intent_at):
            cap = full.cap
            problems.append(
                f"{_name(row)}: one contact more at {row.intent_at.isoformat()} than {cap.rule} allows,"
                f" {cap.most} in {cap.period_s // 3600} h"
            )
        earlier.append(row.intent_at)
    return problems


async def consent_given(evidence: Evidence) -> list[str]:
    """Where an account requires consent, everybody contacted had given the class that the law asks for."""
    problems = []
    async for row in _rows(evidence, _CONSENTS):
        kind, place = kind_of(row), whereabouts(row.phone, row.data)
        if not kind.compliance.requires_consent or _is_reply(kind, place, row):
            continue
        if (needed := whom.consent_needed(kind, place)) > row[-1]:
            has = Consent(row[-1]).label
            problems.append(f"{_name(row)}: contacted with consent {has} where {needed.label} is needed")
    return problems


async def registries_asked(evidence: Evidence) -> list[str]:
    """Where registries must be asked, what a marketing contact with somebody listed rests on holds, and is recorded.

    That is written consent or an established business relationship, judged again.
    """
    problems = []
    async for row in _rows(evidence, _LISTED):
        kind, place = kind_of(row), whereabouts(row.phone, row.data)
        if not (kind.is_marketing and kind.compliance.requires_registry) or _is_reply(kind, place, row):
            continue
        if row.registry not in registry.binding(place.regions, {row.registry: date.min}):
            continue
        relation = relationship.read(row.data, row.intent_at)
        person = Person(consent=Consent(row[-1]), relation=relation, ended_at=row.ended_at)
        name = registry.name_of(row.registry)
        if not (basis := whom.opened_by(kind, person, place, row.registry, row.intent_at)):
            problems.append(f"{_name(row)}: contacted though on the {name} registry")
        elif f"{row.registry}: {basis}" not in (row.allowed_by or "").split(", "):
            problems.append(f"{_name(row)}: contacted though on the {name} registry, and the decision names no {basis}")
    return problems


async def _rows(evidence: Evidence, statement: Any) -> AsyncIterator[Any]:
    async with evidence.engine.connect() as conn, conn.stream(statement) as rows:
        async for row in rows:
            yield row


def kind_of(row: Any) -> Kind:
    """What kind of contact an attempt was."""
    return _kind(
        row.channel, row.purpose, row.is_direct, row.mode, row.compliance, row.frequency_cap,
        row.is_live and not is_simulated(row.carrier),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _kind(
    channel: str,
    purpose: str,
    is_direct: bool,
    mode: str,
    compliance: str | None,
    cap: str | None,
    is_real: bool,
) -> Kind:
    return Kind(
        channel,
        Purpose(purpose),
        parse_mode(channel, orjson.loads(mode)).is_automated,
        is_direct,
        compliance_of(compliance, is_real=is_real),
        parse_cap(orjson.loads(cap), "campaign") if cap else None,
    )


def _is_reply(kind: Kind, place: Place, row: Any) -> bool:
    return whom.is_reply(kind, Person(wrote_at=row.wrote_at), place, row.intent_at)


def _name(row: Any) -> str:
    return attempt_ref(row.campaign_id, row.prospect_id, row.attempt)
