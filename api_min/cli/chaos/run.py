"""One run: the load, the plan and the listeners beside one another, then the end of the work, then the judgement."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min.cli.chaos import figures, judgement
from api_min.cli.chaos.door import Door
from api_min.cli.chaos.doubts import Doubts
from api_min.cli.chaos.ending import Ending
from api_min.cli.chaos.faults import Injector
from api_min.cli.chaos.findings import Findings
from api_min.cli.chaos.listeners import COUNT, Listener
from api_min.cli.chaos.load import Load, Size
from api_min.cli.chaos.plan import Fault
from api_min.cli.chaos.soak import Soak
from api_min.cli.chaos.stage import Stage, worker_stops
from engine.checks.evidence import read_creates
from engine.store.database import connect

_PATIENCE_S = 180.0  # without anybody's outcome: longer than retries, look-ups and leases take
_GLANCE_S = 3.0
_QUIET_S, _HEAR_S = 1.0, 15.0
_CONNECTIONS = 64

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    seed: int
    size: Size
    plan: Sequence[Fault]
    pauses: bool = True
    soaks: bool = False
    must_complete: bool = True  # or the time is enough: without a fence the work may never end


async def run(stage: Stage, order: Order, tell: Tell) -> Findings:
    """Breaks `stage` as planned while it works, and says what was found; after Ctrl-C, until then."""
    ending = Ending()
    ending.listen()
    engine = connect(stage.servers.database_url, pool_size=2, statement_timeout_ms=0, idle_in_transaction_ms=0)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            door = Door(session, stage.urls, stage.key)
            load, doubts = Load(door, order.size, order.seed, ending), Doubts(engine)
            injector = Injector(stage, session, ending)
            listeners = [Listener(session, door) for _ in range(COUNT)]
            soak = Soak(stage, engine, order.size.seconds)
            await load.prepare()
            begun = time.time()
            looks = [doubts.look(), *([soak.look()] if order.soaks else [])]
            async with _beside(*looks, *(listener.follow() for listener in listeners)):
                tell(f"{order.size.prospects:,} people, {len(order.plan)} faults in {order.size.seconds:.0f} s …")
                await asyncio.gather(load.run(pauses=order.pauses), injector.run(order.plan))
                await asyncio.to_thread(stage.thaw_all)
                seconds = min(order.size.seconds, time.time() - begun)
                tell("no more faults; waiting for the last outcome …")
                if order.must_complete:
                    completed = await load.finish(_PATIENCE_S)
                else:
                    completed = True
                    await ending.sleep(_GLANCE_S)
                behind = await _behind(engine, listeners) if order.must_complete else 0
            people = sum(len(campaign.phones) for campaign in load.campaigns)  # fewer after an early end
            order = replace(order, size=replace(order.size, seconds=seconds, prospects=people))
            tell("checking the promises …")
            found = await _judge(stage, order, load, injector, doubts, listeners, engine, begun, completed, behind)
            if order.soaks:
                found.soak, found.database = soak.series(), await soak.database()
            return found
    finally:
        await engine.dispose()


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs it while the block runs. What it raises, the end of the block raises."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _behind(engine: AsyncEngine, listeners: Sequence[Listener]) -> int:
    """How many do not reach the newest event once no more come for a moment."""
    newest = -1
    while (found := await judgement.newest_event(engine)) != newest:
        newest = found
        await asyncio.sleep(_QUIET_S)
    return [await listener.reach(newest, _HEAR_S) for listener in listeners].count(False)


async def _judge(
    stage: Stage,
    order: Order,
    load: Load,
    injector: Injector,
    doubts: Doubts,
    listeners: Sequence[Listener],
    engine: AsyncEngine,
    begun: float,
    completed: bool,
    behind: int,
) -> Findings:
    creates = read_creates(stage.network.carrier_log)
    arrivals = judgement.Arrivals(creates)
    doubtful, resolved, unknown, unexplained = await judgement.judge_doubts(doubts, stage.network.carrier_log)
    stops = worker_stops(stage)
    violations = judgement.pauses(load, arrivals, stops)
    checks, frozen = await judgement.run_checkers(engine, creates, stops)
    steps, times = judgement.throughput(load, arrivals, begun)
    names = [blow.fault.name for blow in injector.blows]
    return Findings(
        seed=order.seed,
        seconds=order.size.seconds,
        prospects=order.size.prospects,
        rate=order.size.rate,
        faults={name: names.count(name) for name in sorted(set(names))},
        creates=len(creates),
        completed=completed or not order.must_complete,
        lost=await load.lost() if order.must_complete else [],
        double_contacts=judgement.doubled(creates),
        doubtful=doubtful,
        resolved=resolved,
        unknown=unknown,
        unexplained=unexplained,
        pauses=sum(len(campaign.pauses) for campaign in load.campaigns),
        pause_violations=violations.unexplained,
        frozen_creates=violations.frozen,
        frozen_late=frozen,
        worst_window=figures.worst_window(steps, times, judgement.WINDOW_S),
        listeners=len(listeners),
        events=sum(listener.seen.events for listener in listeners),
        gaps=sum(listener.seen.gaps for listener in listeners),
        repeats=sum(listener.seen.repeats for listener in listeners),
        truncations=sum(listener.truncations for listener in listeners),
        resets=sum(listener.resets for listener in listeners),
        behind=behind,
        recovery=judgement.recovery(injector.blows, load.probes, steps, times),
        drains=len(stage.diary.drains_s),
        slowest_drain_s=max(stage.diary.drains_s, default=0.0),
        forced_drains=stage.diary.forced,
        crashes=stage.diary.crashes,
        errors=stage.diary.errors,
        api_answers={str(status): count for status, count in sorted(load.answers.items())},
        checks=checks,
    )
