"""P4: no more calls at one time than allowed, and no account faster than its carrier's limit."""

from collections import defaultdict

from sqlalchemy import text

from engine.checks.evidence import Create, Evidence
from engine.checks.limits import excess_over
from engine.ids import encode, parse_attempt_ref
from engine.rules.attempt import AttemptState
from engine.rules.telephony import Channel

# Counted from the attempts themselves, not from what the limits are judged by. A machine needs no agent.
_UP = text(f"""
    select c.id, c.account_id, c.carrier, (c.mode ->> 'concurrentCalls')::float8 as most_calls,
           case when coalesce(c.mode ->> 'pacing', 'progressive') = 'progressive'
                then (c.mode #>> '{{agent,capacity}}')::float8 end as most_agents,
           (a.settings #>> '{{limits,concurrentCalls}}')::float8 as most_at_carrier,
           count(*) as calls,
           count(*) filter (where t.ended_at is null and t.state <> {AttemptState.MACHINE:d}) as needing_agents
      from campaigns c join accounts a on a.id = c.account_id join attempts t on t.campaign_id = c.id
     where c.channel = '{Channel.VOICE}' and t.check_at is not null
     group by c.id, a.settings
""")
_RATES = text("""
    select c.id, c.account_id, c.carrier, (a.settings #>> '{limits,callsPerSecond}')::float8 as calls,
           (a.settings #>> '{limits,messagesPerSecond}')::float8 as messages
      from campaigns c join accounts a on a.id = c.account_id where c.id = any(cast(:ids as bigint[]))
""")


async def calls_at_once(evidence: Evidence) -> list[str]:
    """No more calls are up than campaign, agents and carrier allow (limits that were lowered since are exceeded)."""
    problems: list[str] = []
    at_carrier: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0, 0])
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_UP)).all()
    for row in rows:
        name = encode("camp", row.id)
        if row.most_calls is not None and row.calls > row.most_calls:
            problems.append(f"{name}: {row.calls} calls are up, {row.most_calls:g} may be")
        if row.most_agents is not None and row.needing_agents > row.most_agents:
            problems.append(f"{name}: {row.needing_agents} calls may need one of {row.most_agents:g} agents")
        if row.most_at_carrier is not None:
            sums = at_carrier[row.account_id, row.carrier]
            sums[:] = [sums[0] + row.calls, row.most_at_carrier]
    for (account_id, carrier), (calls, most) in at_carrier.items():
        if calls > most:
            problems.append(f"{encode('acct', account_id)} at {carrier}: {calls:g} calls are up, {most:g} may be")
    return problems


async def carrier_rate(evidence: Evidence) -> list[str]:
    """No account exceeded the `limits` of its carrier × window + 1 in any window of a second or more (real time)."""
    refs = [(create, parse_attempt_ref(create.ref)) for create in evidence.accepted]
    known = [(create, ref[0]) for create, ref in refs if ref is not None]
    async with evidence.engine.connect() as conn:
        rows = await conn.execute(_RATES, {"ids": list({campaign_id for _, campaign_id in known})})
        limits = {row.id: row for row in rows}
    groups: dict[tuple[int, str, Channel, float], list[Create]] = defaultdict(list)
    for create, campaign_id in known:
        if (row := limits.get(campaign_id)) is None:
            continue
        rate = row.calls if create.channel is Channel.VOICE else row.messages
        if rate is not None:
            groups[row.account_id, row.carrier, create.channel, rate].append(create)
    problems = []
    for (account_id, carrier, channel, rate), creates in groups.items():
        times, lags = [create.at for create in creates], [create.lag_s for create in creates]
        if (excess := excess_over(times, rate, evidence.arrival_jitter_s, lags)) > 0:
            name = f"{encode('acct', account_id)} at {carrier}"
            problems.append(f"{name}: {excess:.1f} {channel} creates too many for {rate:g} a second")
    return problems
