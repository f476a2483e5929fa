from datetime import date, timedelta

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import real_now
from engine.store import migrate, partitions
from engine.store.tables import metadata


def _is_ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
    """Leaves out alembic's own table and the partitions, which are no tables of the model."""
    is_partition = (
        kind == "table"
        and name not in metadata.tables
        and (name or "").startswith(("prospects_", "attempts_", "event_chunks_", "carrier_callbacks_"))
    )
    return name != "alembic_version" and not is_partition


async def test_metadata_is_the_sum_of_the_migrations(db: AsyncEngine) -> None:
    def differences(conn: Connection) -> list[object]:
        options = {"include_object": _is_ours, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(conn, opts=options), metadata))

    async with db.connect() as conn:
        assert await conn.run_sync(differences) == []


async def test_a_difference_would_be_found(db: AsyncEngine) -> None:
    def differences(conn: Connection) -> list[object]:
        conn.execute(text("alter table accounts add column extra text"))
        options = {"include_object": _is_ours}
        return list(compare_metadata(MigrationContext.configure(conn, opts=options), metadata))

    async with db.connect() as conn:
        assert len(await conn.run_sync(differences)) == 1


async def _names(db: AsyncEngine, parent: str) -> set[str]:
    async with db.connect() as conn:
        rows = await conn.execute(
            text("select inhrelid::regclass::text from pg_inherits where inhparent = cast(:parent as regclass)"),
            {"parent": parent},
        )
        return set(rows.scalars())


@pytest.mark.parametrize("table", ["prospects", "attempts"])
async def test_hash_partitions(db: AsyncEngine, table: str) -> None:
    assert await _names(db, table) == {f"{table}_{n:02d}" for n in range(16)}


@pytest.mark.parametrize("table", ["event_chunks", "carrier_callbacks"])
async def test_a_week_of_log_partitions(db: AsyncEngine, table: str) -> None:
    today = real_now().date()
    days = {f"{table}_{today + timedelta(days=n):%Y%m%d}" for n in range(7)}  # 8, but midnight may pass here
    assert days | {f"{table}_default"} <= await _names(db, table)


async def test_migrating_twice_changes_nothing(db: AsyncEngine, database_url: str) -> None:
    before = await _names(db, "event_chunks")
    migrate.upgrade(database_url)
    assert await _names(db, "event_chunks") == before


def test_any_postgres_url_will_do(database_url: str) -> None:
    migrate.upgrade(database_url.replace("postgresql+psycopg", "postgres"))


def test_a_migration_waits_for_locks_only_briefly(own_database_url: str) -> None:
    url = own_database_url.replace("+psycopg", "")
    with psycopg.connect(url) as other:
        other.execute("lock table alembic_version in access exclusive mode")
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate.upgrade(own_database_url, lock_timeout_ms=20)


def test_partitions_come_and_go(own_database_url: str) -> None:
    engine = create_engine(own_database_url, poolclass=NullPool)
    future = date(2031, 5, 1)
    with engine.begin() as conn:
        assert partitions.create_ahead(conn, future, days=1) == [
            "event_chunks_20310501",
            "event_chunks_20310502",
            "carrier_callbacks_20310501",
            "carrier_callbacks_20310502",
        ]
        assert partitions.create_ahead(conn, future, days=1) == []
        for seq, day in ((1, "2031-05-01"), (2, "2031-05-01"), (3, "2031-05-02")):
            conn.execute(text(f"insert into event_chunks values (7, {seq}, '{day}', {seq}, '{{}}')"))
        conn.execute(text("insert into event_heads (account_id, seq) values (7, 3)"))
        dropped = partitions.drop_older(conn, future + timedelta(days=2), keep_days=1)
        assert "event_chunks_20310501" in dropped
        assert "event_chunks_20310502" not in dropped
        assert conn.execute(text("select seq from events")).scalars().all() == [3]
        assert conn.execute(text("select kept_from from event_heads")).scalar() == 3


def test_what_is_dropped_is_noted_by_type_and_owner(own_database_url: str) -> None:
    engine = create_engine(own_database_url, poolclass=NullPool)
    owner = '["line_1","user_1",""]'
    chunks = [
        (7, 1, 2, "2031-05-01", f'{{"type":"sms.sent"}}\n{{"type":"sms.sent","owner":{owner}}}'),
        (8, 1, 1, "2031-04-30", '{"type":"voice.failed"}'),  # its day has no partition
        (7, 3, 4, "2031-05-02", '{"type":"sms.sent"}\n[]'),
        (7, 5, 6, "2031-05-03", '{"type":"sms.sent"}\n{"type":"sms.sent"}'),
    ]
    with engine.begin() as conn:
        partitions.create_ahead(conn, date(2031, 5, 1), days=2)
        for account_id in (7, 8):
            conn.execute(text(f"insert into event_heads (account_id, seq) values ({account_id}, 6)"))
        for account_id, first, last, day, body in chunks:
            values = {"account_id": account_id, "first": first, "last": last, "day": day, "body": body}
            chunk = text("insert into event_chunks values (:account_id, :last, cast(:day as date), :first, :body)")
            conn.execute(chunk, values)
        for today, expected in (
            (date(2031, 5, 3), [(7, "sms.sent", "", 1), (7, "sms.sent", owner, 2), (8, "voice.failed", "", 1)]),
            (
                date(2031, 5, 4),
                [(7, "", "", 4), (7, "sms.sent", "", 3), (7, "sms.sent", owner, 2), (8, "voice.failed", "", 1)],
            ),
        ):
            partitions.drop_older(conn, today, keep_days=1)
            noted = conn.execute(text("select * from event_drops order by account_id, type, owner"))
            assert [tuple(row) for row in noted] == expected
        assert conn.execute(text("select seq from events order by seq")).scalars().all() == [5, 6]
        assert conn.execute(text("select kept_from from event_heads order by account_id")).scalars().all() == [5, 2]


def test_rows_without_a_partition_are_kept_and_dropped_in_time(own_database_url: str) -> None:
    engine = create_engine(own_database_url, poolclass=NullPool)
    with engine.begin() as conn:
        conn.execute(text("insert into event_chunks values (7, 1, '2031-05-01', 1, '{}')"))
        made = partitions.create_ahead(conn, date(2031, 5, 1), days=1)
        assert "event_chunks_20310501" not in made  # its day is in the default partition already
        assert "event_chunks_20310502" in made
        assert conn.execute(text("select count(*) from events")).scalar() == 1
        partitions.drop_older(conn, date(2031, 5, 3), keep_days=1)
        assert conn.execute(text("select count(*) from events")).scalar() == 0


def test_a_callback_in_a_new_partition_gets_an_id(database_url: str) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as conn:
        row = conn.execute(
            text(
                "insert into carrier_callbacks (received_on, carrier, event_key, campaign_id, prospect_id, attempt,"
                " event, received_at) values (current_date, 'x', 'k', 1, 1, 1, '{}', now())"
                " returning id, tableoid::regclass::text"
            )
        ).one()
    assert row.id == 1
    assert row.tableoid != "carrier_callbacks_default"
