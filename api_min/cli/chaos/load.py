"""The work that goes on while things break: campaigns that are fed, paused and resumed, and questions."""

import asyncio
import itertools
import math
import random
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api_min.cli.chaos.door import LOOK_TIMEOUT_S, Door
from api_min.cli.chaos.ending import Ending
from api_min.cli.chaos.figures import Span
from api_min.cli.demo.prospects import senders
from engine.errors import Unavailable
from engine.rules.area_codes import area_codes

VOICE_CAMPAIGNS = 3  # with agents; without; and one that calls nobody a second time
_FIRST_SHARE = 0.6  # of the people, before the start; the others follow in pauses while things break
_MOST_AT_ONCE = 10_000
_TEXTS_PER_S = 0.06  # of one number: every 15 to 17 s
_VOICE = {"retry_delay": "2m", "ringTimeout": 15, "maxDuration": 60}
_RETRIES = (1, 1, 0)
_LINES = 9_900  # of 555-0100 … 555-9999
PROBE_EVERY_S = 0.2
_BETWEEN_PAUSES_S, _BETWEEN_PARTS_S, _PAUSE_S = (1.5, 4.0), (0.1, 0.6), (0.3, 2.0)
_AGAIN_S = 0.3
_POLL_S = 0.5
_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Size:
    seconds: float
    prospects: int
    rate: float  # calls a second of all campaigns together


@dataclass(slots=True)
class Campaign:
    id: str
    channel: str
    rate: float
    phones: list[str]
    pauses: list[Span] = field(default_factory=list)  # from the answer to the next resume's request
    idle: list[Span] = field(default_factory=list)  # from the pause's request to the resume's answer
    is_over: bool = False
    cancelled_at: float | None = None  # as the run was ended early


def phones(count: int, first: int = 0) -> list[str]:
    """Different numbers of a fictional exchange, over all area codes of the United States."""
    codes = [area.code for area in area_codes().values() if area.country == "US" and area.zones]
    if first + count > len(codes) * _LINES:
        raise ValueError(f"there are {len(codes) * _LINES:,} numbers")
    return [f"+1{codes[n % len(codes)]}555{100 + n // len(codes):04d}" for n in range(first, first + count)]


class Load:
    """What clients do: `run` pauses, feeds and asks for the time; `finish` waits for the last outcome."""

    def __init__(self, door: Door, size: Size, seed: int, ending: Ending) -> None:
        self._door, self._size, self._ending = door, size, ending
        self._probing = door.of_another_client()
        self._rng = random.Random(f"load {seed}")
        self._parts: deque[tuple[Campaign, list[str]]] = deque()  # people that are still to be handed over
        self.campaigns: list[Campaign] = []
        self.probes: list[Span] = []  # questions that were answered

    @property
    def answers(self) -> Counter[int]:
        """How often the API answered with which status; 0: not at all."""
        return self._door.answers

    async def prepare(self) -> None:
        """Campaigns with the first of their people, started."""
        texts = min(self._size.prospects // 10, int(len(senders()) * _TEXTS_PER_S * self._size.seconds * 0.7))
        people = phones(self._size.prospects)
        each = (len(people) - texts) // VOICE_CAMPAIGNS
        rate = self._size.rate / VOICE_CAMPAIGNS
        for number in range(VOICE_CAMPAIGNS):
            mode = {**_VOICE, "ai": number == 0, "max_retries": _RETRIES[number], "calls_per_second": rate}
            await self._create("voice", mode, people[number * each : (number + 1) * each], rate)
        if rest := people[VOICE_CAMPAIGNS * each :]:
            await self._create("sms", {"message": "Hello.", "max_retries": 1, "retry_delay": "2m"}, rest, 0.0)
        self._parts = deque(_in_turn([self._rest_of(campaign) for campaign in self.campaigns]))
        for campaign in self.campaigns:
            await self._door.insist("POST", f"/api/campaigns/{campaign.id}/start")

    async def run(self, *, pauses: bool = True) -> None:
        """Returns when the time is over and everybody has been handed over, or as soon as the end is asked for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pause(_BETWEEN_PAUSES_S if pauses else (self._size.seconds, self._size.seconds)))
            group.create_task(self._probe())

    async def finish(self, patience_s: float) -> bool:
        """True when every campaign is over and accounts for everybody; cancels them when the end is asked for.

        False when nobody more has an outcome for `patience_s`.
        """
        newest, deadline = -1, math.inf
        while time.monotonic() < deadline:
            if self._ending.is_asked:
                await self._cancel()
            found = [await self._door.insist("GET", f"/api/campaigns/{each.id}") for each in self.campaigns]
            if all(map(_is_over, found)):
                return True
            if (done := sum(map(_outcomes, found))) > newest:
                newest, deadline = done, time.monotonic() + patience_s
            await asyncio.sleep(_POLL_S)
        return False

    async def lost(self) -> list[str]:
        """Campaigns that have not accounted for everybody, in words."""
        problems = []
        for campaign in self.campaigns:
            stats = await self._door.insist("GET", f"/api/campaigns/{campaign.id}/stats")
            done = stats["completed"] + stats["cancelled"]
            if stats["total"] != len(campaign.phones) or done != stats["total"]:
                problems.append(f"{campaign.id}: {done} of {len(campaign.phones)} have an outcome ({stats})")
        return problems

    async def _create(self, channel: str, mode: dict[str, object], people: list[str], rate: float) -> None:
        # Without hours: at this speed a day is 24 minutes.
        body = {"name": "chaos", "channel": channel, "purpose": "emergency", "mode": mode}
        campaign_id = str((await self._door.insist("POST", "/api/campaigns", body))["id"])
        campaign = Campaign(campaign_id, channel, rate, people)
        self.campaigns.append(campaign)
        await self._add(campaign, people[: _first(campaign)])

    def _rest_of(self, campaign: Campaign) -> list[tuple[Campaign, list[str]]]:
        rest = campaign.phones[_first(campaign) :]
        return [(campaign, rest[at : at + _MOST_AT_ONCE]) for at in range(0, len(rest), _MOST_AT_ONCE)]

    async def _add(self, campaign: Campaign, people: Sequence[str]) -> None:
        """A number is in a campaign once, so a request whose answer was lost may be repeated."""
        for start in range(0, len(people), _MOST_AT_ONCE):
            body = {"phones": list(people[start : start + _MOST_AT_ONCE])}
            await self._door.insist("POST", f"/api/campaigns/{campaign.id}/prospects", body)

    async def _cancel(self) -> None:
        """Nobody else is contacted, and who has not been handed over never will be."""
        for campaign, people in self._parts:
            del campaign.phones[len(campaign.phones) - len(people) :]
        self._parts.clear()
        for campaign in [each for each in self.campaigns if each.cancelled_at is None]:
            campaign.cancelled_at = time.time()
            while not (answer := await self._door.ask("POST", f"/api/campaigns/{campaign.id}/cancel")).is_good:
                if answer.status == _CONFLICT:  # it is over
                    break
                await asyncio.sleep(_AGAIN_S)

    async def _probe(self) -> None:
        """A question every `PROBE_EVERY_S`."""
        until = time.monotonic() + self._size.seconds
        while time.monotonic() < until and not self._ending.is_asked:
            begun = time.time()
            path = f"/api/campaigns/{self.campaigns[0].id}/stats"
            answer = await self._probing.ask("GET", path, timeout_s=LOOK_TIMEOUT_S)
            if answer.is_good:
                self.probes.append(Span(begun, time.time()))
            await asyncio.sleep(PROBE_EVERY_S)

    async def _pause(self, between_s: tuple[float, float]) -> None:
        """Pauses one campaign after the other; the first times, to hand people over."""
        until = time.monotonic() + self._size.seconds
        while ((left_s := until - time.monotonic()) > 0 or self._parts) and not self._ending.is_asked:
            if self._parts:
                campaign, people = self._parts[0]
                if await self._pause_once(campaign, people, self._rng.uniform(*_PAUSE_S)):
                    self._parts.popleft()
                elif campaign.is_over:
                    raise Unavailable(f"{campaign.id} was completed before all its people were added: lower the rate")
            elif open_ := [campaign for campaign in self.campaigns if not campaign.is_over]:
                await self._pause_once(self._rng.choice(open_), [], self._rng.uniform(*_PAUSE_S))
            wait_s = self._rng.uniform(*(_BETWEEN_PARTS_S if self._parts else between_s))
            await self._ending.sleep(min(max(0.0, left_s), wait_s))

    async def _pause_once(self, campaign: Campaign, people: Sequence[str], for_s: float) -> bool:
        """False when nobody answered the pause, and nobody was added."""
        asked = time.time()
        answer = await self._door.ask("POST", f"/api/campaigns/{campaign.id}/pause")
        answered = time.time()
        if answer.is_good:
            await self._add(campaign, people)
            await asyncio.sleep(for_s)
        resumed = time.time()
        await self._resume(campaign)
        if answer.is_good:
            campaign.pauses.append(Span(answered, resumed))
        campaign.idle.append(Span(asked, time.time()))
        return answer.is_good

    async def _resume(self, campaign: Campaign) -> None:
        """Until it runs: an answer that was lost says nothing."""
        while not (answer := await self._door.ask("POST", f"/api/campaigns/{campaign.id}/resume")).is_good:
            if answer.status == _CONFLICT:
                status = answer.body["error"]["fields"]["status"]
                campaign.is_over = status not in ("dialing", "paused")
                return
            if answer.status and answer.status < 500:
                raise Unavailable(f"resume was answered {answer.status}: {answer.body}")
            await asyncio.sleep(_AGAIN_S)


def _is_over(campaign: Mapping[str, Any]) -> bool:
    """Calls that were under way when a campaign was cancelled have yet to end."""
    status = campaign["status"]
    are_all_done = _outcomes(campaign) == int(campaign["stats"]["total"])
    return status == "completed" or (status == "cancelled" and are_all_done)


def _outcomes(campaign: Mapping[str, Any]) -> int:
    return int(campaign["stats"]["completed"] + campaign["stats"]["cancelled"])


def _first(campaign: Campaign) -> int:
    """How many are handed over before the start; of texts all, since every number sends its first one at once."""
    return max(1, int(_FIRST_SHARE * len(campaign.phones))) if campaign.rate else len(campaign.phones)


def _in_turn(lists: Sequence[list[tuple[Campaign, list[str]]]]) -> list[tuple[Campaign, list[str]]]:
    """The first of each, then the second of each, and so on."""
    rounds = itertools.zip_longest(*lists)
    return [each for some in rounds for each in some if each is not None]
