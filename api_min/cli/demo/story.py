"""What the demo does, as an upstream service would: numbers, a list, two campaigns, and following them to their end."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api_min.cli.demo.client import Api
from api_min.cli.demo.prospects import OPTED_OUT, senders
from api_min.cli.demo.view import View
from api_min.cli.demo.world import World
from engine.feed.log import EventLog
from engine.rules.purpose import Purpose
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours
from engine.store import suppressions
from engine.store.database import connect

CALLS_PER_SECOND = 70  # full calls over HTTP, agents and recordings and all: what two cores carry with some to spare
TEXTS_PER_SENDER = 7
_RETRY = {"max_retries": 2, "retry_delay": "5m"}
_POLL_S = 0.5
_CATCH_UP_S = 10.0


@dataclass(slots=True)
class Campaign:
    id: str
    name: str
    channel: str
    status: str = "created"
    stats: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Told:
    """What the demo saw from outside. `event_ids` are those of the stream, in the order of arrival."""

    report: dict[str, Any]
    campaigns: tuple[Campaign, ...]
    event_ids: list[int] = field(default_factory=list)
    newest_event: int = 0  # in the log, when both campaigns were completed
    has_heard: asyncio.Event = field(default_factory=asyncio.Event)  # set at every event
    seconds: float = 0.0


async def tell(world: World, api: Api, view: View, file: Path, recording_url: str) -> Told:
    """Sets everything up, starts both campaigns and returns when both are completed."""
    for number in senders():
        await api.post("/api/dids", {"number": number, "capabilities": ["voice", "sms"]})
    view.say(f"{len(senders())} sender numbers registered")
    voice, report = await _voice(api, file, recording_url)
    view.say(f"{file.name}: {report['added']:,} added, {report['duplicates']} duplicates, {report['invalid']} invalid")
    for fault in report["errors"][:3]:
        view.say(f"  line {fault['line']}: {fault['reason']}")
    sms, texted = await _sms(world, api, voice)
    view.say(f"{texted} of them, where the evening is long enough, are texted as well")
    view.say(f"{await _opt_out(world)} numbers have opted out")
    told = Told(report, (voice, sms))
    listening = asyncio.create_task(_listen(api, view, told))
    try:
        await _run(api, view, told)
        await _hear_the_rest(world, told)
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    return told


async def _voice(api: Api, file: Path, recording_url: str) -> tuple[Campaign, dict[str, Any]]:
    mode = {"ai": True, "voicemailAudioUrl": recording_url, "calls_per_second": CALLS_PER_SECOND, **_RETRY}
    campaign = await _create(api, "Appointment reminders", "voice", mode)
    return campaign, await api.upload(f"/api/campaigns/{campaign.id}/prospects/import?region=US", file)


async def _sms(world: World, api: Api, voice: Campaign) -> tuple[Campaign, int]:
    """A text to as many as the pacing allows meanwhile: people whose window stays open for as long as that takes."""
    mode = {"message": "Sorry that we missed you. Reply YES and we will call at a better time.", **_RETRY}
    campaign = await _create(api, "Follow-up texts", "sms", mode)
    listed = await api.get(f"/api/campaigns/{voice.id}/prospects")
    phones = sorted((each["phone"] for each in listed["prospects"]), key=lambda phone: _open_for(world, phone))
    chosen = phones[::-1][: min(len(senders()) * TEXTS_PER_SENDER, len(phones) // 10)]
    await api.post(f"/api/campaigns/{campaign.id}/prospects", {"phones": chosen})
    return campaign, len(chosen)


def _open_for(world: World, phone: str) -> float:
    """For how many more seconds of engine time this number may be texted."""
    now = world.clock.now()
    closes_at = hours("sms", Purpose.INFORMATIONAL).at(whereabouts(phone), now).closes_at
    return (closes_at - now).total_seconds() if closes_at else 0.0


async def _create(api: Api, name: str, channel: str, mode: dict[str, object]) -> Campaign:
    strategy = {"selection": "round_robin", "local_presence": True}
    # Some states have closed their doors to marketing by the evening.
    purpose = Purpose.INFORMATIONAL
    body = {"name": name, "channel": channel, "purpose": purpose, "mode": mode, "callerIdStrategy": strategy}
    return Campaign((await api.post("/api/campaigns", body))["id"], name, channel)


async def _opt_out(world: World) -> int:
    engine = connect(world.servers.database_url, pool_size=1)
    try:
        async with engine.begin() as conn:
            phones = OPTED_OUT.read_text().split()
            return await suppressions.add(conn, world.account_id, phones, "asked not to be called", "demo", world.clock)
    finally:
        await engine.dispose()


async def _listen(api: Api, view: View, told: Told) -> None:
    async for event in api.events(last_id=0):
        told.event_ids.append(event.id)
        told.has_heard.set()
        view.show_event(event)


async def _run(api: Api, view: View, told: Told) -> None:
    begun = time.monotonic()
    for campaign in told.campaigns:
        await api.post(f"/api/campaigns/{campaign.id}/start")
    while not _all_completed(told.campaigns):
        await asyncio.sleep(_POLL_S)
        for campaign in told.campaigns:
            answer = await api.get(f"/api/campaigns/{campaign.id}")
            campaign.status, campaign.stats = answer["status"], answer["stats"]
        told.seconds = time.monotonic() - begun
        view.show_progress(told.campaigns, told.seconds, len(told.event_ids))


async def _hear_the_rest(world: World, told: Told) -> None:
    """Returns when the stream has told what the log holds by now, or has had long enough to."""
    engine = connect(world.servers.database_url, pool_size=1)
    try:
        told.newest_event = (await EventLog(engine).heads([world.account_id])).newest[world.account_id]
    finally:
        await engine.dispose()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CATCH_UP_S):
            while max(told.event_ids, default=0) < told.newest_event:
                told.has_heard.clear()
                await told.has_heard.wait()


def _all_completed(campaigns: Sequence[Campaign]) -> bool:
    return all(campaign.status == "completed" for campaign in campaigns)
