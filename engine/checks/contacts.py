"""P5: nobody is contacted outside the law, which is judged at the recorded time of the intent."""

from functools import cache

import orjson
from sqlalchemy import text

from engine.checks.evidence import Evidence
from engine.ids import attempt_ref, parse_attempt_ref
from engine.rules import window, zones
from engine.rules.attempt import AttemptState
from engine.rules.schedule import Schedule, parse_schedule

_BATCH = 10_000

# The answers that the law asks for are exempt from both: the confirmation of an opt-out follows it.
_AFTER_OPT_OUT = text(f"""
    select a.campaign_id, a.prospect_id, a.attempt, a.intent_at::text, s.created_at::text
      from attempts a join suppressions s on s.account_id = a.account_id and s.phone = a.phone
      join campaigns c on c.id = a.campaign_id and not c.is_system
     where a.intent_at > s.created_at and a.state <> {AttemptState.RELEASED:d}
     order by a.prospect_id limit 1000
""")
_INTENTS = text(f"""
    select a.campaign_id, a.prospect_id, a.attempt, a.phone, a.intent_at, c.channel, c.schedule::text
      from attempts a join campaigns c on c.id = a.campaign_id and not c.is_system
     where a.state <> {AttemptState.RELEASED:d}
""")
_INTENT_TIMES = text("""
    select n, a.intent_at from unnest(cast(:prospects as bigint[]), cast(:attempts as smallint[]))
                               with ordinality as c(prospect_id, attempt, n)
      join attempts a using (prospect_id, attempt)
""")


async def suppressed_left_alone(evidence: Evidence) -> list[str]:
    """No intent was committed for a number after it was suppressed, but for the answers that the law asks for."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_AFTER_OPT_OUT)).all()
    return [
        f"{attempt_ref(row.campaign_id, row.prospect_id, row.attempt)}: intended at {row.intent_at},"
        f" suppressed since {row.created_at}"
        for row in rows
    ]


async def inside_window(evidence: Evidence) -> list[str]:
    """Every intent fell into the legal hours of all candidate zones, and into the campaign's schedule."""
    problems = []
    async with evidence.engine.connect() as conn, conn.stream(_INTENTS) as rows:
        async for row in rows:
            candidate_zones = zones.zones_of(row.phone)
            verdict = window.verdict(row.channel, candidate_zones, _schedule(row.schedule), row.intent_at)
            if not verdict.open:
                name = attempt_ref(row.campaign_id, row.prospect_id, row.attempt)
                problems.append(f"{name}: intended at {row.intent_at.isoformat()}, outside: {verdict.reason}")
    return problems


async def creates_followed_intents(evidence: Evidence) -> list[str]:
    """Every accepted create reached the carrier while its ticket was good: the law was judged only just before."""
    named = [(create, parsed) for create in evidence.accepted if (parsed := parse_attempt_ref(create.ref))]
    problems = []
    async with evidence.engine.connect() as conn:
        for start in range(0, len(named), _BATCH):
            part = named[start : start + _BATCH]
            params = {"prospects": [p[1] for _, p in part], "attempts": [p[2] for _, p in part]}
            for n, intent_at in (await conn.execute(_INTENT_TIMES, params)).all():
                create = part[n - 1][0]
                most_s = evidence.ticket_s + evidence.arrival_jitter_s + create.lag_s
                if (late_s := create.at - evidence.clock.real_at(intent_at)) > most_s:
                    problems.append(f"{create.ref}: reached the carrier {late_s:.2f} s after its intent")
    return problems


@cache
def _schedule(stored: str | None) -> Schedule:
    return parse_schedule(orjson.loads(stored)) if stored and stored != "null" else Schedule()
