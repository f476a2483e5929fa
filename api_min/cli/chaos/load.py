"""The work that goes on while things break: campaigns that are fed, paused and resumed, and the probes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from api_min.cli.chaos.door import Door
from api_min.cli.chaos.figures import Span
from api_min.cli.demo.prospects import senders
from engine.errors import Unavailable
from engine.rules.area_codes import area_codes

VOICE_CAMPAIGNS = 3
_FIRST_SHARE = 0.3  # of the people, before the start; the others follow while things break
_MOST_AT_ONCE = 5_000
_FED_BY = 0.4  # of the time: a campaign that has nobody left would complete, and take no more
_TEXTS_PER_S = 0.06  # of one number: every 15 to 17 s
_VOICE = {"max_retries": 1, "retry_delay": "2m", "ringTimeout": 15, "maxDuration": 60}
_LINES = 9_900  # of 555-0100 … 555-9999
_PROBE_RATE, PROBE_EVERY_S = 20.0, 0.4
_HELD = "+18005550100"  # a toll-free number is in no place, so it is held, and keeps the probes' campaign open
_AGAIN_S = 0.3
_POLL_S = 0.5


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


@dataclass(slots=True)
class Probe:
    phone: str
    begun: float  # epoch seconds


def phones(count: int, first: int = 0) -> list[str]:
    """Different numbers of a fictional exchange, over all area codes of the United States."""
    codes = [area.code for area in area_codes().values() if area.country == "US"]
    if first + count > len(codes) * _LINES:
        raise ValueError(f"there are {len(codes) * _LINES:,} numbers")
    return [f"+1{codes[n % len(codes)]}555{100 + n // len(codes):04d}" for n in range(first, first + count)]


class Load:
    """Everything that a client does. `run` feeds, pauses and probes for the time; `finish` waits for the last outcome."""

    def __init__(self, door: Door, size: Size, seed: int) -> None:
        self._door, self._size = door, size
        self._rng = random.Random(f"load {seed}")
        self.campaigns: list[Campaign] = []
        self.probes: list[Probe] = []
        self.probe_campaign = ""
        self._posting: set[asyncio.Task[None]] = set()

    @property
    def answers(self) -> Counter[int]:
        """How often the API answered with which status; 0: not at all."""
        return self._door.answers

    async def prepare(self) -> None:
        texts = min(self._size.prospects // 10, int(len(senders()) * _TEXTS_PER_S * self._size.seconds * 0.7))
        people = phones(self._size.prospects)
        each = (len(people) - texts) // VOICE_CAMPAIGNS
        for number in range(VOICE_CAMPAIGNS):
            mine = people[number * each : (number + 1) * each]
            mode = {**_VOICE, "ai": number == 0, "calls_per_second": self._size.rate / VOICE_CAMPAIGNS}
            await self._create("voice", mode, mine, self._size.rate / VOICE_CAMPAIGNS)
        if rest := people[VOICE_CAMPAIGNS * each :]:
            await self._create("sms", {"message": "Hello.", "max_retries": 1, "retry_delay": "2m"}, rest, 0.0)
        mode = {"calls_per_second": _PROBE_RATE, "ringTimeout": 15}
        self.probe_campaign = await self._new("voice", mode)
        await self._add(self.probe_campaign, [_HELD])
        for campaign_id in [*(campaign.id for campaign in self.campaigns), self.probe_campaign]:
            await self._door.insist("POST", f"/api/campaigns/{campaign_id}/start")

    async def run(self, *, pauses: bool = True) -> None:
        """Returns when the time is over and everything has been handed over."""
        tasks = [self._feed(), self._probe(), *([self._pause()] if pauses else [])]
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
        if self._posting:
            await asyncio.wait(self._posting)

    async def finish(self, timeout_s: float) -> bool:
        """True when every campaign is completed; the probes' one is cancelled then."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = [await self._door.insist("GET", f"/api/campaigns/{each.id}") for each in self.campaigns]
            if all(each["status"] == "completed" for each in found):
                await self._end_probes(deadline)
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def lost(self) -> list[str]:
        """People that a campaign has not accounted for, in words."""
        problems = []
        for campaign in self.campaigns:
            stats = await self._door.insist("GET", f"/api/campaigns/{campaign.id}/stats")
            done = stats["completed"] + stats["cancelled"]
            if stats["total"] != len(campaign.phones) or done != stats["total"]:
                problems.append(f"{campaign.id}: {done} of {len(campaign.phones)} have an outcome ({stats})")
        return problems

    async def _end_probes(self, deadline: float) -> None:
        """When all probes but the held number are done: a cancel would turn those under way away."""
        while time.monotonic() < deadline:
            stats = await self._door.insist("GET", f"/api/campaigns/{self.probe_campaign}/stats")
            if stats["completed"] + stats["cancelled"] >= stats["total"] - 1:
                break
            await asyncio.sleep(_POLL_S)
        await self._door.ask("POST", f"/api/campaigns/{self.probe_campaign}/cancel")

    async def _create(self, channel: str, mode: dict[str, object], people: list[str], rate: float) -> None:
        campaign = Campaign(await self._new(channel, mode), channel, rate, people)
        self.campaigns.append(campaign)
        await self._add(campaign.id, people[: max(1, int(_FIRST_SHARE * len(people)))])

    async def _new(self, channel: str, mode: dict[str, object]) -> str:
        # Without hours: at this speed a day is 24 minutes.
        body = {"name": "chaos", "channel": channel, "purpose": "emergency", "mode": mode}
        return str((await self._door.insist("POST", "/api/campaigns", body))["id"])

    async def _add(self, campaign_id: str, people: Sequence[str]) -> None:
        """A number is in a campaign once, so a request whose answer was lost may be repeated."""
        for start in range(0, len(people), _MOST_AT_ONCE):
            body = {"phones": list(people[start : start + _MOST_AT_ONCE])}
            await self._door.insist("POST", f"/api/campaigns/{campaign_id}/prospects", body)

    async def _feed(self) -> None:
        parts: list[tuple[str, list[str]]] = []
        for campaign in self.campaigns:
            rest = campaign.phones[max(1, int(_FIRST_SHARE * len(campaign.phones))) :]
            size = min(_MOST_AT_ONCE, max(1, -(-len(rest) // 8)))
            parts += [(campaign.id, rest[start : start + size]) for start in range(0, len(rest), size)]
        self._rng.shuffle(parts)
        for campaign_id, people in parts:
            await self._add(campaign_id, people)
            await asyncio.sleep(self._size.seconds * _FED_BY / len(parts))

    async def _probe(self) -> None:
        """One new person every `PROBE_EVERY_S`: whatever is down, who is added once all is up is called at once."""
        until = time.monotonic() + self._size.seconds
        numbers = phones(int(self._size.seconds / PROBE_EVERY_S) + 1, first=self._size.prospects)
        for phone in numbers:
            if time.monotonic() > until:
                return
            probe = Probe(phone, time.time())
            self.probes.append(probe)
            task = asyncio.create_task(self._post_probe(phone))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)
            await asyncio.sleep(PROBE_EVERY_S)

    async def _post_probe(self, phone: str) -> None:
        await self._door.ask("POST", f"/api/campaigns/{self.probe_campaign}/prospects", {"phones": [phone]})

    async def _pause(self) -> None:
        until = time.monotonic() + self._size.seconds
        while (left_s := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, self._rng.uniform(1.5, 4.0)))
            open_ = [campaign for campaign in self.campaigns if not campaign.is_over]
            if open_:
                await self._pause_once(self._rng.choice(open_), self._rng.uniform(0.3, 2.0))

    async def _pause_once(self, campaign: Campaign, for_s: float) -> None:
        asked = time.time()
        answer = await self._door.ask("POST", f"/api/campaigns/{campaign.id}/pause")
        answered = time.time()
        if answer.is_good:
            await asyncio.sleep(for_s)
        resumed = time.time()
        await self._resume(campaign)
        if answer.is_good:
            campaign.pauses.append(Span(answered, resumed))
        campaign.idle.append(Span(asked, time.time()))

    async def _resume(self, campaign: Campaign) -> None:
        """Until it runs: an answer that was lost says nothing."""
        path = f"/api/campaigns/{campaign.id}"
        while not (answer := await self._door.ask("POST", f"{path}/resume")).is_good:
            if answer.status == 409:
                status = answer.body["error"]["fields"]["status"]
                campaign.is_over = status not in ("dialing", "paused")
                return
            if answer.status and answer.status < 500:
                raise Unavailable(f"resume was answered {answer.status}: {answer.body}")
            await asyncio.sleep(_AGAIN_S)
