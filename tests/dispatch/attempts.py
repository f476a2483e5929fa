"""Attempts under way, written straight into the tables, and what is reported of them."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random

from engine.clock import Clock
from engine.dispatch.commands import Carriers, execute
from engine.dispatch.facts import AttemptKey
from engine.dispatch.settle import SettleContext, SettleResult, settle
from engine.ids import attempt_ref
from engine.rules import reports
from engine.rules.prospect import ProspectState
from engine.rules.reports import Report, carrier
from engine.rules.stats import COUNTERS, Delta, imbalance
from engine.rules.telephony import Amd, CarrierError, CarrierEvent, EndReason, EventKind
from engine.settings import Settings
from engine.store import callbacks, counts
from tests.dispatch.conftest import World

_keys = itertools.count(1)


def context(clock: Clock, *, writer: int = 1, document: bool = False, **settings: object) -> SettleContext:
    values = {"DATABASE_URL": "postgres://unused", "REDIS_URL": "redis://unused"} | settings
    carriers = frozenset({"simulated-command"}) if document else frozenset()
    return SettleContext(clock, Settings.model_validate(values), writer, carriers, Random(7))


class Learning:
    """Settles at once what is learned, and carries out what follows from it."""

    def __init__(self, world: World, carriers: Carriers, context: SettleContext) -> None:
        self.world, self.carriers, self.context = world, carriers, context
        self.released: list[AttemptKey] = []

    async def __call__(self, told: Mapping[AttemptKey, Sequence[Report]]) -> None:
        await self.follow(await settle(self.world.db, told, self.context))

    async def follow(self, result: SettleResult) -> None:
        """Carries out what settling decided, and what follows from that."""
        self.released += result.released
        await execute(result.commands, self.carriers, self.context.settings, self)


async def reserve(world: World, campaign_id: int, clock: Clock, *, is_sms: bool = False) -> list[AttemptKey]:
    """Gives every queued prospect of the campaign its intent, as the intent transaction leaves it."""
    did_id = world.did_ids[0] if world.did_ids else await world.did()
    state = ProspectState.SENDING if is_sms else ProspectState.DIALING
    rows = await world.execute(
        "insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier,"
        " state, intent_at, check_at, rules_version)"
        " select id, attempt, campaign_id, account_id, phone, :did, '+12135550100',"
        " 'simulated-command', 1, :now, clock_timestamp() + interval '9 s', 'test' from prospects"
        " where campaign_id = :campaign and state = 0 on conflict (prospect_id, attempt) do update"
        " set state = 1, try = attempts.try + 1, check_at = excluded.check_at, intent_at = excluded.intent_at"
        " returning campaign_id, prospect_id, attempt",
        did=did_id,
        campaign=campaign_id,
        now=clock.now(),
    )
    await world.execute(
        "update prospects set state = :state where campaign_id = :campaign and state = 0",
        state=int(state),
        campaign=campaign_id,
    )
    if is_sms:
        await world.execute("update dids set sms_free_at = 'infinity' where id = :id", id=did_id)
    delta = Delta()
    delta.add("queued", -len(rows))
    delta.add(state.label, len(rows))
    delta.add("retrying", -sum(1 for row in rows if int(str(row[2])) > 1))
    async with world.db.begin() as conn:
        await counts.add(conn, {campaign_id: delta}, writer=0)
    return sorted(AttemptKey(*row) for row in rows)  # type: ignore[arg-type]


async def give_up(world: World, keys: Sequence[AttemptKey], clock: Clock) -> None:
    """As after days in which the carrier could not say what became of them."""
    await world.execute(
        "update attempts set check_at = now() - interval '1 s', intent_at = intent_at - interval '10 days',"
        " answered_at = answered_at - interval '10 days' where prospect_id = any(:ids) and state not in (0, 9)",
        ids=[key.prospect_id for key in keys],
    )
    await settle(world.db, {key: [reports.CHECK, reports.GIVE_UP] for key in keys}, context(clock))


def event(key: AttemptKey, kind: EventKind, **more: object) -> CarrierEvent:
    """A report of its own: each has another key, as each of a carrier's callbacks has."""
    ref = attempt_ref(*key)
    number = next(_keys)
    return CarrierEvent(kind, f"{ref}:{kind}:{number}", ref, f"carrier-{ref}", datetime.now(UTC), **more)  # type: ignore[arg-type]


def heard(key: AttemptKey, kind: EventKind, **more: object) -> Report:
    return carrier(event(key, kind, **more))


def human(key: AttemptKey) -> list[CarrierEvent]:
    return [
        event(key, EventKind.RINGING),
        event(key, EventKind.ANSWERED),
        event(key, EventKind.AGENT_BRIDGED),
        event(key, EventKind.AMD, amd=Amd.HUMAN),
        event(key, EventKind.CALL_ENDED, end=EndReason.COMPLETED, duration_s=30),
    ]


def machine(key: AttemptKey) -> list[CarrierEvent]:
    return [
        event(key, EventKind.ANSWERED),
        event(key, EventKind.AMD, amd=Amd.MACHINE),
        event(key, EventKind.AMD, amd=Amd.MACHINE_READY),
        event(key, EventKind.CALL_ENDED, end=EndReason.COMPLETED, duration_s=12),
    ]


def unanswered(key: AttemptKey, end: EndReason, error: CarrierError | None = None) -> list[CarrierEvent]:
    return [event(key, EventKind.RINGING), event(key, EventKind.CALL_ENDED, end=end, duration_s=0, error=error)]


async def inbox(world: World, events: Sequence[CarrierEvent], carrier: str = "simulated-command") -> list[int]:
    """Stores callbacks as the api does; returns their ids."""
    async with world.db.begin() as conn:
        return await callbacks.insert_many(conn, [callbacks.Report(carrier, each) for each in events])


async def told(world: World) -> list[str]:
    """Names of all events in the outbox, in order."""
    rows = await world.execute("select string_to_table(body, chr(10))::json ->> 'type' from outbox order by id")
    return [str(row[0]) for row in rows]


async def assert_adds_up(world: World, campaign_id: int) -> None:
    """P1: the counters hold their sums, and equal a recount of the rows."""
    async with world.db.connect() as conn:
        counted = await counts.read(conn, campaign_id)
    assert imbalance(counted) == []
    over = (await world.execute("select status = 'cancelled' from campaigns where id = :c", c=campaign_id))[0][0]
    rows = await world.execute(
        "select state, outcome, attempt, reason, count(*) from prospects where campaign_id = :c group by 1, 2, 3, 4",
        c=campaign_id,
    )
    found = dict.fromkeys(COUNTERS, 0)
    for state, outcome, attempt, reason, amount in rows:
        is_queued = state == ProspectState.QUEUED
        label = "cancelled" if is_queued and over else ProspectState(int(str(state))).label
        found["total"] += int(str(amount))
        found[label] += int(str(amount))
        if outcome is not None:
            found[OUTCOMES[int(str(outcome))]] += int(str(amount))
        if is_queued and not over and int(str(attempt)) > 1:
            found["retrying"] += int(str(amount))
        if label == "cancelled" and reason in ("suppressed", "opted_out"):
            found["suppressed"] += int(str(amount))
    assert counted == found


OUTCOMES = {
    1: "human_connected",
    2: "voicemail",
    3: "no_answer",
    4: "busy",
    5: "failed",
    6: "abandoned",
    7: "unknown",
    8: "delivered",
}
