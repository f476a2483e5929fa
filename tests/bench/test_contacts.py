"""What is loaded can be called: real area codes, different numbers, an hour at which all of them may be reached."""

import asyncio

import psycopg
import pytest

from engine.clock import real_now
from engine.errors import CarillonError
from engine.rules.phone import is_e164
from engine.rules.telephony import Channel
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours
from engine.store import registries
from engine.store.seed import next_legal_hour
from workers.bench import campaigns, contacts, verify
from workers.bench.contacts import Plan
from workers.bench.databases import Databases
from workers.bench.verify import one


def test_phones_differ_and_may_be_called_at_the_legal_hour() -> None:
    phones = list(contacts.phones(5_000))
    now = next_legal_hour(real_now())

    assert len(set(phones)) == 5_000
    assert all(map(is_e164, phones))
    for phone in phones[: len(contacts.mainland_codes())]:
        assert hours(Channel.VOICE).at(whereabouts(phone), now).open, phone


def test_every_round_begins_with_the_same_database(databases: Databases) -> None:
    plan = Plan((30, 20), dids=3)
    for _ in range(2):
        with databases.fresh("two", lambda url: contacts.fill(url, plan)) as url, psycopg.connect(url) as connection:
            assert one(connection, "select count(*) from prospects") == plan.total
            assert one(connection, "select sum(total) from campaign_counts") == plan.total
            assert one(connection, "select count(*) from campaigns where status = 'created'") == 2
            connection.execute("delete from prospects")
            connection.commit()


def test_long_lists_name_others_than_are_called(databases: Databases) -> None:
    plan = Plan((400,), dids=1, suppressions=2_000, registry=5_000)
    with databases.fresh("lists", lambda url: contacts.fill(url, plan)) as url, psycopg.connect(url) as connection:
        assert one(connection, "select count(*) from suppressions where isfinite(created_at)") == 2_000
        assert one(connection, "select count(*) from prospects join suppressions using (account_id, phone)") == 0
        assert one(connection, "select sum(numbers) from registry_copies where is_current") == 5_000
        listed = (
            "select count(*) from prospects join registry_blocks b on block = substr(phone, 2)::bigint / 10000"
            f" where {registries.names('substr(phone, 2)::bigint')}"
        )
        assert one(connection, listed) == 0


async def test_lost_work_fails_the_benchmark(databases: Databases) -> None:
    plan = Plan((10,), dids=1)
    with databases.fresh() as url:
        await asyncio.to_thread(contacts.fill, url, plan)
        with pytest.raises(CarillonError, match="0 attempts, not 10"):
            await campaigns.with_engine(url, lambda db: verify.balance(db, plan.total))
