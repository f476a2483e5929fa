"""P5: nobody is contacted outside the law, which is judged at the recorded time of the intent."""

from functools import lru_cache

import orjson
from sqlalchemy import text

from engine.checks.evidence import Create, Evidence
from engine.ids import attempt_ref, parse_attempt_ref
from engine.rules import window
from engine.rules.attempt import AttemptState
from engine.rules.campaign_config import parse_mode
from engine.rules.purpose import Purpose
from engine.rules.schedule import Schedule, parse_schedule
from engine.rules.states import rules
from engine.rules.whereabouts import whereabouts
from engine.rules.window import Hours

_BATCH = 10_000

# The answers that the law asks for are exempt from both: the confirmation of an opt-out follows it.
_AFTER_OPT_OUT = text(f"""
    select a.campaign_id, a.prospect_id, a.attempt, a.intent_at::text, s.created_at::text
      from attempts a join suppressions s on s.account_id = a.account_id and s.phone = a.phone
      join campaigns c on c.id = a.campaign_id and not c.is_system and s.channel in ('all', c.channel)
     where a.intent_at > s.created_at and a.state <> {AttemptState.RELEASED:d}
     order by a.prospect_id limit 1000
""")
_INTENTS = text(f"""
    select a.campaign_id, a.prospect_id, a.attempt, a.phone, a.intent_at, a.rules_version, p.data,
           c.channel, c.purpose, c.mode::text, c.schedule::text
      from attempts a join campaigns c on c.id = a.campaign_id and not c.is_system
      left join prospects p on p.campaign_id = a.campaign_id and p.id = a.prospect_id
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
    """Every intent fell into the legal hours of all candidate zones and states, and into the campaign's schedule.

    Judged the plain way and by the rules in use now; a finding says when it was decided by others.
    """
    problems = []
    async with evidence.engine.connect() as conn, conn.stream(_INTENTS) as rows:
        async for row in rows:
            hours = _hours(row.channel, row.purpose, row.mode, row.schedule)
            place = whereabouts(row.phone, row.data)
            if not hours.holds(place, row.intent_at):
                name = attempt_ref(row.campaign_id, row.prospect_id, row.attempt)
                verdict = hours.at(place, row.intent_at)
                closed = f"{verdict.reason} {verdict.rule}".rstrip()
                known = "" if row.rules_version == rules().version else f" (decided by rules {row.rules_version})"
                problems.append(f"{name}: intended at {row.intent_at.isoformat()}, outside: {closed}{known}")
    return problems


async def creates_followed_intents(evidence: Evidence) -> list[str]:
    """Every accepted create reached the carrier while its ticket was good: the law was judged only just before."""
    late = await late_creates(evidence)
    return [f"{create.ref}: reached the carrier {late_s:.2f} s after its intent" for create, late_s in late]


async def late_creates(evidence: Evidence) -> list[tuple[Create, float]]:
    """The accepted creates that came when their ticket was no longer good, and how many seconds after their intent."""
    named = [(create, parsed) for create in evidence.accepted if (parsed := parse_attempt_ref(create.ref))]
    found = []
    async with evidence.engine.connect() as conn:
        for start in range(0, len(named), _BATCH):
            part = named[start : start + _BATCH]
            params = {"prospects": [p[1] for _, p in part], "attempts": [p[2] for _, p in part]}
            for n, intent_at in (await conn.execute(_INTENT_TIMES, params)).all():
                create = part[n - 1][0]
                most_s = evidence.ticket_s + evidence.arrival_jitter_s + create.lag_s
                if (late_s := create.at - evidence.clock.real_at(intent_at)) > most_s:
                    found.append((create, late_s))
    return found


@lru_cache(maxsize=4096)
def _hours(channel: str, purpose: str, mode: str, schedule: str | None) -> Hours:
    is_automated = parse_mode(channel, orjson.loads(mode)).is_automated
    own = parse_schedule(orjson.loads(schedule)) if schedule and schedule != "null" else Schedule()
    return window.hours(channel, Purpose(purpose), is_automated, own)
