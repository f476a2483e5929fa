"""P4: a number's hour and day, counted anew from the attempts themselves."""

from sqlalchemy import text

from engine.checks.evidence import Evidence
from engine.rules.did_policy import Policy, policy_of

# Attempts of test keys are not capped unless a setting says so; those of live keys are. A try that never left us counts
# in the number's windows and not here, so what is found here is certain.
_FULLEST = text("""
    select from_number, max(in_hour) as in_hour, max(in_day) as in_day, max(policy) as policy from (
        select a.from_number, acc.settings ->> 'didPolicy' as policy,
               count(*) over (w range between interval '1 hour' preceding and current row) as in_hour,
               count(*) over (w range between interval '1 day' preceding and current row) as in_day
          from attempts a join campaigns c on c.id = a.campaign_id join accounts acc on acc.id = a.account_id
         where c.channel = 'voice' and c.is_live
        window w as (partition by a.did_id order by a.intent_at)) calls
     group by from_number
""")


async def calls_per_number(evidence: Evidence) -> list[str]:
    """No number made more live calls in any hour or day than its account's policy allows at most (engine time)."""
    problems = []
    async with evidence.engine.connect() as conn:
        for row in await conn.execute(_FULLEST):
            policy = policy_of(evidence.did_policy, row.policy or "")
            for count, most, window in (
                (row.in_hour, policy.per_hour, "hour"),
                (row.in_day, _most_per_day(policy), "day"),
            ):
                if count > most:
                    problems.append(f"{row.from_number}: {count} calls within one {window}, {most} allowed")
    return problems


def _most_per_day(policy: Policy) -> int:
    return max(policy.per_day, *(step.per_day for step in policy.warming), 0)
