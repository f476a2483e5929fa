"""People to contact, what is known of them, and an account that must ask."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.checks import people as people_checks
from engine.checks.evidence import Evidence
from engine.checks.prospects import counts_add_up, counts_equal_rows
from engine.clock import Clock
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentBatch, IntentContext, commit_intents
from engine.dispatch.refusal import Refusal
from engine.rules.registry import RegistryReader
from engine.rules.telephony import Channel
from engine.store import registries
from tests.dispatch.conftest import World, world

__all__ = ["world"]

PERSON, ANOTHER, IN_MAINE, IN_PENNSYLVANIA = "+12125550147", "+12125550148", "+12075550147", "+12155550147"
STRICT = {"require_registry": True, "require_consent": True}


@pytest.fixture
async def did(world: World) -> int:
    return await world.did()


async def setting(world: World, **compliance: object) -> None:
    settings = orjson.dumps({"compliance": compliance}).decode()
    await world.execute(
        "update accounts set settings = cast(:s as jsonb) where id = :a", s=settings, a=world.account_id
    )


async def load(db: AsyncEngine, clock: Clock, registry: str, phones: Iterable[str], as_of: date | None = None) -> None:
    """Puts a copy of these numbers in use, of today unless a date is given."""
    reader = RegistryReader()
    reader.feed("".join(f"{phone[2:]}\n" for phone in phones).encode() or b"\n")
    reader.close()
    now = clock.now()
    await registries.replace(db, registry, as_of or now.date(), reader.blocks, reader.numbers, now)


async def consent(world: World, phone: str, class_: int, clock: Clock, **changes: object) -> None:
    values: Mapping[str, Any] = {"channel": "all", "revoked_at": None} | changes
    await world.execute(
        "insert into consents (account_id, phone, class, channel, source, given_at, recorded_at, revoked_at)"
        " values (:a, :p, :c, :channel, 'test', :now, :now, :revoked_at)",
        a=world.account_id, p=phone, c=class_, now=clock.now(), **values,
    )  # fmt: skip


async def intend(world: World, campaign: int, did: int, clock: Clock, channel: str = "voice") -> IntentBatch:
    """One intent for everybody of a campaign who is still queued."""
    return await commit_intents(world.db, await queued(world, campaign, did), context(clock, channel))


def context(clock: Clock, channel: str = "voice") -> IntentContext:
    return IntentContext(channel=Channel(channel), clock=clock, ticket_s=2.0, answer_s=7.0, writer=1)


async def queued(world: World, campaign: int, did: int) -> list[Hint]:
    states = dict(await world.execute("select id, state from prospects where campaign_id = :c", c=campaign))
    return [hint for hint in await world.hints(campaign, did) if states[hint.prospect_id] == 0]


def reasons(batch: IntentBatch) -> list[Refusal]:
    return [reason for _, reason in batch.refused]


async def assert_kept(world: World, clock: Clock) -> None:
    """The promises that are about whom, and the counters."""
    evidence = Evidence(world.db, clock)
    for check in (
        counts_add_up,
        counts_equal_rows,
        people_checks.attempts_capped,
        people_checks.consent_given,
        people_checks.registries_asked,
    ):
        assert await check(evidence) == [], check.__name__
