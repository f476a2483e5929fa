"""What the calls of campaigns with agents were like, by the hour: for their pace, and for the 30-day abandon rate.

Written as the counters are (`engine.store.counts`): each lane adds under its own writer number, and past hours are
folded into one row. An hour older than the window is dropped.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.pacing import HOUR_SUMS, RECENT_H, WINDOW_H, Figure, Forecast, Recent, Stage
from engine.store import arrays, locks

STALE_S = 15.0  # a forecast that nobody has renewed for so long is not believed

_SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint as {name}" for name in HOUR_SUMS)
_ADD = text(
    f"insert into call_hours (campaign_id, hour, writer, {', '.join(HOUR_SUMS)})"
    f" select * from unnest(cast(:campaigns as bigint[]), cast(:hours as int[]), cast(:writers as int[]),"
    f" {', '.join(f'cast(:{name} as bigint[])' for name in HOUR_SUMS)})"
    f" on conflict (campaign_id, hour, writer) do update set"
    f" {', '.join(f'{name} = call_hours.{name} + excluded.{name}' for name in HOUR_SUMS)}"
)
_FIGURES = text("""
    select campaign_id, sum(persons)::bigint as persons, sum(abandoned)::bigint as abandoned from call_hours
     where campaign_id = any(cast(:ids as bigint[])) and hour > :after group by campaign_id
""")
_RECENT = text(f"""
    select campaign_id, {_SUMS} from call_hours
     where campaign_id = any(cast(:ids as bigint[])) and hour > :after group by campaign_id
""")
_FOLD = text(f"""
    with gone as (delete from call_hours where campaign_id = :id and hour < :before returning *)
    insert into call_hours (campaign_id, hour, writer, {", ".join(HOUR_SUMS)})
    select :id, hour, 0, {", ".join(f"sum({name})" for name in HOUR_SUMS)} from gone where hour > :after group by hour
""")
_FORECASTS = text("""
    select campaign_id, stage, answer_rate, ring_s, talk_s, persons, abandoned, most_up,
           made_at > now() - make_interval(secs => :stale_s) as is_fresh
      from call_forecasts where campaign_id = any(cast(:ids as bigint[]))
""")
_SAVE = text("""
    insert into call_forecasts (campaign_id, stage, answer_rate, ring_s, talk_s, persons, abandoned, most_up, made_at)
    select u.*, now()
      from unnest(cast(:ids as bigint[]), cast(:stages as smallint[]), cast(:answer_rates as float8[]),
                  cast(:ring_s as float8[]), cast(:talk_s as float8[]), cast(:persons as bigint[]),
                  cast(:abandoned as bigint[]), cast(:most_up as int[])) u
    on conflict (campaign_id) do update
       set stage = excluded.stage, answer_rate = excluded.answer_rate, ring_s = excluded.ring_s,
           talk_s = excluded.talk_s, persons = excluded.persons, abandoned = excluded.abandoned,
           most_up = excluded.most_up, made_at = excluded.made_at
""")

Sums = tuple[int, ...]
"""In the order of `HOUR_SUMS`."""


def hour_of(at: datetime) -> int:
    """The hour since the epoch."""
    return int(at.timestamp() // 3_600)


async def add(conn: AsyncConnection, sums: Mapping[tuple[int, int], Sequence[int]], writer: int) -> None:
    """Adds sums (as `HOUR_SUMS`) by campaign and hour. `writer` is the lane's own number."""
    if not sums:
        return
    keys = sorted(sums)
    columns = zip(*(sums[key] for key in keys), strict=True)
    params = {
        "campaigns": arrays.numbers([campaign_id for campaign_id, _ in keys]),
        "hours": arrays.numbers([hour for _, hour in keys]),
        "writers": arrays.numbers([writer] * len(keys)),
    }
    await conn.execute(_ADD, params | dict(zip(HOUR_SUMS, map(arrays.numbers, columns), strict=True)))


async def figures(conn: AsyncConnection, ids: Sequence[int], now: datetime) -> dict[int, Figure]:
    """The figure of the last 30 days, of the campaigns that have one. `now` is engine time."""
    rows = await conn.execute(_FIGURES, {"ids": arrays.numbers(ids), "after": hour_of(now) - WINDOW_H})
    return {row.campaign_id: Figure(row.persons, row.abandoned) for row in rows}


async def recent(conn: AsyncConnection, ids: Sequence[int], now: datetime) -> dict[int, Recent]:
    rows = await conn.execute(_RECENT, {"ids": arrays.numbers(ids), "after": hour_of(now) - RECENT_H})
    return {
        row.campaign_id: Recent(row.calls, row.persons, row.connected, row.ring_ms / 1e3, row.talk_ms / 1e3)
        for row in rows
    }


async def forecasts(conn: AsyncConnection, ids: Sequence[int]) -> dict[int, Forecast]:
    """What was last forecast, of the campaigns of which it is fresh enough to be believed."""
    return {campaign_id: found for campaign_id, (found, is_fresh) in (await _read(conn, ids)).items() if is_fresh}


async def last_forecasts(conn: AsyncConnection, ids: Sequence[int]) -> dict[int, Forecast]:
    """What was last forecast, however long ago: a stage outlives its coordinator."""
    return {campaign_id: found for campaign_id, (found, _) in (await _read(conn, ids)).items()}


async def save(conn: AsyncConnection, made: Mapping[int, Forecast]) -> None:
    ids = sorted(made)
    found = [made[campaign_id] for campaign_id in ids]
    params = {
        "ids": arrays.numbers(ids),
        "stages": arrays.numbers([int(each.stage) for each in found]),
        "answer_rates": [each.answer_rate for each in found],
        "ring_s": [each.ring_s for each in found],
        "talk_s": [each.talk_s for each in found],
        "persons": arrays.numbers([each.figure.persons for each in found]),
        "abandoned": arrays.numbers([each.figure.abandoned for each in found]),
        "most_up": arrays.numbers([each.most_up for each in found]),
    }
    await conn.execute(_SAVE, params)


async def fold(conn: AsyncConnection, campaign_id: int, now: datetime) -> None:
    """One row for each hour that is over, none for those older than the window. One campaign per transaction."""
    hour = hour_of(now)
    await locks.lock_exclusive(conn, [locks.named_key(f"fold hours {campaign_id}")])
    await conn.execute(_FOLD, {"id": campaign_id, "before": hour - 1, "after": hour - WINDOW_H - 1})


async def _read(conn: AsyncConnection, ids: Sequence[int]) -> dict[int, tuple[Forecast, bool]]:
    rows = await conn.execute(_FORECASTS, {"ids": arrays.numbers(ids), "stale_s": STALE_S})
    return {
        row.campaign_id: (
            Forecast(
                Stage(row.stage),
                row.answer_rate,
                row.ring_s,
                row.talk_s,
                Figure(row.persons, row.abandoned),
                row.most_up,
            ),
            row.is_fresh,
        )
        for row in rows
    }
