"""Limits on calls at one time, judged in the intent's transaction: per campaign, per account at the carrier, by agents.

The last locks of an intent are those of its limits, exclusive, one per limit; only then are the calls counted that are
up. So of two workers with the same last free agent one counts after the other has committed, and nothing is leased in
Redis that a flush could forget. What finds no room is due again in a moment; the coordinator reads the same counts
before it enqueues (`rooms`), so that is the exception. A campaign without such limits pays nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch.campaigns import CampaignFacts
from engine.rules.campaign_config import VoiceMode
from engine.rules.pacing import Calls, Forecast, Pacing, calls_to_place
from engine.store import call_hours, calls_up, locks

AGAIN_S = 0.25  # real: as a released attempt, ahead of the coordinator's walk


class Ceiling(NamedTuple):
    """One limit. `key` is unique among all; `subject` is the campaign, or the account with the carrier's name."""

    key: str
    campaign: CampaignFacts
    most: int
    is_carriers: bool = False
    pacing: Pacing | None = None


Rooms = dict[str, int]
"""How many calls more each limit allows now, by its key."""


def ceilings_of(campaign: CampaignFacts, most_at_carrier: int) -> list[Ceiling]:
    """The limits that a call of this campaign counts against. `most_at_carrier`: of an account that says nothing of
    it; 0 is no limit."""
    mode = campaign.mode
    if not isinstance(mode, VoiceMode):
        return []
    found = []
    if mode.concurrent_calls is not None:
        found.append(Ceiling(f"calls of campaign {campaign.id}", campaign, mode.concurrent_calls))
    if mode.pacing is not None and mode.agent is not None and mode.agent.capacity is not None:
        key = f"agents of campaign {campaign.id}"
        found.append(Ceiling(key, campaign, mode.agent.capacity, pacing=mode.pacing))
    if most := campaign.limits.concurrent_calls or most_at_carrier:
        key = f"calls of account {campaign.account_id} at {campaign.carrier}"
        found.append(Ceiling(key, campaign, most, is_carriers=True))
    return found


async def admit(
    conn: AsyncConnection,
    wanted: Sequence[int],
    campaigns: Mapping[int, CampaignFacts],
    most_at_carrier: int,
    now: datetime,
    speed: float,
) -> list[bool]:
    """Whether each of these calls (by its campaign's id) finds room in all its limits, first come first served."""
    limits = {each: ceilings_of(campaigns[each], most_at_carrier) for each in set(wanted)}
    distinct = list({each.key: each for some in limits.values() for each in some}.values())
    if not distinct:
        return [True] * len(wanted)
    await lock(conn, distinct)
    found = await rooms(conn, distinct, now, speed)
    return [take(found, limits[campaign_id]) == 1 for campaign_id in wanted]


async def lock(conn: AsyncConnection, ceilings: Iterable[Ceiling]) -> None:
    """The locks under which `rooms` stays true until the transaction ends. They come after an intent's others."""
    await locks.lock_exclusive(conn, [locks.named_key(each.key) for each in ceilings])


async def rooms(conn: AsyncConnection, ceilings: Collection[Ceiling], now: datetime, speed: float) -> Rooms:
    """What each limit allows now; see `lock`. `now` is engine time."""
    found: Rooms = {}
    if plain := [each for each in ceilings if each.pacing is None and not each.is_carriers]:
        up = await calls_up.of_campaigns(conn, {each.campaign.id for each in plain})
        found |= {each.key: each.most - up.get(each.campaign.id, 0) for each in plain}
    if carriers := [each for each in ceilings if each.is_carriers]:
        names = [(each.campaign.account_id, each.campaign.carrier) for each in carriers]
        of = await calls_up.of_carriers(conn, sorted(set(names)), now, speed)
        found |= {each.key: each.most - of.get(name, 0) for each, name in zip(carriers, names, strict=True)}
    if paced := [each for each in ceilings if each.pacing is not None]:
        found |= await _rooms_by_agents(conn, paced)
    return found


def take(found: Rooms, ceilings: Sequence[Ceiling], wanted: int = 1) -> int:
    """Takes room for up to `wanted` calls out of each of these limits; returns for how many there was."""
    taken = max(0, min([wanted, *(found[each.key] for each in ceilings)]))
    for each in ceilings:
        found[each.key] -= taken
    return taken


async def _rooms_by_agents(conn: AsyncConnection, paced: Sequence[Ceiling]) -> Rooms:
    calls = await calls_up.with_agents(conn, {each.campaign.id for each in paced})
    predictive = [each.campaign.id for each in paced if each.pacing is Pacing.PREDICTIVE]
    forecasts = await call_hours.forecasts(conn, predictive) if predictive else {}
    found: Rooms = {}
    for each in paced:
        assert each.pacing is not None
        assert isinstance(each.campaign.mode, VoiceMode)
        seen = forecasts.get(each.campaign.id, Forecast())
        up = calls.get(each.campaign.id, Calls())
        found[each.key] = calls_to_place(each.pacing, each.most, up, seen, each.campaign.mode.abandon_target)
    return found
