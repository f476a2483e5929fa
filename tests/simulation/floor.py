"""A floor of agents and the people they call, as a seeded simulation: no I/O, no clock, only the rule under test.

Calls ring for a while, then a person answers, a machine does, or nobody. A person without an agent for two seconds is
abandoned. A machine holds an agent until it is recognised. The rule is asked whenever something changes, as the engine
asks it in every intent; its forecast is renewed from hourly sums, as the coordinator does.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from random import Random

from engine.rules.pacing import (
    RECENT_H,
    WINDOW_H,
    Calls,
    Figure,
    Forecast,
    Pacing,
    Recent,
    calls_to_place,
    forecast,
)

PATIENCE_S = 2.0
RENEW_S = 5.0


@dataclass(frozen=True)
class People:
    """What the called are like, at some hour; shares of calls, and seconds."""

    person: float
    machine: float
    talk_s: float
    ring_s: tuple[float, float] = (4.0, 16.0)
    give_up_s: float = 25.0
    verdict_s: float = 2.5
    wait_s: float = 0.3  # the hand-over takes its time


@dataclass
class Hour:
    calls: int = 0
    persons: int = 0
    abandoned: int = 0
    ring_s: float = 0.0
    talk_s: float = 0.0
    connected: int = 0


@dataclass
class Floor:
    """One campaign. `run` returns nothing; the sums are in `hours`, the agents' talk in `talked_s`."""

    seed: int
    agents: int
    pacing: Pacing
    hours: dict[int, Hour] = field(default_factory=dict)
    talked_s: float = 0.0
    worked_s: float = 0.0
    most_up: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.now = 0.0
        self.ringing = self.talking = self.held = 0
        self.waiting: deque[tuple[float, float]] = deque()  # answered at, intent at
        self.events: list[tuple[float, int, str, float]] = []
        self.count = 0
        self.seen = Forecast()

    def run(self, begin_h: int, shift_s: float, people: People) -> None:
        """One shift: dials until `shift_s`, then lets the calls end."""
        self.now = begin_h * 3600.0
        end = self.now + shift_s
        renew_at = self.now
        while True:
            if self.now < end:
                if self.now >= renew_at:
                    self.renew()
                    renew_at = self.now + RENEW_S
                self.dial(people)
            if not self.events:
                break
            at, _, kind, began = heapq.heappop(self.events)
            self.now = at
            self.happen(kind, began, people)
        self.worked_s += shift_s * self.agents

    @property
    def hour(self) -> Hour:
        return self.hours.setdefault(int(self.now // 3600), Hour())

    def figure(self, now_h: int) -> Figure:
        kept = [hour for at, hour in self.hours.items() if now_h - WINDOW_H < at <= now_h]
        return Figure(sum(hour.persons for hour in kept), sum(hour.abandoned for hour in kept))

    def renew(self) -> None:
        now_h = int(self.now // 3600)
        kept = [hour for at, hour in self.hours.items() if now_h - RECENT_H < at <= now_h]
        recent = Recent(
            sum(hour.calls for hour in kept),
            sum(hour.persons for hour in kept),
            sum(hour.connected for hour in kept),
            sum(hour.ring_s for hour in kept),
            sum(hour.talk_s for hour in kept),
        )
        self.seen = forecast(self.seen, self.figure(now_h), recent, self.calls.up)

    @property
    def calls(self) -> Calls:
        return Calls(self.ringing, len(self.waiting), self.talking + self.held)

    def dial(self, people: People) -> None:
        for _ in range(calls_to_place(self.pacing, self.agents, self.calls, self.seen)):
            self.ringing += 1
            draw = self.random.random()
            ring_s = self.random.uniform(*people.ring_s)
            if draw < people.person:
                self.later(ring_s, "person")
            elif draw < people.person + people.machine:
                self.later(ring_s, "machine")
            else:
                self.later(people.give_up_s, "nobody")
        self.most_up = max(self.most_up, self.calls.up)

    def later(self, wait_s: float, kind: str) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + wait_s, self.count, kind, self.now))

    def happen(self, kind: str, began: float, people: People) -> None:
        match kind:
            case "nobody":
                self.ringing -= 1
                self.hour.calls += 1
            case "machine":
                self.ringing -= 1
                self.hour.calls += 1
                if self.talking + self.held < self.agents:
                    self.held += 1
                    self.later(people.verdict_s, "verdict")
            case "verdict":
                self.held -= 1
                self.serve(people)
            case "person":
                self.ringing -= 1
                self.hour.calls += 1
                self.hour.persons += 1
                self.hour.ring_s += self.now - began
                self.waiting.append((self.now, began))
                self.later(PATIENCE_S, "patience")
                self.serve(people)
            case "patience":
                while self.waiting and self.waiting[0][0] <= self.now - PATIENCE_S + 1e-9:
                    self.waiting.popleft()
                    self.hour.abandoned += 1
            case _:
                self.talking -= 1
                self.hour.connected += 1
                self.hour.talk_s += self.now - began
                self.talked_s += self.now - began
                self.serve(people)

    def serve(self, people: People) -> None:
        while self.waiting and self.talking + self.held < self.agents:
            self.waiting.popleft()
            self.talking += 1
            self.later(people.wait_s + self.random.expovariate(1 / people.talk_s), "hang_up")
