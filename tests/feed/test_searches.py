"""Searches of the log for those who return late: few at a time, and none for who has gone."""

import asyncio

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.hub import Hub
from engine.feed.log import EventLog
from engine.feed.replay import matching
from engine.feed.tail import Subscription, Tail
from engine.feed.trunx import Channels, Trunx
from tests.feed.conftest import Client, event, eventually, record

ALL, BILLING = Channels(), Channels(frozenset({"billing"}))


class Held(EventLog):
    """Its searches wait for `go_on`; `running`: the accounts of those that do."""

    def __init__(self, db: AsyncEngine) -> None:
        super().__init__(db)
        self.running: list[int] = []
        self.go_on = asyncio.Event()

    async def matching(self, account_id, *args):
        self.running.append(account_id)
        await self.go_on.wait()
        self.running.remove(account_id)
        return await super().matching(account_id, *args)


async def test_one_account_has_one_search_at_a_time(db: AsyncEngine, redis: Redis) -> None:
    for account_id in (1, 2):
        await record(db, redis, account_id, [event()] * 10)
    async with Hub(db, redis, memory_events=2) as hub:
        hub._event_log = log = Held(db)
        clients = [Client() for _ in range(6)]
        asked = [
            asyncio.create_task(hub.subscribe(account_id, client, Trunx, ALL, "0"))
            for account_id, client in zip((1, 1, 1, 1, 1, 2), clients, strict=True)
        ]
        await eventually(lambda: len(hub._subscriptions) == 6 and {1, 2} <= set(log.running))
        assert sorted(log.running) == [1, 2]
        log.go_on.set()
        await asyncio.gather(*asked)
        assert [client.ids for client in clients] == [list(range(1, 11))] * 6


class Going(EventLog):
    """Its client goes while the third part of the log is searched."""

    def __init__(self, db: AsyncEngine, client: Client) -> None:
        super().__init__(db)
        self.searches = 0
        self._client = client

    async def matching(self, *args):
        self.searches += 1
        if self.searches == 3:
            self._client.cut()
        return await super().matching(*args)


async def test_a_search_ends_when_its_client_goes(
    db: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.feed.log._WINDOW", 7)
    await record(db, redis, 1, [event("billing.usage" if n == 50 else "sms.sent") for n in range(1, 101)])
    client = Client()
    log, subscription = Going(db, client), Subscription(1, client, Trunx, BILLING)
    tail = Tail(1, 100, size=10, limit_bytes=1_000, on_lag=lambda _: None)
    assert await matching(log, tail, subscription, 0, 100, 9) == []
    assert log.searches == 3
