"""Puts off whom the law's hours or the campaign's are closed for, before anybody is enqueued for nothing.

It is the intent's own rule (`judge.window`), asked at the claim: who may not be contacted now gets the next opening and
the reason on the row, as the intent would have written them, and costs neither a queue message nor a send slot. The
intent judges again, so what changes in between, and what is not looked at here, is found there.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.clock import boottime
from engine.coordinator.shard import Due, Walk
from engine.dispatch import judge, opening
from engine.dispatch.campaigns import CampaignFacts, read_campaigns
from engine.dispatch.judge import Verdict
from engine.rules.prospect import ProspectState
from engine.runtime import Runtime
from engine.store import arrays

TTL_S = 60.0  # hours of a campaign never change; what else is read with them is not asked here
MOST_STRIDES = 256

_SAYS_WHERE = re.compile(r"zip|postal|state|zone", re.IGNORECASE)  # at most what `whereabouts` looks at
# Contacts nobody, so it needs no key: the states say whether the row is still as it was read. Rows that somebody holds
# are left to them, so no two rows are waited for in turn.
_PUT_OFF = text(f"""
    update prospects p set reason = u.reason, next_attempt_at = u.next_at
      from (select w.* from unnest(cast(:campaigns as bigint[]), cast(:ids as bigint[]), cast(:attempts as smallint[]),
                                   cast(:reasons as text[]), cast(:next_at as timestamptz[]))
                            as w(campaign_id, id, attempt, reason, next_at)
             cross join lateral (
                   select from prospects
                    where campaign_id = w.campaign_id and id = w.id and attempt = w.attempt
                      and state + 0 = {ProspectState.QUEUED:d} and next_attempt_at <= :now
                      for update skip locked) held) u
     where p.campaign_id = any(array[u.campaign_id]) and p.id = u.id  -- by key as in `dispatch.record`
""")


class Closed(NamedTuple):
    campaign_id: int
    due: Due
    reason: str
    next_at: datetime


class Windows:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[int, tuple[CampaignFacts, float]] = {}

    def sift(self, walk: Walk, due: Sequence[Due], now: datetime, closed: list[Closed]) -> list[Due]:
        """Those of a walk's claimed prospects whose windows are open; the others are added to `closed`. `now` is engine
        time. `refresh` comes before, `put_off` after.

        One-off contacts were judged when they were asked for, and answers that the law asks for know no hours.
        """
        known = self._known.get(walk.campaign.id)
        if walk.campaign.is_direct or known is None:
            return list(due)
        takes = opening.takes(self._runtime.settings.ticket_s, self._runtime.clock)
        return sift(walk, known[0], due, now, takes, closed)

    async def put_off(self, closed: Sequence[Closed], now: datetime) -> None:
        if closed:
            await put_off(self._runtime.db, closed, now)
            metrics.PUT_OFF.inc(len(closed))

    async def refresh(self, walks: Sequence[Walk]) -> None:
        """Reads the campaigns of these walks, where they are not known."""
        now = boottime()
        self._known = {key: entry for key, entry in self._known.items() if now - entry[1] <= TTL_S}
        campaigns = [walk.campaign for walk in walks if not walk.campaign.is_direct]
        if stale := [each.id for each in campaigns if each.id not in self._known]:
            facts = await read_campaigns(self._runtime.reader, stale)
            self._known |= {campaign_id: (found, now) for campaign_id, found in facts.items()}


async def put_off(engine: AsyncEngine, closed: Sequence[Closed], now: datetime) -> None:
    """Writes the next opening of each, where its row is still as it was read."""
    params = {
        "campaigns": arrays.numbers([each.campaign_id for each in closed]),
        "ids": arrays.numbers([each.due.prospect_id for each in closed]),
        "attempts": arrays.numbers([each.due.attempt for each in closed]),
        "reasons": arrays.texts([each.reason for each in closed]),
        "next_at": arrays.times([each.next_at for each in closed]),
    }
    async with engine.begin() as conn:
        await conn.execute(_PUT_OFF, params | {"now": now})


def sift(
    walk: Walk, facts: CampaignFacts, due: Sequence[Due], now: datetime, takes: timedelta, closed: list[Closed]
) -> list[Due]:
    """Returns those of a walk's claimed prospects that are open, and adds the others to `closed`. While most are
    closed, the walk's strides grow."""
    kept = []
    for each in due:
        verdict = _verdict(facts, each, now, takes)
        if verdict is None or verdict.again_at is None:
            kept.append(each._replace(data=None) if each.data else each)
        else:
            closed.append(Closed(facts.id, each, verdict.written, verdict.again_at))
    is_mostly_closed = 2 * (len(due) - len(kept)) > len(due)
    walk.stride = min(MOST_STRIDES, 2 * walk.stride) if is_mostly_closed else 1
    return kept


def _verdict(facts: CampaignFacts, due: Due, now: datetime, takes: timedelta) -> Verdict | None:
    try:
        return judge.window(facts, due.phone, _columns(due.data), now, takes)
    except Exception:  # of a row that cannot be read: the intent judges it alone, and says so
        return None


def _columns(data: str | None) -> Mapping[str, object] | None:
    """The prospect's columns, if any of them may say where it is; most imports have none that does."""
    if data is None or not _SAYS_WHERE.search(data):
        return None
    found: Mapping[str, object] = orjson.loads(data)
    return found
