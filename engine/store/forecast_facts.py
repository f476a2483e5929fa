"""What a forecast reads: who still waits, by the thousand, and what has become of attempts so far."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules import template
from engine.rules.attempt import AttemptState
from engine.rules.forecast_fates import Seen
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.whereabouts import is_of_location
from engine.store import arrays

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
MOST_SAMPLED = 3_000  # prospects, whose attempts are looked at
VERDICT_S = 3.0  # real: from a machine's answer until it is known for one and needs no agent
_MOST_ROWS = 2_000  # whose columns are looked at
_LARGE, _GRAIN_S, _COARSE_S = 100_000, 5.0, 60.0

_KEYS = text("""
    select distinct key from (select data from prospects where campaign_id = :id and data is not null limit :n) sample,
           jsonb_object_keys(data) key
""")
# The area code stands for the number; abroad its first six digits do.
_WAITING = text(f"""
    select min(phone) as phone, located, attempt, state + 0 <> {ProspectState.QUEUED:d} as is_under_way,
           reason like '{template.MISSING}:%' and next_attempt_at > :now as lacks_data,
           case when next_attempt_at > :now then ceil(extract(epoch from next_attempt_at) / :grain_s) * :grain_s
                else '-infinity' end::float8 as due_s,
           count(*) as people,
           case when sent_at <= :silent_since then ceil(extract(epoch from sent_at) / :grain_s) * :grain_s end::float8
               as silent_since_s
      from (select *, case when state + 0 = {ProspectState.SENT:d} then
                   (select intent_at from attempts a
                     where a.prospect_id = p.id and a.attempt = p.attempt) end as sent_at,
                   case when data is not null and cardinality(cast(:keys as text[])) > 0 then
                   (select array_agg(data ->> key order by n)
                      from unnest(cast(:keys as text[])) with ordinality as k(key, n)) end as located
              from prospects p where campaign_id = :id and next_attempt_at < 'infinity') p
     group by left(phone, case when phone like '+1%' then 5 else 7 end), 2, 3, 4, 5, 6, 8
""")
_COUNT = text("select coalesce(sum(total), 0)::bigint from campaign_counts where campaign_id = :id")
# The first so many people of a campaign in the order in which it calls: all of whose attempts have ended or will.
_SEEN = text(f"""
    select a.outcome, count(*) as attempts,
           percentile_cont(cast(:quantiles as float8[])) within group (
               order by extract(epoch from a.ended_at - a.intent_at)::float8) as lasts_s,
           avg(extract(epoch from a.ended_at - a.intent_at))::float8 as mean_s,
           coalesce(avg(extract(epoch from a.answered_at - a.intent_at)), 0)::float8 as ring_s,
           count(*) filter (where a.attempt = 1) as first,
           count(*) filter (where a.attempt = 1 and p.attempt > 1) as retried
      from unnest(cast(:ids as bigint[])) c(campaign_id)
     cross join lateral (select id, attempt from prospects
                          where campaign_id = c.campaign_id
                            and (attempt > 1 or state + 0 <> {ProspectState.QUEUED:d})
                          order by id limit :n) p
     cross join lateral (select * from attempts
                          where prospect_id = p.id and state + 0 = {AttemptState.ENDED:d}
                            and outcome is not null and ended_at is not null) a
     group by a.outcome
""")
_SILENT = text(f"""
    select count(*)
      from unnest(cast(:ids as bigint[])) c(campaign_id)
     cross join lateral (select id, attempt from prospects
                          where campaign_id = c.campaign_id and state + 0 = {ProspectState.SENT:d}
                          order by id limit :n) p
      join attempts a on a.prospect_id = p.id and a.attempt = p.attempt
     where a.intent_at <= :silent_since
""")
_LATEST = text("""
    select c.id from campaigns c, campaigns own
     where own.id = :id and c.account_id = own.account_id and c.channel = own.channel and c.id <> own.id
       and not c.is_direct and c.started_at is not null
       and (not :only_alike or (c.mode -> 'agent' is null) = (own.mode -> 'agent' is null))
     order by c.id desc limit 5
""")


class Group(NamedTuple):
    """People who wait alike. `phone` and `data` are those of one of them, and say where all of them may be."""

    phone: str
    data: dict[str, str]
    attempt: int
    due_s: float  # epoch seconds; -inf: since ever
    people: int
    is_under_way: bool
    lacks_data: bool
    silent_since_s: float | None  # epoch seconds: of texts sent at or before `silent_since`, without a report so far


async def waiting(conn: AsyncConnection, campaign_id: int, now: datetime, silent_since: datetime) -> list[Group]:
    """Everybody who is open, in a few thousand groups. It looks at each row: about a second for a million."""
    names = (await conn.execute(_KEYS, {"id": campaign_id, "n": _MOST_ROWS})).scalars()
    keys = sorted(filter(is_of_location, names))
    total: int = (await conn.execute(_COUNT, {"id": campaign_id})).scalar_one()
    grain_s = _COARSE_S if total > _LARGE else _GRAIN_S
    params = {"id": campaign_id, "now": now, "keys": keys, "grain_s": grain_s, "silent_since": silent_since}
    return [
        Group(
            row.phone,
            {key: value for key, value in zip(keys, row.located or (), strict=False) if value is not None},
            row.attempt,
            row.due_s,
            row.people,
            row.is_under_way,
            bool(row.lacks_data),
            row.silent_since_s,
        )
        for row in await conn.execute(_WAITING, params)
    ]


async def seen(conn: AsyncConnection, campaign_ids: Sequence[int], speed: float) -> list[Seen]:
    """What became of the attempts of these campaigns, of some thousands of their people."""
    params = {"ids": arrays.numbers(campaign_ids), "n": MOST_SAMPLED, "quantiles": list(QUANTILES)}
    return [
        Seen(
            outcome=Outcome(row.outcome).label,
            attempts=row.attempts,
            lasts_s=row.lasts_s,
            agent_s=min(row.mean_s, row.ring_s + VERDICT_S * speed) if row.outcome == Outcome.VOICEMAIL else row.mean_s,
            retried_share=row.retried / row.first if row.first else 0.0,
        )
        for row in await conn.execute(_SEEN, params)
    ]


async def silent(conn: AsyncConnection, campaign_ids: Sequence[int], silent_since: datetime) -> int:
    """How many texts of these campaigns were sent by then and are not reported on, of some thousands of people."""
    params = {"ids": arrays.numbers(campaign_ids), "n": MOST_SAMPLED, "silent_since": silent_since}
    count: int = (await conn.execute(_SILENT, params)).scalar_one()
    return count


async def latest_campaigns(conn: AsyncConnection, campaign_id: int, *, only_alike: bool) -> list[int]:
    """The last campaigns of its account and channel, but for itself; alike are those that have agents of their own, or
    none, as it has: with an agent people talk for much longer."""
    return list((await conn.execute(_LATEST, {"id": campaign_id, "only_alike": only_alike})).scalars())
