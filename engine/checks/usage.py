"""P1, of the bill: what is counted as used is what the attempts and the inbox say."""

from sqlalchemy import text

from engine.checks.evidence import Evidence
from engine.ids import encode

# By `engine.rules.usage`: a text when the carrier has taken it, a call by its seconds, on the day of the intent.
_DIFFERENCES = text("""
    with found as (
        select a.account_id, (a.intent_at at time zone 'UTC')::date as day,
               case when c.channel = 'sms' then 'sms.send'
                    when c.mode ->> 'ai' = 'true' or p.data ->> 'systemPrompt' is not null then 'voice.ai'
                    else 'voice.outbound' end as meter,
               case when c.channel = 'voice' then a.duration_s when a.carrier_id is not null then a.segments end
               as quantity
          from attempts a join campaigns c on c.id = a.campaign_id
          left join prospects p
            on c.is_direct and c.channel = 'voice' and p.campaign_id = a.campaign_id and p.id = a.prospect_id
        union all
        select account_id, (received_at at time zone 'UTC')::date, 'sms.receive', segments from inbound_messages
        union all
        select account_id, (received_at at time zone 'UTC')::date, 'voice.inbound', duration_s from inbound_calls
    ), recounted as (
        select account_id, day, meter, sum(quantity) as quantity from found group by account_id, day, meter
    ), counted as (
        select account_id, day, meter, sum(quantity) as quantity from usage_counts group by account_id, day, meter
    )
    select account_id, day, meter, coalesce(r.quantity, 0) as found, coalesce(n.quantity, 0) as counted
      from recounted r full join counted n using (account_id, day, meter)
     where coalesce(r.quantity, 0) <> coalesce(n.quantity, 0) order by account_id, day, meter limit 1000
""")


async def usage_equals_attempts(evidence: Evidence) -> list[str]:
    """Every meter of every account and day equals a recount of its attempts and of what came in."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_DIFFERENCES)).all()
    return [
        f"{encode('acct', row.account_id)} {row.day} {row.meter}: {row.counted} counted, the rows say {row.found}"
        for row in rows
    ]
