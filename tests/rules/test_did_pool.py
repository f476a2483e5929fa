"""The state table walked, and what each cause does to a number."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules import did_pool
from engine.rules.did_policy import DEFAULT_POLICY
from engine.rules.did_pool import FLAGS, TRANSITIONS, USABLE, Cause, DidState, Move, Standing, after, sources

S, C = DidState, Cause
NOW = datetime(2026, 3, 11, 18, tzinfo=UTC)
DAY = timedelta(days=1)

# state → what each cause that it knows leads to; every other cause leads nowhere
WAYS = {
    S.WARMING: "warmed>active low_score>cooling low_sms_score>cooling label>cooling spam_code>cooling"
    " network_block>cooling worn_out>burned flagged_too_often>burned releasing>quarantine released>released",
    S.ACTIVE: "low_score>cooling low_sms_score>cooling label>cooling spam_code>cooling network_block>cooling"
    " worn_out>burned flagged_too_often>burned releasing>quarantine released>released",
    S.COOLING: "rested>active rested_to_warm_again>warming still_labelled>quarantine flagged_too_often>burned"
    " low_sms_score>cooling label>cooling spam_code>cooling network_block>cooling releasing>quarantine"
    " released>released",
    S.QUARANTINE: "purchased>warming label_cleared>warming releasing>quarantine released>released",
    S.BURNED: "releasing>quarantine released>released",
    S.RELEASED: "",
}


@pytest.mark.parametrize(("state", "cause"), [*itertools.product(DidState, Cause)])
def test_every_state_meets_every_cause(state: DidState, cause: Cause) -> None:
    known = dict(way.split(">") for way in WAYS[state].split())
    assert after(state, cause) == known.get(cause)
    for to in DidState:
        assert (state in sources(cause, to)) == (known.get(cause) == to)


def test_what_is_burned_or_released_is_never_used_again() -> None:
    reach = {S.BURNED, S.RELEASED}
    for state in list(reach):
        reach |= set(TRANSITIONS[state].values())
    assert reach == {S.BURNED, S.RELEASED, S.QUARANTINE}  # quarantine: on its way back to the carrier


@pytest.mark.parametrize(("flags", "days"), [(0, 14), (1, 30), (2, 45), (3, None), (9, None)])
@pytest.mark.parametrize("cause", sorted(FLAGS))
def test_each_flag_rests_longer_and_the_fourth_burns(flags: int, days: int | None, cause: Cause) -> None:
    way = did_pool.flag(Standing(S.ACTIVE, flags=flags), cause, NOW)
    if days is None:
        assert way == Move(C.FLAGGED_TOO_OFTEN, S.BURNED, None, flags + 1)
    else:
        assert way == Move(cause, S.COOLING, NOW + days * DAY, flags + 1)


@pytest.mark.parametrize(
    ("standing", "is_flagged"),
    [
        (Standing(S.WARMING), True),
        (Standing(S.COOLING, C.LOW_SCORE, NOW), True),  # a short rest becomes a long one
        (Standing(S.COOLING, C.LABEL, NOW), False),  # the same flag seen again
        (Standing(S.BURNED), False),
        (Standing(S.QUARANTINE), False),
        (Standing(S.RELEASED), False),
    ],
)
def test_who_is_flagged(standing: Standing, is_flagged: bool) -> None:
    assert (did_pool.flag(standing, C.SPAM_CODE, NOW) is not None) is is_flagged


def test_a_low_score_rests_for_two_hours_and_goes_on_where_it_was() -> None:
    tired = did_pool.tire(Standing(S.ACTIVE), NOW)
    assert tired == Move(C.LOW_SCORE, S.COOLING, NOW + timedelta(hours=2))
    rested = Standing(S.COOLING, C.LOW_SCORE, NOW)
    assert did_pool.end_of_time(rested, False, NOW) == Move(C.RESTED, S.ACTIVE)
    warming = replace(rested, warming_since=NOW - 5 * DAY)
    assert did_pool.end_of_time(warming, False, NOW) == Move(C.REWARMED, S.WARMING, NOW + 16 * DAY, 0, NOW - 5 * DAY)
    warmed = replace(rested, warming_since=NOW - 30 * DAY)
    assert did_pool.end_of_time(warmed, False, NOW) == Move(C.RESTED, S.ACTIVE, None, 0, NOW - 30 * DAY)


def test_after_a_flag_it_warms_again_unless_the_label_stands() -> None:
    flagged = Standing(S.COOLING, C.LABEL, NOW, flags=1)
    assert did_pool.end_of_time(flagged, True, NOW) == Move(C.STILL_LABELLED, S.QUARANTINE, None, 1)
    assert did_pool.end_of_time(flagged, False, NOW) == Move(C.REWARMED, S.WARMING, NOW + 21 * DAY, 1, NOW)
    cleared = did_pool.warm(Standing(S.QUARANTINE, C.STILL_LABELLED, flags=1), C.CLEARED, NOW)
    assert cleared == Move(C.CLEARED, S.WARMING, NOW + 21 * DAY, 1, NOW)


@pytest.mark.parametrize(
    ("standing", "moves"),
    [
        (Standing(S.WARMING, until=NOW), True),
        (Standing(S.WARMING, until=NOW + timedelta(seconds=1)), False),
        (Standing(S.WARMING), False),
        (Standing(S.ACTIVE, until=NOW), False),
        (Standing(S.COOLING, C.LOW_SCORE, NOW + DAY), False),
        (Standing(S.QUARANTINE, until=NOW), False),
    ],
)
def test_nothing_ends_before_its_time(standing: Standing, moves: bool) -> None:
    assert (did_pool.end_of_time(standing, False, NOW) is not None) is moves


@given(
    st.lists(st.sampled_from(["flag", "tire", "wait", "label", "clear", "worn"]), max_size=40),
    st.integers(0, 100),
)
def test_no_walk_uses_a_number_while_it_rests_or_rests_it_for_ever(steps: list[str], hours: int) -> None:
    """Whatever happens in whatever order: flags only grow, and a cooling number always has an end to its rest."""
    standing, now, is_labelled = Standing(S.ACTIVE), NOW, False
    for step in steps:
        now += timedelta(hours=hours)
        is_labelled = step == "label" or (is_labelled and step != "clear")
        way = {
            "flag": did_pool.flag(standing, C.NETWORK_BLOCK, now),
            "label": did_pool.flag(standing, C.LABEL, now),
            "tire": did_pool.tire(standing, now),
            "worn": did_pool.simple(standing, C.WORN_OUT),
            "clear": did_pool.warm(standing, C.CLEARED, now),
            "wait": did_pool.end_of_time(standing, is_labelled, now),
        }[step]
        if way is None:
            continue
        assert standing.state in sources(way.cause, way.to)
        assert way.flags >= standing.flags
        standing = Standing(way.to, way.cause, way.until, way.flags, way.warming_since)
        assert standing.state is not S.COOLING or (standing.until or now) > now
        assert standing.state not in USABLE or standing.flags <= len(DEFAULT_POLICY.rests_after_flag_days)
