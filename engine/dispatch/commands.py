"""Carries out what settling decided: commands to live calls, after the commit, and what comes of them settled in turn.

A command may be lost here with its process: its row still holds it, and the watch sends it again under its number.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.carriers.port import Ack, CallRef, Carrier
from engine.dispatch import orders
from engine.dispatch.facts import AttemptKey
from engine.dispatch.orders import Order
from engine.dispatch.settle import SettleContext, settle
from engine.rules import reports
from engine.rules.reports import Report

log = structlog.get_logger(__name__)

Carriers = Mapping[str, Carrier]

AT_ONCE = 64  # commands under way together, of one `execute`
GATHER_S = 0.005  # answers that come this close together share a transaction

_Answered = tuple[AttemptKey, Report]


async def execute(engine: AsyncEngine, commands: Sequence[Order], carriers: Carriers, context: SettleContext) -> None:
    """Returns when these commands, and those that follow from their answers, are answered and settled."""
    permits = asyncio.Semaphore(AT_ONCE)
    under_way = _begin(commands, carriers, context, permits)
    while under_way:
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        done, under_way = await asyncio.wait(under_way, timeout=GATHER_S)
        learned: dict[AttemptKey, list[Report]] = {}
        for task in done:
            key, report = task.result()
            learned.setdefault(key, []).append(report)
        result = await settle(engine, learned, context)
        under_way |= _begin(result.commands, carriers, context, permits)


def _begin(
    commands: Iterable[Order], carriers: Carriers, context: SettleContext, permits: asyncio.Semaphore
) -> set[asyncio.Task[_Answered]]:
    return {asyncio.create_task(_command(order, carriers, context, permits)) for order in commands}


async def _command(order: Order, carriers: Carriers, context: SettleContext, permits: asyncio.Semaphore) -> _Answered:
    number = order.command["number"]
    try:
        async with permits:
            command = orders.build(order, context.settings)
            ack = await carriers[order.carrier].command(CallRef(order.ref, order.carrier_id), command)
    except Exception:
        log.exception("command.failed", attempt=order.ref, carrier=order.carrier)
        ack = Ack(ok=False)
    if ack.ok:
        return order.key, reports.command_done(number)
    log.info("command.refused", attempt=order.ref, command=order.command["kind"], gone=ack.gone)
    return order.key, reports.command_failed(number, gone=ack.gone, error=ack.error)
