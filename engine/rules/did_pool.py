"""The life of one of our numbers (DIDs), as one table: why it leaves a state, and for which.

    (bought) ─▶ quarantine ─▶ warming ─▶ active ⇄ cooling ─▶ quarantine | burned        any ─▶ released

Warming and active numbers are used; the others rest. A number *cools* for two hours after a low score, and for 14, 30,
then 45 days after a flag: a label of an analytics engine, a spam code, or a block that the network announces (SIP 603+,
since 2026-03-25 the only notice of one). From a flag it returns through warming, and only when no label stands any
more; until then it waits in *quarantine*, as does a number that is being bought or given back. *Burned* is for good: a
score below 0.5 over a whole window, or a fourth flag. Released numbers are no longer ours.

The same sources guard the update in PostgreSQL (`engine.store.did_pool`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from engine.rules.did_policy import DEFAULT_POLICY, Policy


class DidState(StrEnum):
    WARMING = "warming"
    ACTIVE = "active"
    COOLING = "cooling"
    BURNED = "burned"
    QUARANTINE = "quarantine"
    RELEASED = "released"


class Cause(StrEnum):
    """Why a number changes its state; the `reason` of `did.state_changed`."""

    PURCHASED = "purchased"
    WARMED = "warmed"
    LOW_SCORE = "low_score"
    LOW_SMS_SCORE = "low_sms_score"
    LABEL = "label"  # an analytics engine shows a spam label
    SPAM_CODE = "spam_code"  # a text was filtered as spam
    NETWORK_BLOCK = "network_block"  # a call was blocked by analytics: SIP 603+
    WORN_OUT = "worn_out"
    FLAGGED_TOO_OFTEN = "flagged_too_often"
    RESTED = "rested"
    REWARMED = "rested_to_warm_again"
    STILL_LABELLED = "still_labelled"
    CLEARED = "label_cleared"
    RELEASING = "releasing"
    RELEASED = "released"


S, C = DidState, Cause

USABLE = frozenset({S.WARMING, S.ACTIVE})
# A number that rests still gives the answers that the law asks for, when somebody writes to it.
ANSWERING = USABLE | {S.COOLING, S.QUARANTINE}
FLAGS = frozenset({C.LABEL, C.SPAM_CODE, C.NETWORK_BLOCK, C.LOW_SMS_SCORE})
_BLOCKED = FLAGS | {C.STILL_LABELLED, C.FLAGGED_TOO_OFTEN}
_GIVEN_BACK = frozenset({C.RELEASING, C.RELEASED})
GONE = frozenset({S.BURNED, S.RELEASED})  # for good

_FLAGGED = dict.fromkeys(FLAGS, S.COOLING)
_LEAVES = {C.RELEASING: S.QUARANTINE, C.RELEASED: S.RELEASED}
_WEARS: dict[Cause, DidState] = {
    C.LOW_SCORE: S.COOLING,
    **_FLAGGED,
    C.WORN_OUT: S.BURNED,
    C.FLAGGED_TOO_OFTEN: S.BURNED,
    **_LEAVES,
}

TRANSITIONS: Mapping[DidState, Mapping[Cause, DidState]] = {
    S.WARMING: {C.WARMED: S.ACTIVE, **_WEARS},
    S.ACTIVE: _WEARS,
    S.COOLING: {
        C.RESTED: S.ACTIVE,
        C.REWARMED: S.WARMING,
        C.STILL_LABELLED: S.QUARANTINE,
        C.FLAGGED_TOO_OFTEN: S.BURNED,
        **_FLAGGED,
        **_LEAVES,
    },
    S.QUARANTINE: {C.PURCHASED: S.WARMING, C.CLEARED: S.WARMING, **_LEAVES},
    S.BURNED: _LEAVES,
    S.RELEASED: {},
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One number as the pool knows it. Times are engine time."""

    state: DidState
    reason: str = ""  # the Cause that brought it here
    until: datetime | None = None  # when its state ends by itself
    flags: int = 0  # how often it was flagged
    warming_since: datetime | None = None  # None: it was never warmed


class Move(NamedTuple):
    cause: Cause
    to: DidState
    until: datetime | None = None
    flags: int = 0
    warming_since: datetime | None = None


def is_blocked(state: DidState, reason: str, flags: int) -> bool:
    """Whether a carrier or an engine has turned against a number that is not in use: nobody whom it has called is
    contacted again from another instead (CTIA 5.5.2). To give a flagged number back changes nothing of that."""
    return state not in USABLE and (reason in _BLOCKED or (flags > 0 and reason in _GIVEN_BACK))


def after(state: DidState, cause: Cause) -> DidState | None:
    """The state that `cause` leads to from `state`; None where the table has no such way."""
    return TRANSITIONS[state].get(cause)


def sources(cause: Cause, to: DidState) -> tuple[DidState, ...]:
    """The states that `cause` may lead from to `to`."""
    return tuple(state for state, ways in TRANSITIONS.items() if ways.get(cause) is to)


def simple(standing: Standing, cause: Cause) -> Move | None:
    """A move without an end of its own: a release, a purchase that is asked for."""
    return _move(standing, cause, None)


def warm(standing: Standing, cause: Cause, now: datetime, policy: Policy = DEFAULT_POLICY) -> Move | None:
    """Into warming: bought, cleared of a label, or back from a flag. The schedule begins at its first day."""
    move = _move(standing, cause, now + timedelta(days=policy.warming_days))
    return move and move._replace(warming_since=now)


def flag(standing: Standing, cause: Cause, now: datetime, policy: Policy = DEFAULT_POLICY) -> Move | None:
    """What a flag does. One that already rests for a flag is not flagged again: it is the same one."""
    if standing.state is S.COOLING and standing.reason in FLAGS:
        return None
    if standing.flags >= len(policy.rests_after_flag_days):
        return _move(standing, C.FLAGGED_TOO_OFTEN, None, 1)
    return _move(standing, cause, now + timedelta(days=policy.rests_after_flag_days[standing.flags]), 1)


def tire(standing: Standing, now: datetime, policy: Policy = DEFAULT_POLICY) -> Move | None:
    """A low score: a short rest."""
    return _move(standing, C.LOW_SCORE, now + timedelta(hours=policy.rest_after_low_score_h))


def end_of_time(standing: Standing, is_labelled: bool, now: datetime, policy: Policy = DEFAULT_POLICY) -> Move | None:
    """What becomes of a number whose `until` has come; None when it has not, or nothing follows."""
    if standing.until is None or standing.until > now:
        return None
    if standing.state is S.WARMING:
        return _move(standing, C.WARMED, None)
    if standing.state is not S.COOLING:
        return None
    if standing.reason in FLAGS:
        cause = C.STILL_LABELLED if is_labelled else C.REWARMED
        return _move(standing, cause, None) if is_labelled else warm(standing, cause, now, policy)
    return _back_to_work(standing, now, policy)


def _back_to_work(standing: Standing, now: datetime, policy: Policy) -> Move | None:
    """After a low score it goes on where it was: its warming schedule has not stood still."""
    since = standing.warming_since
    warmed_at = since and since + timedelta(days=policy.warming_days)
    if warmed_at is not None and warmed_at > now:
        return _move(standing, C.REWARMED, warmed_at)
    return _move(standing, C.RESTED, None)


def _move(standing: Standing, cause: Cause, until: datetime | None, more_flags: int = 0) -> Move | None:
    to = after(standing.state, cause)
    if to is None:
        return None
    return Move(cause, to, until, standing.flags + more_flags, standing.warming_since)
