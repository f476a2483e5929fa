"""One history: a script played against a store, and what was seen of it.

Between two steps of a process anything may happen: another process's steps, a jump of the clocks, its own death. Every
step is counted by process and kind, so a script can name the boundary at which to die.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeVar

from engine import ids
from engine.carriers.port import Lookup
from engine.clock import Clock, real_s, under
from engine.dispatch import watch
from engine.rules.campaign import CampaignStatus
from engine.rules.decision import AttemptView
from engine.rules.reports import Report
from engine.rules.telephony import CarrierEvent
from engine.simulation.api import Api
from engine.simulation.brief import brief
from engine.simulation.coordinator import Coordinator
from engine.simulation.lanes import LaneServer
from engine.simulation.line import Contacted, ScriptedCarrier
from engine.simulation.looks import Look
from engine.simulation.port import Snapshot, Steps
from engine.simulation.queue import Queue
from engine.simulation.relay import Lead, RelayProcess
from engine.simulation.script import Script
from engine.simulation.timeline import REAL_START_S, Died, Ids, Process, Timeline, VirtualTime
from engine.simulation.witness import Witness
from engine.simulation.worker import Worker

T = TypeVar("T")
Learn = Callable[[AttemptView, Lookup, bool, bool], list[Report]]

IDLE_S = 30.0  # looks that come no more often than this have long found nothing
PATIENCE_S = 5 * 86_400.0  # engine time: then an operator cancels what waits for an hour or a value that never comes
MOST_PLANS = 60_000


@dataclass(slots=True)
class History:
    """What happened, step by step, and how it ended."""

    script: Script
    lines: list[str] = field(default_factory=list)
    end: Snapshot = field(default_factory=Snapshot)
    problems: list[str] = field(default_factory=list)
    accepted: list[Contacted] = field(default_factory=list)  # by the carrier

    @property
    def digest(self) -> str:
        """Equal for equal histories, in every process and on every store."""
        told = blake2b(digest_size=16)
        for line in self.lines:
            told.update(line.encode())
        told.update(repr(self.end).encode())
        return told.hexdigest()


class World:
    def __init__(self, script: Script, steps: Steps, time: VirtualTime, learn: Learn, lanes: LaneServer) -> None:
        self.learn = learn
        self.script, self.steps, self.time = script, steps, time
        self.timeline = Timeline(time, script.seed)
        self.history = History(script)
        self._places = {fault.where for fault in script.faults}  # of the many boundaries few are one of them
        self.witness = Witness(self)
        self.carrier = ScriptedCarrier(script, self.timeline, self._deliver)
        self.queue = Queue(self)
        self.lanes = lanes
        self.lead = Lead()
        self.api = Api(self)
        self.workers = [Worker(self, f"worker-{each}") for each in (0, 1)]
        self.coordinators = [Coordinator(self, f"coordinator-{each}") for each in (0, 1)]
        self.relays = [RelayProcess(self, f"relay-{each}") for each in (0, 1)]
        self.looks: list[Look] = [
            *(look for each in self.coordinators for look in each.looks),
            *(look for each in self.relays for look in each.looks),
        ]

    async def run(self) -> History:
        await self.steps.prepare(self.script.accounts, self.script.numbers, self.script.campaigns)
        self._plan()
        count, check_at_us, pause_us = 0, 0, 60_000_000
        while await self.timeline.next():
            count += 1
            if count > MOST_PLANS:
                self.witness.problem("P1", "does not come to an end")
                break
            if self.time.now_us >= check_at_us and self._is_idle():
                if await self._is_over():
                    break
                check_at_us, pause_us = self.time.now_us + pause_us, min(2 * pause_us, 3_600_000_000)
        self.history.end = await self.steps.snapshot()
        self.witness.judge(self.history.end)
        self.history.problems, self.history.accepted = self.witness.problems, self.carrier.log
        return self.history

    async def step(
        self, process: Process, name: str, doing: Awaitable[T], witness: Callable[[T], object] | None = None
    ) -> T:
        """Carries out one step of a process. Raises Died when the script ends its life at this boundary."""
        result = await doing
        self.history.lines.append(f"{self.time.now_us} {process.name} {name} {brief(result)}\n")
        if witness is not None:
            witness(result)
        self.boundary(process, name)
        return result

    def boundary(self, process: Process, name: str) -> None:
        where, n = f"{process.name}/{name}", process.count(name)
        if where not in self._places:
            return
        if (stall := self.script.fault("stall", where, n)) is not None:
            self.note(process.name, f"stopped for {stall.amount:g} s after {name} #{n}")
            process.stopped_until_us = self.time.now_us + round(stall.amount * 1e6)
        if (crash := self.script.fault("crash", where, n)) is not None:
            self.note(process.name, f"killed after {name} #{n}")
            self._kill(process, crash.amount)
            raise Died

    def note(self, who: str, what: str) -> None:
        self.history.lines.append(f"{self.time.now_us} {who} {what}\n")

    def stir(self) -> None:
        """Something happened: whoever had begun to look seldom looks soon."""
        for look in self.looks:
            look.stir()

    def plan(self, wait_s: float, process: Process, act: Callable[[], Awaitable[None]]) -> None:
        """Plans what a process does next; it may die of it."""

        async def guarded() -> None:
            try:
                await act()
            except Died:
                return

        self.timeline.after(wait_s, process, guarded)

    def _plan(self) -> None:
        self.api.plan(self.script)
        for look in self.looks:
            look.begin()
        for fault in self.script.faults:
            if fault.kind.startswith("clock.") or fault.kind == "flush":
                self.timeline.after(float(fault.where), None, self._event(fault.kind, fault.amount))

    def _event(self, kind: str, amount: float) -> Callable[[], Awaitable[None]]:
        async def happen() -> None:
            self.note("world", f"{kind} {amount:g}")
            if kind == "flush":
                self.queue.flush()
                self.lanes.flush()
            elif kind == "clock.real":
                self.time.jumped_s += amount
            else:
                clock = self.steps.clock
                at_s = clock.now().timestamp() + amount
                self.steps.clock = Clock(real_s(), at_s, clock.speed)
            self.stir()

        return happen

    def _kill(self, process: Process, for_s: float) -> None:
        process.life += 1
        process.is_up = False
        process.stopped_until_us = 0

        async def restart() -> None:
            process.is_up = True
            self.stir()

        process.forget()
        self.timeline.after(for_s, None, restart)

    def _deliver(self, event: CarrierEvent, n: int) -> None:
        self.api.called_back(event, n)

    def _is_idle(self) -> bool:
        return self.timeline.pending == 0 and all(look.wait_s >= IDLE_S for look in self.looks)

    async def _is_over(self) -> bool:
        """Whether nothing is left to happen. What is paused an operator resumes, in the end they cancel."""
        seen = await self.steps.snapshot()
        running = (CampaignStatus.CREATED, CampaignStatus.DIALING, CampaignStatus.PAUSED)
        live = [(id_, status) for id_, status, _ in seen.campaigns if status in running]
        is_busy = bool(seen.unsettled or seen.unnumbered or any(each.check_at is not None for each in seen.attempts))
        is_busy = is_busy or any(person.next_at != "infinity" for person in seen.people)
        if not live and not is_busy:
            return True
        paused = [id_ for id_, status in live if status == CampaignStatus.PAUSED]
        engine_s = (self.steps.clock.now() - self.script.start).total_seconds()
        if paused:
            self.api.deed("resume", str(paused[0]))
        elif engine_s > PATIENCE_S and live:
            begun = {id_ for id_, status in live if status != CampaignStatus.CREATED}
            self.witness.left_waiting(seen, begun | {each.id for each in seen.directs})
            self.api.deed("cancel", str(live[0][0]))
        elif engine_s > 4 * PATIENCE_S:
            self.witness.problem("P1", f"is not over after {engine_s / 86_400:.0f} days")
            return True
        return False


async def play(
    script: Script,
    build: Callable[[Clock, int], Steps],
    learn: Learn = watch.learn,
    lanes: Callable[[], LaneServer] = LaneServer,
) -> History:
    """The history of a script on the store that `build` makes of a clock and a seed.

    `learn` is what a worker makes of a look-up, `lanes` what hands out send slots; negative controls have their own.
    """
    time = VirtualTime()
    with under(time), ids.under(Ids(time)):
        clock = Clock(REAL_START_S, script.start.timestamp(), script.speed)
        return await World(script, build(clock, script.seed), time, learn, lanes()).run()
