"""Tells the engine what happened: signed, in the background, again after a failure, and badly where a fault says so."""

import asyncio
import time
from collections.abc import Callable

import structlog

from engine.carriers.network import behaviour
from engine.carriers.network.config import Config, Faults
from engine.carriers.network.journal import Journal
from engine.carriers.network.line import Line, Report
from engine.carriers.network.post import Poster

log = structlog.get_logger(__name__)

OnAnswer = Callable[[Line, Report, bytes], None]


class Callbacks:
    """`send` returns at once. Retries span about a minute, so that a restarted receiver misses nothing."""

    def __init__(self, config: Config, poster: Poster, journal: Journal, on_answer: OnAnswer) -> None:
        self.faults: Faults = config.faults
        self._config, self._poster, self._journal, self._on_answer = config, poster, journal, on_answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def send(self, line: Line, report: Report) -> None:
        order = line.order

        def befalls(name: str) -> bool:
            return behaviour.strikes(self._config, self.faults, name, order.to, order.ref, report.kind, report.seq)

        if self._is_closed or not order.webhook_url or befalls("callback_lost"):
            return
        delay_s = 0.0
        for fault, span in (("callback_late", self.faults.late_s), ("callback_disorder", self.faults.disorder_s)):
            if befalls(fault):
                unit = behaviour.draws(self._config.seed, "delay", order.ref, report.seq)[0]
                delay_s += span[0] + (span[1] - span[0]) * unit
        self._spawn(line, report, delay_s)
        if befalls("callback_double"):
            self._spawn(line, report, delay_s)

    @property
    def open_count(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, line: Line, report: Report, delay_s: float) -> None:
        task = asyncio.create_task(self._deliver(line, report, delay_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, line: Line, report: Report, delay_s: float) -> None:
        for number, wait_s in enumerate((delay_s, *self._config.callback_retries_s), start=1):
            if wait_s:
                await asyncio.sleep(wait_s)
            status, body = await self._post(line, report)
            self._journal.write(
                "callback",
                ref=line.order.ref,
                carrier_id=line.id,
                event=report.kind,
                detail=report.detail,
                seq=report.seq,
                status=status,
                try_number=number,
            )
            if 200 <= status < 300:
                self._on_answer(line, report, body)
                return
        log.warning("callback.given_up", ref=line.order.ref, event_kind=report.kind)

    async def _post(self, line: Line, report: Report) -> tuple[int, bytes]:
        """(status, body of the answer); status 0 when there was none."""
        headers, body = line.wire.callback(line, report, time.time())
        try:
            return await self._poster.post(line.order.webhook_url, headers, body)
        except (OSError, ValueError):
            return 0, b""
