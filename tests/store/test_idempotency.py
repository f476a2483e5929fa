import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import IdempotencyConflict
from engine.store import idempotency
from engine.store.idempotency import Replay

POST = "POST /api/campaigns"


async def _age(db: AsyncEngine, interval: str) -> None:
    async with db.begin() as conn:
        await conn.execute(text(f"update idempotency_keys set created_at = created_at - interval '{interval}'"))


async def test_the_same_request_gets_the_first_answer(db: AsyncEngine) -> None:
    assert await idempotency.begin(db, 1, "k", POST, b"{}") is None
    await idempotency.finish(db, 1, "k", 201, b'{"id":1}')
    for _ in range(2):
        assert await idempotency.begin(db, 1, "k", POST, b"{}") == Replay(201, b'{"id":1}')


@pytest.mark.parametrize(("path", "body"), [(POST, b"[]"), ("POST /api/keys", b"{}")])
async def test_another_request_conflicts(db: AsyncEngine, path: str, body: bytes) -> None:
    await idempotency.begin(db, 1, "k", POST, b"{}")
    await idempotency.finish(db, 1, "k", 201, b"")
    with pytest.raises(IdempotencyConflict, match="another request") as caught:
        await idempotency.begin(db, 1, "k", path, body)
    assert caught.value.fields == {"conflicts_with": POST}


async def test_keys_of_two_api_keys_are_two_keys(db: AsyncEngine) -> None:
    await idempotency.begin(db, 1, "k", POST, b"{}")
    assert await idempotency.begin(db, 2, "k", POST, b"[]") is None


async def test_one_of_many_at_once_runs(db: AsyncEngine) -> None:
    tries = [idempotency.begin(db, 1, "k", POST, b"{}") for _ in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert results.count(None) == 1
    assert sum(isinstance(result, IdempotencyConflict) for result in results) == 7


async def test_an_abandoned_key_is_free(db: AsyncEngine) -> None:
    await idempotency.begin(db, 1, "k", POST, b"{}")
    await idempotency.abandon(db, 1, "k")
    assert await idempotency.begin(db, 1, "k", POST, b"[]") is None


async def test_an_answer_cannot_be_abandoned(db: AsyncEngine) -> None:
    await idempotency.begin(db, 1, "k", POST, b"{}")
    await idempotency.finish(db, 1, "k", 201, b"x")
    await idempotency.abandon(db, 1, "k")
    await idempotency.finish(db, 1, "k", 500, b"y")
    assert await idempotency.begin(db, 1, "k", POST, b"{}") == Replay(201, b"x")


async def test_kept_for_a_day(db: AsyncEngine) -> None:
    await idempotency.begin(db, 1, "k", POST, b"{}")
    await idempotency.finish(db, 1, "k", 201, b"x")
    await _age(db, "23 h 59 min")
    assert await idempotency.begin(db, 1, "k", POST, b"{}") == Replay(201, b"x")
    await _age(db, "1 min")
    assert await idempotency.begin(db, 1, "k", POST, b"[]") is None


async def test_a_dead_claim_ends(db: AsyncEngine) -> None:
    await idempotency.begin(db, 1, "k", POST, b"{}")
    await _age(db, "14 min")
    with pytest.raises(IdempotencyConflict, match="still running"):
        await idempotency.begin(db, 1, "k", POST, b"{}")
    await _age(db, "1 min")
    assert await idempotency.begin(db, 1, "k", POST, b"{}") is None


async def test_purge(db: AsyncEngine) -> None:
    await idempotency.begin(db, 1, "old", POST, b"{}")
    await _age(db, "25 h")
    await idempotency.begin(db, 1, "new", POST, b"{}")
    async with db.begin() as conn:
        assert await idempotency.purge(conn) == 1
