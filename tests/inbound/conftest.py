"""An account with a number that people write to, and what they send."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.checks import contacts as contact_checks
from engine.checks import prospects as prospect_checks
from engine.checks.evidence import Evidence
from engine.clock import Clock, real_now
from engine.dispatch import inbound
from engine.dispatch.inbound import InboundContext, Taken
from engine.rules.event_catalog import BY_TYPE
from engine.rules.telephony import InboundMessage, Media
from tests.dispatch.conftest import World, world

__all__ = ["world"]

OURS, PERSON, ANOTHER = "+12135550100", "+12125550147", "+12125550148"
SIMULATED = frozenset({"simulated-command", "simulated-document"})
BASE = "http://carillon.example"

_ids = itertools.count(1)

Write = Callable[..., Awaitable[Taken]]


def message(text: str, *, from_: str = PERSON, to: str = OURS, name: str = "", media: tuple[Media, ...] = ()) -> Any:
    name = name or f"SM{next(_ids)}"
    return InboundMessage(name, name, from_, to, text, real_now(), media, {"text": text})


def context(clock: Clock, carrier: str = "simulated-command") -> InboundContext:
    return InboundContext(clock, carrier, SIMULATED, BASE)


@pytest.fixture
async def did(world: World) -> int:
    return await world.did(OURS)


@pytest.fixture
def write(world: World, did: int, clock: Clock) -> Write:
    """`await write("STOP")`: a person's text arrives."""

    async def write_(text: str, carrier: str = "simulated-command", **changes: Any) -> Taken:
        return await inbound.take_message(world.db, message(text, **changes), context(clock, carrier))

    return write_


async def events(world: World) -> list[dict[str, Any]]:
    """What the outbox holds, in order; each as the catalog describes it."""
    rows = await world.execute("select string_to_table(body, chr(10)) from outbox order by id")
    found = [orjson.loads(str(row[0])) for row in rows]
    for event in found:
        BY_TYPE[event["type"]].payload.model_validate(event["payload"])
    return found


async def types(world: World) -> list[str]:
    return [event["type"] for event in await events(world)]


async def replies(world: World, phone: str = PERSON) -> list[dict[str, Any]]:
    """What is queued to be sent to a person by the law, in order."""
    rows = await world.execute(
        "select p.data from prospects p join campaigns c on c.id = p.campaign_id where c.is_system and p.phone = :phone"
        " order by p.one_off",
        phone=phone,
    )
    return [dict(row[0]) for row in rows]  # type: ignore[call-overload]


async def suppressed(world: World) -> list[tuple[object, ...]]:
    return await world.execute("select phone, source, reason from suppressions order by phone")


async def assert_kept(db: AsyncEngine, clock: Clock) -> None:
    """P1 and the part of P5 that is about opt-outs."""
    evidence = Evidence(db, clock)
    for check in (
        prospect_checks.counts_add_up,
        prospect_checks.counts_equal_rows,
        prospect_checks.open_are_due,
        contact_checks.suppressed_left_alone,
        contact_checks.inside_window,
    ):
        assert await check(evidence) == []
