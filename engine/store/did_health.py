"""The health of numbers, kept up from what became of their calls and texts.

Settling appends one compact row per batch, in its transaction. The duty folds these rows into one window per number and
deletes them in the same transaction, so each outcome is counted once, whoever is killed. What follows for the number's
state is a mark on its row, acted on in a transaction of its own (`to_judge`): a mark outlives a crash in between.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules import did_health
from engine.rules.did_health import TEXTS, WINDOW, Kind, Texts
from engine.rules.did_pool import Cause
from engine.store import arrays

_DAY_S = 86_400
_FLAGS = {Kind.BLOCKED: Cause.NETWORK_BLOCK, Kind.FILTERED: Cause.SPAM_CODE}

_APPEND = text("""
    insert into did_outcomes (at, did_ids, codes) values (:at, cast(:ids as bigint[]), cast(:codes as int[]))
""")
_CONSUME = text("""
    delete from did_outcomes where id = any(array(
           select id from did_outcomes order by id limit :limit for update skip locked))
    returning id, at, did_ids, codes
""")
_ADD = text("""
    insert into did_health (did_id) select id from unnest(cast(:ids as bigint[])) id order by id
    on conflict (did_id) do nothing
""")
_COLUMNS = "h.did_id, h.calls, h.fresh, h.texts, h.score, h.sms_score, h.sms_low_at, h.flag, h.used_at"
_LOCK = text(f"""
    select {_COLUMNS}, d.account_id, coalesce(r.flagged, false) as is_labelled
      from did_health h left join dids d on d.id = h.did_id left join did_reputation r on r.did_id = h.did_id
     where h.did_id = any(cast(:ids as bigint[])) order by h.did_id for update of h
""")
_GET = text(f"""
    select {_COLUMNS}, d.account_id, coalesce(r.flagged, false) as is_labelled
      from dids d left join did_health h on h.did_id = d.id left join did_reputation r on r.did_id = d.id
     where d.id = :id and d.account_id = :account_id
""")
_POOLS = text("""
    select d.account_id, sum((t.value ->> 0)::int)::int as sent, sum((t.value ->> 1)::int)::int as delivered
      from dids d join did_health h on h.did_id = d.id cross join lateral jsonb_each(h.texts) t
     where d.account_id = any(cast(:accounts as bigint[])) group by d.account_id
""")
_WRITE = text("""
    update did_health h
       set calls = cast(n.calls as int[]), fresh = n.fresh, texts = cast(n.texts as jsonb), score = n.score,
           sms_score = n.sms_score, sms_low_at = n.sms_low_at, flag = n.flag, is_to_judge = n.is_to_judge,
           used_at = n.used_at
      from unnest(cast(:ids as bigint[]), cast(:calls as text[]), cast(:fresh as int[]), cast(:texts as text[]),
                  cast(:scores as float8[]), cast(:sms_scores as float8[]), cast(:low_ats as timestamptz[]),
                  cast(:flags as text[]), cast(:to_judge as boolean[]), cast(:used_ats as timestamptz[]))
           as n(did_id, calls, fresh, texts, score, sms_score, sms_low_at, flag, is_to_judge, used_at)
     where h.did_id = n.did_id
""")
_TO_JUDGE = text("select did_id from did_health where is_to_judge order by did_id limit :limit")
_JUDGED = text("""
    update did_health set is_to_judge = false, flag = '' where did_id = :id
""")
_RESCORE = text("update did_health set score = :score where did_id = :id")


@dataclass(slots=True)
class Record:
    """One number's row. `texts` are counts by day since 1970, in the order of `Texts`."""

    did_id: int
    account_id: int
    is_labelled: bool
    calls: list[int]
    fresh: int
    texts: dict[str, list[int]]
    score: float | None
    sms_score: float | None
    sms_low_at: datetime | None
    flag: str
    used_at: datetime | None

    def health(self) -> did_health.Health:
        return did_health.voice([did_health.decode(code) for code in self.calls], is_labelled=self.is_labelled)

    def sent_texts(self) -> Texts:
        total = Texts()
        for counts in self.texts.values():
            total = total.plus(Texts(*counts))
        return total


async def append(conn: AsyncConnection, did_ids: Iterable[int], codes: Iterable[int], at: datetime) -> None:
    """Notes what became of calls and texts: the number's id and `did_health.encode`, one of each per attempt."""
    await conn.execute(_APPEND, {"at": at, "ids": arrays.numbers(did_ids), "codes": arrays.numbers(codes)})


async def fold(conn: AsyncConnection, limit: int = 200) -> int:
    """Folds up to `limit` batches into the windows of their numbers. Returns how many there were."""
    rows = sorted((await conn.execute(_CONSUME, {"limit": limit})).all())
    if not rows:
        return 0
    outcomes: dict[int, list[tuple[datetime, int]]] = {}
    for row in rows:
        for did_id, code in zip(row.did_ids, row.codes, strict=True):
            outcomes.setdefault(did_id, []).append((row.at, code))
    ids = arrays.numbers(sorted(outcomes))
    await conn.execute(_ADD, {"ids": ids})
    records = [_record(row) for row in await conn.execute(_LOCK, {"ids": ids}) if row.account_id is not None]
    for record in records:
        _take_in(record, outcomes[record.did_id])
    await _score(
        conn, records, {did_id for did_id, each in outcomes.items() if any(_is_text(code) for _, code in each)}
    )
    if records:
        await conn.execute(_WRITE, _columns(records))
    return len(rows)


async def to_judge(conn: AsyncConnection, limit: int = 500) -> list[int]:
    return list((await conn.execute(_TO_JUDGE, {"limit": limit})).scalars())


async def lock(conn: AsyncConnection, did_id: int) -> Record | None:
    rows = (await conn.execute(_LOCK, {"ids": arrays.numbers([did_id])})).all()
    return _record(rows[0]) if rows and rows[0].account_id is not None else None


async def judged(conn: AsyncConnection, did_id: int) -> None:
    await conn.execute(_JUDGED, {"id": did_id})


async def relabel(conn: AsyncConnection, did_id: int) -> None:
    """Scores a number anew whose label has changed."""
    record = await lock(conn, did_id)
    if record is not None and record.calls:
        await conn.execute(_RESCORE, {"id": did_id, "score": record.health().score})


async def get(conn: AsyncConnection, account_id: int, did_id: int) -> Record | None:
    """The account's number; an empty record when nothing is known of it yet, None for another tenant's."""
    row = (await conn.execute(_GET, {"id": did_id, "account_id": account_id})).one_or_none()
    return _record(row, did_id) if row else None


def _is_text(code: int) -> bool:
    return code & 15 in TEXTS


def _take_in(record: Record, outcomes: Sequence[tuple[datetime, int]]) -> None:
    calls = [code for _, code in outcomes if not _is_text(code)]
    record.calls = [*record.calls, *calls][-WINDOW:]
    record.fresh += len(calls)
    by_day: dict[int, list[Kind]] = {}
    for at, code in outcomes:
        kind = did_health.decode(code).kind
        if kind in TEXTS:
            by_day.setdefault(int(at.timestamp() // _DAY_S), []).append(kind)
        if kind in _FLAGS:
            record.flag = _FLAGS[kind]
    for day, kinds in by_day.items():
        before = Texts(*record.texts.get(str(day), ()))
        record.texts[str(day)] = list(before.plus(did_health.count(kinds)))
    newest = max(at for at, _ in outcomes)
    first_day = int(newest.timestamp() // _DAY_S) - did_health.SMS_DAYS
    record.texts = {day: counts for day, counts in record.texts.items() if int(day) > first_day}
    record.used_at = max(filter(None, (record.used_at, newest)))


async def _score(conn: AsyncConnection, records: Sequence[Record], texting: "set[int]") -> None:
    """Scores what has changed. The pool's rates are read before these texts are written: they lag by one fold."""
    accounts = {record.account_id for record in records if record.did_id in texting}
    pools: dict[int, Texts] = {}
    if accounts:
        rows = await conn.execute(_POOLS, {"accounts": arrays.numbers(sorted(accounts))})
        pools = {row.account_id: Texts(row.sent, row.delivered) for row in rows}
    for record in records:
        record.score = record.health().score
        if record.did_id in texting:
            texts = record.sent_texts()
            record.sms_score = did_health.sms(texts, pools.get(record.account_id, Texts()))
            is_low = record.sms_score is not None and record.sms_score < did_health.SMS_LOW
            is_judged = is_low and texts.sent >= did_health.SMS_JUDGED_FROM
            record.sms_low_at = (record.sms_low_at or record.used_at) if is_judged else None


def _is_to_judge(record: Record) -> bool:
    band = did_health.verdict(record.score, len(record.calls), record.fresh)
    return bool(record.flag) or band in (did_health.Band.TIRED, did_health.Band.BURNED) or bool(record.sms_low_at)


def _columns(records: Sequence[Record]) -> Mapping[str, object]:
    return {
        "ids": arrays.numbers(record.did_id for record in records),
        "calls": arrays.texts([arrays.numbers(record.calls) for record in records]),
        "fresh": arrays.numbers(record.fresh for record in records),
        "texts": arrays.texts([orjson.dumps(record.texts).decode() for record in records]),
        "scores": arrays.numbers(record.score for record in records),
        "sms_scores": arrays.numbers(record.sms_score for record in records),
        "low_ats": arrays.times([record.sms_low_at for record in records]),
        "flags": arrays.texts([record.flag for record in records]),
        "to_judge": [_is_to_judge(record) for record in records],
        "used_ats": arrays.times([record.used_at for record in records]),
    }


def _record(row: Row[tuple[object, ...]], did_id: int | None = None) -> Record:
    fields = dict(row._mapping)
    if fields["did_id"] is None:
        fields |= {"did_id": did_id, "calls": [], "fresh": 0, "texts": {}, "flag": ""}
    return Record(**fields | {"calls": list(fields["calls"])})
