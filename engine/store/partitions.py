"""Daily partitions of the two logs, `event_chunks` and `carrier_callbacks`: made ahead, dropped when old.

A row whose day has no partition goes to the table's default partition, so that nothing is lost when this duty has not
run for a week. A day that already has rows there gets no partition of its own; they are deleted when they are old.
"""

from datetime import date, timedelta

from sqlalchemy import Connection, text

from engine.store.locks import named_key

# Table → the real date that it is partitioned by.
LOGS = {"event_chunks": "recorded_on", "carrier_callbacks": "received_on"}
DAYS_AHEAD = 7

# Attaching takes a short exclusive lock on the default partition: better late than in everybody's way.
_CALM = text("select pg_advisory_xact_lock(:key), set_config('lock_timeout', '3s', true)")
_ATTACHED = text("""
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = cast(:parent as regclass)
""")

_NOTE_KINDS = text("""
    insert into event_drops as held (account_id, type, owner, seq)
    select account_id, coalesce(body->>'type', ''), coalesce(cast(body->'owner' as text), ''), max(seq)
      from events where recorded_on < :oldest group by 1, 2, 3
    on conflict (account_id, type, owner) do update set seq = greatest(held.seq, excluded.seq)
""")
_NOTE_NUMBERS = text("""
    update event_heads h set kept_from = greatest(h.kept_from, gone.last + 1)
      from (select account_id, max(last) as last from event_chunks where recorded_on < :oldest group by 1) gone
     where h.account_id = gone.account_id
""")


def create_ahead(conn: Connection, today: date, days: int = DAYS_AHEAD) -> list[str]:
    """Makes the partitions of `today` (real, UTC) and the `days` after it; returns the names of the new ones.

    From a coroutine: `await conn.run_sync(create_ahead, today)`.
    """
    conn.execute(_CALM, {"key": named_key("partitions")})
    made = []
    for table, column in LOGS.items():
        attached = _attached(conn, table)
        for day in (today + timedelta(days=n) for n in range(days + 1)):
            name = _name(table, day)
            if name not in attached and not _default_has(conn, table, column, day):
                _attach(conn, table, name, day)
                made.append(name)
    return made


def drop_older(conn: Connection, today: date, keep_days: int) -> list[str]:
    """Drops the partitions of days more than `keep_days` before `today`; returns their names.

    From a coroutine: `await conn.run_sync(drop_older, today, keep_days)`.
    """
    conn.execute(_CALM, {"key": named_key("partitions")})
    oldest = today - timedelta(days=keep_days)
    old = {table: [name for name in sorted(_attached(conn, table)) if _is_older(table, name, oldest)] for table in LOGS}
    _note_dropped(conn, oldest)  # before the first drop locks the readers out
    for table, column in LOGS.items():
        for name in old[table]:
            conn.execute(text(f"drop table {name}"))
        conn.execute(text(f"delete from {table}_default where {column} < :oldest"), {"oldest": oldest})
    return [name for names in old.values() for name in names]


def _note_dropped(conn: Connection, oldest: date) -> None:
    """Readers of events are told from where on they are kept, and which kinds of them are not."""
    conn.execute(_NOTE_KINDS, {"oldest": oldest})
    conn.execute(_NOTE_NUMBERS, {"oldest": oldest})


def _is_older(table: str, name: str, oldest: date) -> bool:
    return name != f"{table}_default" and name < _name(table, oldest)


def _name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"  # of one width, so that their order is the days'


def _attached(conn: Connection, table: str) -> set[str]:
    return set(conn.execute(_ATTACHED, {"parent": table}).scalars())


def _default_has(conn: Connection, table: str, column: str, day: date) -> bool:
    statement = text(f"select exists (select from {table}_default where {column} = :day)")
    return bool(conn.execute(statement, {"day": day}).scalar())


def _attach(conn: Connection, table: str, name: str, day: date) -> None:
    """`create table … partition of` would lock the parent against readers and writers; attaching does not."""
    conn.execute(text(f"create table {name} (like {table} including defaults including constraints including storage)"))
    bounds = f"from ('{day}') to ('{day + timedelta(days=1)}')"
    conn.execute(text(f"alter table {table} attach partition {name} for values {bounds}"))
