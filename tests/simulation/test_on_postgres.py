"""The same histories on PostgreSQL, step by step, and the checkers of a live database over what they leave."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.checks.evidence import Create, Evidence
from engine.checks.report import run_checks
from engine.clock import Clock
from engine.rules.telephony import Channel
from engine.simulation.postgres import PostgresSteps
from engine.simulation.runner import play_on_both
from engine.simulation.script import write
from engine.simulation.timeline import REAL_START_S
from engine.simulation.world import History, play
from engine.store.database import connect

SEEDS = 100
GROUP = 20


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[AsyncEngine]:
    """As workers and coordinators have them."""
    engine = connect(database_url, pool_size=2, idle_in_transaction_ms=20_000, keyed=True)
    yield engine
    await engine.dispose()


def _evidence(engine: AsyncEngine, history: History) -> Evidence:
    script = history.script
    return Evidence(engine, Clock(REAL_START_S, script.start.timestamp(), script.speed), _creates(history))


def _creates(history: History) -> tuple[Create, ...]:
    return tuple(
        Create(line.ref, REAL_START_S + line.begun_us / 1e6, True, line.from_, line.to, line.channel)
        for line in history.accepted
    )


def test_the_hundred_ask_for_calls_and_texts_outside_of_campaigns() -> None:
    one_offs = [each for seed in range(SEEDS) for each in write(seed, is_short=True).one_offs]
    asked = Counter(each.asked.channel for each in one_offs)
    assert min(asked[channel] for channel in Channel) >= 20
    assert sum(bool(each.again_s) for each in one_offs) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
async def test_a_hundred_histories_are_the_same_on_postgresql(
    db: AsyncEngine, sessions: AsyncEngine, first: int
) -> None:
    for seed in range(first, first + GROUP):
        history = await play_on_both(write(seed, is_short=True), sessions)
        assert not history.problems, f"seed {seed}: {history.problems}"
        if not any(fault.kind.startswith("clock.") for fault in history.script.faults):
            promises = ("P1", "P2", "P5", "P7")
            broken = [result for result in await run_checks(_evidence(db, history), promises) if not result.passed]
            assert not broken, f"seed {seed}"


async def _rollbacks(db: AsyncEngine) -> int:
    async with db.connect() as conn:
        await conn.execute(text("select pg_stat_force_next_flush()"))
        await conn.commit()
        found = await conn.execute(
            text("select pg_stat_get_db_xact_rollback(oid) from pg_database where datname = current_database()")
        )
        await conn.commit()
    return int(found.scalar_one())


async def test_only_what_is_refused_ends_in_a_rollback(db: AsyncEngine) -> None:
    """On one, the driver drops all that it has prepared on the connection."""
    script = write(63, is_short=True)
    starts = tuple(deed for deed in script.deeds if deed.verb in ("start", "pause", "resume"))
    before = await _rollbacks(db)
    history = await play(replace(script, faults=(), deeds=starts), lambda clock, seed: PostgresSteps(db, clock, seed))
    done = "".join(history.lines)
    refused = done.count(" refused: {")  # by the api, in the middle of a transaction
    assert await _rollbacks(db) - before == refused
    assert [
        step for step in (" complete True", " answer ", " move paused", " commit_intents ") if step not in done
    ] == []
