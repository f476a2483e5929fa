"""The caps of 10DLC, judged in the intent's transaction: parts a minute (AT&T) and a day (T-Mobile) of each account.

What finds no room waits for it: seconds for the minute, until midnight Pacific for the day. Answers that the law asks
for are counted and never held up. Parts of what was refused or not sent stay counted: too few is no offence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.hints import Hint
from engine.rules.account_limits import TenDlc, next_pacific_midnight
from engine.store import ten_dlc

AGAIN_AFTER = timedelta(seconds=5)  # engine time: a twelfth of the minute's cap is free again by then


class Wanted(NamedTuple):
    hint: Hint
    parts: int


class Verdict(NamedTuple):
    allowed: list[Wanted]
    later: list[tuple[Wanted, datetime]]


async def admit(
    conn: AsyncConnection, wanted: Sequence[Wanted], campaigns: Mapping[int, CampaignFacts], now: datetime
) -> Verdict:
    """Which of these messages the caps allow now, first come first served. Count what is then sent with `count`."""
    if caps := caps_of(wanted, campaigns):
        await ten_dlc.lock(conn, caps)
    return await look(conn, wanted, campaigns, now)


async def look(
    conn: AsyncConnection, wanted: Sequence[Wanted], campaigns: Mapping[int, CampaignFacts], now: datetime
) -> Verdict:
    """The same without the lock: true at this moment, for whoever only asks."""
    caps = caps_of(wanted, campaigns)
    if not caps:
        return Verdict(list(wanted), [])
    used = await ten_dlc.used(conn, caps, now)
    left: dict[int, list[int]] = {}
    for account_id, cap in caps.items():
        spent = used.get(account_id, ten_dlc.Used())
        left[account_id] = [cap.parts_per_minute - spent.minute, cap.parts_per_day - spent.day]
    verdict = Verdict([], [])
    for each in wanted:
        campaign = campaigns[each.hint.campaign_id]
        if (room := left.get(campaign.account_id)) is None:
            verdict.allowed.append(each)
            continue
        if campaign.is_system or each.parts <= min(room):
            verdict.allowed.append(each)
            room[:] = [room[0] - each.parts, room[1] - each.parts]
        else:
            at = next_pacific_midnight(now) if each.parts > room[1] else now + AGAIN_AFTER
            verdict.later.append((each, at))
    return verdict


async def count(
    conn: AsyncConnection, sent: Sequence[Wanted], campaigns: Mapping[int, CampaignFacts], now: datetime
) -> None:
    """Counts the parts of messages that got their intent; in the transaction that asked `admit`."""
    caps = caps_of(sent, campaigns)
    parts: Counter[int] = Counter()
    for each in sent:
        if (account_id := campaigns[each.hint.campaign_id].account_id) in caps:
            parts[account_id] += each.parts
    if parts:
        await ten_dlc.add(conn, parts, now)


def caps_of(wanted: Sequence[Wanted], campaigns: Mapping[int, CampaignFacts]) -> dict[int, TenDlc]:
    """The accounts among these that have caps."""
    asked = [campaigns[each.hint.campaign_id] for each in wanted]
    found = {campaign.account_id: campaign.limits.ten_dlc for campaign in asked}
    return {account_id: cap for account_id, cap in found.items() if cap is not None}
