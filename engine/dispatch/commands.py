"""Carries out what settling decided: commands to live calls, after the commit. What comes of them is learned in turn.

A command may be lost here with its process: its row still holds it, and the watch sends it again under its number.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import structlog

from engine.carriers.port import Ack, CallRef, Carrier
from engine.dispatch import orders
from engine.dispatch.facts import AttemptKey
from engine.dispatch.orders import Order
from engine.rules import reports
from engine.rules.reports import Report
from engine.settings import Settings

log = structlog.get_logger(__name__)

Carriers = Mapping[str, Carrier]
Learn = Callable[[Mapping[AttemptKey, Sequence[Report]]], Awaitable[None]]
"""Settles reports, and sees to it that the commands that follow are carried out. Returns when they are settled."""

AT_ONCE = 64  # commands under way together, of one `execute`


async def execute(commands: Iterable[Order], carriers: Carriers, settings: Settings, learn: Learn) -> None:
    """Returns when the commands are answered, and what that says is learned."""
    permits = asyncio.Semaphore(AT_ONCE)

    async def carry_out(order: Order) -> None:
        async with permits:
            report = await _command(order, carriers, settings)
        await learn({order.key: [report]})

    await asyncio.gather(*map(carry_out, commands))


async def _command(order: Order, carriers: Carriers, settings: Settings) -> Report:
    number = order.command["number"]
    try:
        command = orders.build(order, settings)
        ack = await carriers[order.carrier].command(CallRef(order.ref, order.carrier_id), command)
    except Exception:
        log.exception("command.failed", attempt=order.ref, carrier=order.carrier)
        ack = Ack(ok=False)
    if ack.ok:
        return reports.command_done(number)
    log.info("command.refused", attempt=order.ref, command=order.command["kind"], gone=ack.gone)
    return reports.command_failed(number, gone=ack.gone, error=ack.error)
