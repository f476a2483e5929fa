"""One call from ringing to hang-up: a person, a machine, a fax, and whatever the engine does to it meanwhile."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from engine.carriers.network import media
from engine.carriers.network.behaviour import Script
from engine.carriers.network.config import Config
from engine.carriers.network.journal import Journal
from engine.carriers.network.line import Connect, Hangup, Line, Pause, Play, Report, Say, Verb
from engine.carriers.port import AgentKind

_UNANSWERED = {  # outcome → cause, no ringing
    "busy": "user_busy",
    "failed": "unspecified",
    "blocked": "network_blocked",
    "not_found": "not_found",
}
_CHARACTERS_PER_S = 15.0  # of speech


@dataclass(slots=True)
class Floor:
    """What a call needs of the network around it."""

    config: Config
    journal: Journal
    session: aiohttp.ClientSession
    tell: Callable[[Line, Report], None]


@dataclass(slots=True, eq=False, kw_only=True)
class Call(Line):
    """Timers do the waiting; a task exists only while verbs are carried out (`performance`)."""

    floor: Floor
    script: Script
    answered_at: float | None = None
    has_ended: bool = False
    hears_somebody: bool = False  # an agent is bridged or a recording plays
    performance: asyncio.Task[None] | None = None
    done_commands: set[str] = field(default_factory=set)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def start(self) -> None:
        valid_s = math.inf if self.order.not_after is None else self.order.not_after - time.time()
        if valid_s > self.script.setup_s:
            self._after(self.script.setup_s, self._reach)
        else:
            self._after(max(0.0, valid_s), self.end, "expired")

    def perform(self, verbs: Sequence[Verb], hang_up_after: bool) -> None:
        """Replaces whatever the call does now. No verbs: the line stays open and silent."""
        if self.has_ended or self.answered_at is None:
            return
        self._stop()
        self._await_somebody()
        self.performance = asyncio.create_task(self._perform(verbs, hang_up_after))

    def end(self, cause: str) -> None:
        """Over, for a `hangup_cause` in the command shape's words. The first cause stands."""
        if self.has_ended:
            return
        self.abandon()
        talked_s = 0.0 if self.answered_at is None else time.time() - self.answered_at
        duration_s = round(talked_s * self.floor.config.speed)
        self.floor.journal.write("end", ref=self.order.ref, carrier_id=self.id, cause=cause, duration_s=duration_s)
        self._report("hangup", cause, duration_s)

    def abandon(self) -> None:
        """Lets go without a word: the network itself is stopping."""
        self.has_ended = True
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        self._stop()

    def _stop(self) -> None:
        performance, self.performance = self.performance, None
        if performance is not None and performance is not asyncio.current_task():
            performance.cancel()
        self.hears_somebody = False

    def _after(self, delay_s: float, act: Callable[..., None], *args: str) -> None:
        self.timers.append(asyncio.get_running_loop().call_later(delay_s, act, *args))

    def _report(self, kind: str, detail: str = "", duration_s: int = 0) -> None:
        report = Report(kind, len(self.reports) + 1, time.time(), detail, duration_s)
        self.reports.append(report)
        self.floor.tell(self, report)

    def _reach(self) -> None:
        script, speed = self.script, self.floor.config.speed
        if cause := _UNANSWERED.get(script.outcome):
            self.end(cause)
            return
        self._report("ringing")
        rings_s = self.order.ring_timeout_s / speed
        if script.is_answered and script.ring_s < rings_s:
            self._after(script.ring_s, self._answer)
        else:
            self._after(rings_s, self.end, "no_answer")

    def _answer(self) -> None:
        script = self.script
        self.answered_at = time.time()
        self._report("answered")
        self._after(self.order.max_duration_s / self.floor.config.speed, self.end, "time_limit")
        if script.outcome == "screening":
            self._after(script.amd_s + script.screening_s, self._screened)
        elif script.is_person:
            self._after(script.greeting_s, self._greeted)
        else:
            self._after(script.greeting_s + script.record_s, self.end, "normal_clearing")
        if self.order.amd:
            self._detect()

    def _detect(self) -> None:
        """Answering machine detection runs beside the call, as with every carrier worth using."""
        script = self.script
        verdict_s = min(script.amd_s, script.greeting_s) if script.outcome == "machine" else script.amd_s
        self._after(verdict_s, self._report, "amd", script.outcome)
        if script.outcome == "machine":
            ready = "beep" if script.beeps else "no_beep"
            self._after(script.greeting_s + script.beep_s, self._report, "amd", ready)

    def _greeted(self) -> None:
        if self.script.outcome != "silence":
            self._report("greeting_ended")
        self._await_somebody()

    def _screened(self) -> None:
        if not self.script.passes_screening:
            self.end("normal_clearing")
            return
        if self.order.amd:
            self._report("amd", "human")
        self._greeted()

    def _await_somebody(self) -> None:
        if self.script.is_person and not self.has_ended:
            self._after(self.script.patience_s, self._lose_patience)

    def _lose_patience(self) -> None:
        if not self.hears_somebody:
            self.end("normal_clearing")

    def _say_goodbye(self) -> None:
        if self.hears_somebody:
            self.end("normal_clearing")

    async def _perform(self, verbs: Sequence[Verb], hang_up_after: bool) -> None:
        for verb in verbs:
            goes_on = await self._carry_out(verb)
            if self.has_ended:
                return
            if not goes_on:
                break
        else:
            if hang_up_after:
                self.end("normal_clearing")
                return
        self.hears_somebody = False
        self._await_somebody()

    async def _carry_out(self, verb: Verb) -> bool:
        """False when the rest must not follow: no agent came, and the engine decides what the person hears instead."""
        match verb:
            case Connect():
                return await self._connect(verb)
            case Play(url):
                await self._play(url)
            case Say(text):
                self.hears_somebody = True
                await asyncio.sleep(len(text) / _CHARACTERS_PER_S / self.floor.config.speed)
                self._report("playback_ended", "completed")
            case Pause(seconds):
                await asyncio.sleep(seconds / self.floor.config.speed)
            case Hangup():
                self.end("normal_clearing")
        return True

    async def _play(self, url: str) -> None:
        self.hears_somebody = True
        fetched = await media.fetch(self.floor.session, url)
        self.floor.journal.write(
            "audio_fetch",
            ref=self.order.ref,
            url=url,
            status=fetched.status,
            bytes=fetched.size,
            sha256=fetched.sha256,
        )
        if fetched.ok:
            await asyncio.sleep(self.script.playback_s)
        self._report("playback_ended", "completed" if fetched.ok else "file_not_found")

    async def _connect(self, agent: Connect) -> bool:
        reason = await self._converse(agent)
        if reason:
            self.floor.journal.write("agent", ref=self.order.ref, url=agent.address, bridged=False, reason=reason)
            self._report("agent_failed", reason)
            return False
        self.end("normal_clearing")  # the agent hung up
        return True

    async def _converse(self, agent: Connect) -> str:
        if agent.kind is AgentKind.WS_MEDIA:
            timeout_s = self.floor.config.agent_timeout_s
            return await media.converse(self.floor.session, agent, self, timeout_s, lambda: self._bridged(agent))
        await asyncio.sleep(self.script.bridge_s)
        if agent.address.startswith("sip:refuse@"):
            return "agent_refused: 603"
        self._bridged(agent)
        await asyncio.Event().wait()  # until the person hangs up or the engine takes the agent off
        return ""

    def _bridged(self, agent: Connect) -> None:
        self.hears_somebody = True
        self.floor.journal.write("agent", ref=self.order.ref, url=agent.address, bridged=True, agent=agent.kind)
        self._report("agent_bridged")
        if self.script.is_person:
            self._after(self.script.talk_s, self._say_goodbye)
