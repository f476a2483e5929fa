"""A worker without one of its fences: `python -m workers.unfenced FENCE`. For `carillon chaos --without FENCE` only.

A check that has never failed proves little. So the chaos run can be made on a worker that lacks a fence, and must then
find that a promise is broken. The fences are taken away here, from outside, in a process that nothing but the harness
starts: the engine has no switch for it, which could be thrown in production, and nothing in the engine imports this.
Each replacement names the very words that it replaces, so one that no longer fits the engine fails at its start.

Refuses to start where live keys exist or nobody supervises it: with a fence missing, people would be called twice.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from sqlalchemy import TextClause, text

from engine.dispatch import intent, judge, record
from engine.dispatch.hints import Hint
from engine.embedded.lifeline import READY_FD
from engine.errors import Misconfigured
from engine.limits import scripts, slots
from engine.rules.attempt import AttemptState
from engine.rules.campaign import CampaignStatus
from engine.settings import Settings
from engine.store.database import connect
from workers import worker


def without_unique_intent() -> None:
    """A hint is acted on whenever it comes: nobody asks whether the prospect is still queued, or its attempt taken."""

    def is_due(hint: Hint, _state: int | None, _attempt: int | None, phone: str | None, _at: int | None) -> bool:
        return phone == hint.phone

    _put(intent, "is_due", is_due)
    statement = _replaced(intent._INSERT, f"where attempts.state = {AttemptState.RELEASED:d}", "")
    intent._INSERT = _replaced(
        statement, "(select count(*) from moved) as moved", "(select count(*) from granted) as moved"
    )


def without_state_guard() -> None:
    """What is settled is written over whatever the row has become meanwhile."""
    guard = "and a.try + 0 = u.try and a.state + 0 = u.from_state"
    record._ATTEMPTS = _replaced(record._ATTEMPTS, guard, "")
    guard = "and p.attempt + 0 = u.attempt and p.state + 0 = u.from_state"
    record._PROSPECTS = _replaced(record._PROSPECTS, guard, "")


def without_limiter_rebuild() -> None:
    """A lane that Redis has lost begins at once, beside the slots that are still on their way."""
    known = scripts.source

    def source(*names: str) -> str:
        lua = known(*names)
        fence = "last = horizon, closed"
        if fence not in lua:
            raise Misconfigured(f"the limiter no longer says {fence!r}: adapt {__name__}")
        return lua.replace(fence, "last = -step, closed")

    _put(slots, "source", source)


def without_pause_check() -> None:
    """The campaign's state is not looked at with the intent: what is queued goes out."""
    judged = judge.judge

    def judge_running(hint: Hint, fact: Any, campaign: Any, *rest: Any) -> Any:
        if campaign is not None and campaign.status is CampaignStatus.PAUSED:
            campaign = replace(campaign, status=CampaignStatus.DIALING)
        return judged(hint, fact, campaign, *rest)

    _put(intent, "judge", judge_running)


FENCES: Mapping[str, Callable[[], None]] = {
    "unique-intent": without_unique_intent,
    "state-guard": without_state_guard,
    "limiter-rebuild": without_limiter_rebuild,
    "pause-check": without_pause_check,
}


def main() -> None:
    fence = sys.argv[1] if len(sys.argv) > 1 else ""
    if fence not in FENCES:
        raise Misconfigured(f"no such fence: {fence!r}; there are {', '.join(FENCES)}")
    if READY_FD not in os.environ:
        raise Misconfigured("a worker without a fence runs under `carillon chaos` only")
    asyncio.run(_refuse_live_keys(Settings()))
    FENCES[fence]()
    worker.main()


async def _refuse_live_keys(settings: Settings) -> None:
    db = connect(settings.sqlalchemy_url, pool_size=1)
    try:
        async with db.connect() as conn:
            if (await conn.execute(text("select exists (select from api_keys where is_live)"))).scalar():
                raise Misconfigured("this database has live keys: a worker without a fence must not run on it")
    finally:
        await db.dispose()


def _put(module: ModuleType, name: str, fence: object) -> None:
    if not hasattr(module, name):
        raise Misconfigured(f"{module.__name__} no longer has {name}: adapt {__name__}")
    setattr(module, name, fence)


def _replaced(statement: TextClause, words: str, by: str) -> TextClause:
    if words not in statement.text:
        raise Misconfigured(f"the engine no longer says {words!r}: adapt {__name__}")
    return text(statement.text.replace(words, by))


if __name__ == "__main__":
    main()
