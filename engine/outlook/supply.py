"""The limits of a campaign as a forecast uses them up: each read from where the engine itself reads it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.coordinator.senders import is_capped
from engine.dispatch import callers, ceilings
from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.ceilings import Ceiling as CallCeiling
from engine.dispatch.lanes import lanes_of
from engine.limits.slots import USE
from engine.rules import segments
from engine.rules.campaign_config import SmsMode, VoiceMode
from engine.rules.did_caps import NEVER_USED, Usage
from engine.rules.did_health import Band, band
from engine.rules.did_policy import Caps
from engine.rules.forecast import Fate
from engine.rules.forecast_supply import Ceiling, Limit, PartsPerDay, Rate, Texters, VoiceNumbers, Voices
from engine.rules.pacing import Calls, Forecast, Pacing, calls_to_place
from engine.rules.telephony import Channel
from engine.runtime import Runtime
from engine.store import call_hours, did_caps, senders, ten_dlc
from engine.store.campaigns import Campaign
from engine.store.senders import Sender

TURNAROUND_S = 0.1  # real: from a place that is free until the next contact has taken it; measured, 8 places of 0.83 s
LOOK_S = 1.0  # real: until the coordinator has seen that a number is free again
BUCKET_USE = 0.98  # of a number's calls per minute


async def limits_of(
    conn: AsyncConnection,
    runtime: Runtime,
    campaign: Campaign,
    facts: CampaignFacts,
    fates: Sequence[Fate],
    under_way: int,
    now: datetime,
) -> list[Limit]:
    """All of them. Other campaigns and one-off contacts of the account are not reckoned with."""
    speed = runtime.clock.speed
    limits: list[Limit] = []
    lanes = lanes_of(campaign.id, facts, runtime.settings)
    if facts.channel is Channel.VOICE:
        limits.append(Rate("pace", lanes.own.rate_per_s * USE / speed))
        limits += await _ceilings(conn, runtime, facts, fates, under_way, now)
        limits.append(await _voices(conn, runtime, campaign, facts, now))
    else:
        limits.append(await _texters(conn, runtime, campaign, now))
        limits += await _parts(conn, facts, now)
    if lanes.carrier.rate_per_s < float("inf"):
        limits.append(Rate("carrier", lanes.carrier.rate_per_s * USE / speed))
    return limits


async def _ceilings(
    conn: AsyncConnection,
    runtime: Runtime,
    facts: CampaignFacts,
    fates: Sequence[Fate],
    under_way: int,
    now: datetime,
) -> list[Limit]:
    limits: list[Limit] = []
    more_s = TURNAROUND_S * runtime.clock.speed
    for each in ceilings.ceilings_of(facts, runtime.settings.carrier_concurrent_calls):
        is_agents = each.pacing is not None
        holds = [(fate.agent_s if is_agents else fate.mean_s) + more_s for fate in fates]
        mean_s = sum(hold * fate.share for hold, fate in zip(holds, fates, strict=True))
        name = "agents" if is_agents else "carrier_calls" if each.is_carriers else "concurrent_calls"
        most = await _calls_with_agents(conn, each, fates, mean_s) if is_agents else each.most
        limits.append(Ceiling(name, most, holds, mean_s, min(under_way, most), now.timestamp()))
    return limits


async def _calls_with_agents(conn: AsyncConnection, ceiling: CallCeiling, fates: Sequence[Fate], mean_s: float) -> int:
    """How many calls the pacing keeps up once it runs evenly: as many as it adds none to."""
    mode, pacing = ceiling.campaign.mode, ceiling.pacing
    assert isinstance(mode, VoiceMode)
    assert pacing is not None
    seen = (await call_hours.forecasts(conn, [ceiling.campaign.id])).get(ceiling.campaign.id, Forecast())
    if pacing is Pacing.PROGRESSIVE:
        return ceiling.most
    persons_s = sum(fate.share * fate.agent_s for fate in fates if fate.outcome in ("human_connected", "abandoned"))
    talking_share = persons_s / mean_s if mean_s else 0.0
    up = ceiling.most
    while True:
        talking = min(ceiling.most, round(up * talking_share))
        more = calls_to_place(pacing, ceiling.most, Calls(up - talking, 0, talking), seen, mode.abandon_target)
        if more < 1:
            return up
        up += more


async def _voices(
    conn: AsyncConnection, runtime: Runtime, campaign: Campaign, facts: CampaignFacts, now: datetime
) -> Voices:
    settings, speed = runtime.settings, runtime.clock.speed
    usable = (await senders.of_campaign(conn, campaign)).usable
    known = await callers.load(conn, [did.id for did in usable], now)
    capped = is_capped(campaign, settings.did_caps)
    usages = await did_caps.read_many(conn, list(known)) if capped else {}
    kinds: dict[tuple[float, Caps | None, int], VoiceNumbers] = {}
    for did in usable:
        sender = known[did.id]
        caps = sender.caps(facts.did_policy, now) if capped else None
        per_s = _calls_per_s(did, settings.did_calls_per_minute, caps, speed)
        age = sender.warming_since.toordinal() if caps is not None and sender.warming_since else 0
        kind = kinds.setdefault((per_s, caps, age), VoiceNumbers(0, per_s))
        kind.count += 1
        if caps is not None:
            kind.caps_at = lambda t, one=sender: one.caps(facts.did_policy, datetime.fromtimestamp(t, UTC))
            kind.usage = _sum([kind.usage, usages.get(did.id, NEVER_USED)])
    return Voices(list(kinds.values()))


def _calls_per_s(did: Sender, usual_per_minute: int, caps: Caps | None, speed: float) -> float:
    per_minute = did.calls_per_minute or usual_per_minute
    pace = per_minute / 2 if band(did.score) is Band.REDUCED else per_minute
    per_s = pace * BUCKET_USE / 60
    return min(per_s, 1 / (caps.gap_s + LOOK_S * speed)) if caps is not None and caps.gap_s else per_s


def _sum(usages: Iterable[Usage]) -> Usage:
    hour: Counter[int] = Counter()
    day: Counter[int] = Counter()
    last_at = float("-inf")
    for usage in usages:
        hour.update(usage.hour)
        day.update(usage.day)
        last_at = max(last_at, usage.last_at)
    return replace(NEVER_USED, hour=dict(hour), day=dict(day), last_at=last_at)


async def _texters(conn: AsyncConnection, runtime: Runtime, campaign: Campaign, now: datetime) -> Texters:
    settings, speed = runtime.settings, runtime.clock.speed
    cycle_s = settings.sms_gap_s + settings.sms_jitter_s / 2 + LOOK_S * speed
    usable = (await senders.of_campaign(conn, campaign)).usable
    soon = now.timestamp() + cycle_s
    return Texters([did.sms_free_epoch if did.sms_free_epoch < float("inf") else soon for did in usable], cycle_s)


async def _parts(conn: AsyncConnection, facts: CampaignFacts, now: datetime) -> list[Limit]:
    """Every message is taken to have the parts of the campaign's text with sample data in it."""
    caps = facts.limits.ten_dlc
    if caps is None:
        return []
    assert isinstance(facts.mode, SmsMode)
    parts = max(1, segments.count(facts.mode.template.sample()).parts)
    spent = (await ten_dlc.used(conn, [facts.account_id], now)).get(facts.account_id, ten_dlc.Used())
    per_s = caps.parts_per_minute / (ten_dlc.MINUTE_S + ten_dlc.TICKET_SLACK_S) / parts
    return [Rate("ten_dlc", per_s), PartsPerDay(caps.parts_per_day, spent.day, parts, now.timestamp())]
