"""What became of calls to agents, hour by hour: the figures that pace and stats go by."""

from datetime import timedelta

import pytest

from engine.clock import Clock, starting_at
from engine.dispatch.settle import settle
from engine.rules import reports
from engine.rules.pacing import WINDOW_H, Figure, Forecast, Recent, Stage
from engine.rules.telephony import EndReason, EventKind
from engine.store import call_hours
from tests.conftest import LEGAL_HOUR
from tests.dispatch.attempts import context, event, human, machine, reserve, unanswered
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 106)]
AGENT = {"kind": "sip", "uri": "sip:agent@example.com"}


def carried(events: list[object]) -> list[reports.Report]:
    return [reports.carrier(each, is_whole=True) for each in events]  # type: ignore[arg-type]


async def test_each_call_is_counted_once_when_it_ends(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES, agent=AGENT)
    keys = await reserve(world, campaign, clock)
    gone = [event(keys[1], EventKind.ANSWERED), event(keys[1], EventKind.AGENT_FAILED)]
    gone.append(event(keys[1], EventKind.CALL_ENDED, end=EndReason.COMPLETED, duration_s=3))
    told = {
        keys[0]: carried(human(keys[0])),
        keys[1]: carried(gone),
        keys[2]: carried(machine(keys[2])),
        keys[3]: carried(unanswered(keys[3], EndReason.BUSY)),
    }
    for _ in range(2):  # a repeat counts nothing
        await settle(world.db, told, context(clock))
    async with world.db.connect() as conn:
        figures = await call_hours.figures(conn, [campaign], clock.now())
        recent = (await call_hours.recent(conn, [campaign], clock.now()))[campaign]
    assert figures == {campaign: Figure(persons=2, abandoned=1)}
    assert recent[:3] == (4, 2, 1)


async def test_times_are_real_whatever_the_clocks_speed(world: World) -> None:
    clock = starting_at(LEGAL_HOUR, speed=100.0)
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT)
    (key,) = await reserve(world, campaign, clock)
    await world.execute("update attempts set intent_at = :at", at=clock.now() - timedelta(seconds=1_000))
    await settle(world.db, {key: carried(human(key))}, context(clock))
    async with world.db.connect() as conn:
        recent = (await call_hours.recent(conn, [campaign], clock.now()))[campaign]
    assert recent.ring_s == pytest.approx(10.0, abs=5.0)


async def test_without_agents_nothing_is_kept(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await settle(world.db, {key: carried(human(key))}, context(clock))
    assert await world.execute("select * from call_hours") == []


async def test_hours_fold_without_a_change_and_leave_the_window(world: World, clock: Clock) -> None:
    now = clock.now()
    hour = call_hours.hour_of(now)
    async with world.db.begin() as conn:
        for writer in (1, 2):
            sums = {(5, hour - age): (10, 4, 1, 3, 40_000, 90_000) for age in (0, 1, 2, WINDOW_H - 1, WINDOW_H)}
            await call_hours.add(conn, sums, writer)
        before = await call_hours.figures(conn, [5], now), await call_hours.recent(conn, [5], now)
        await call_hours.fold(conn, 5, now)
        await call_hours.fold(conn, 5, now)
        after = await call_hours.figures(conn, [5], now), await call_hours.recent(conn, [5], now)
        later = await call_hours.figures(conn, [5], now + timedelta(hours=1))
    assert before == after == ({5: Figure(32, 8)}, {5: Recent(40, 16, 12, 160.0, 360.0)})
    assert later == {5: Figure(24, 6)}
    rows = await world.execute("select hour, count(*) from call_hours group by 1 order by 1")
    assert [count for _, count in rows] == [1, 1, 1, 2, 2]


async def test_a_forecast_is_believed_while_it_is_fresh_and_remembered_for_ever(world: World) -> None:
    made = Forecast(Stage.FROZEN, 0.25, 9.5, 61.0, Figure(400, 11), 17)
    async with world.db.begin() as conn:
        await call_hours.save(conn, {5: Forecast()})
        await call_hours.save(conn, {5: made})
        assert await call_hours.forecasts(conn, [5, 6]) == {5: made}
    await world.execute("update call_forecasts set made_at = now() - interval '1 minute'")
    async with world.db.connect() as conn:
        assert await call_hours.forecasts(conn, [5]) == {}
        assert await call_hours.last_forecasts(conn, [5]) == {5: made}
