"""Sliding windows: never more than the cap in any hour and day, and not much less."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules import did_caps
from engine.rules.did_caps import NEVER_USED, Usage
from engine.rules.did_policy import DEFAULT_POLICY, Caps, caps, parse_policy, policy_of

NOW = 1_773_252_000.0
OPEN = 10**6


def fullest(times: list[float], window_s: float) -> int:
    return max((sum(at - window_s < other <= at for other in times) for at in times), default=0)


@given(
    st.lists(st.tuples(st.floats(0, 4_000), st.integers(1, 5)), max_size=60),
    st.integers(1, 12),
    st.integers(1, 40),
    st.sampled_from([0, 60]),
)
def test_no_window_ever_holds_more_than_its_cap(
    steps: list[tuple[float, int]], per_hour: int, per_day: int, gap_s: int
) -> None:
    limits = Caps(per_hour, per_day, gap_s)
    usage, now, times = NEVER_USED, NOW, list[float]()
    for pause, wanted in steps:
        now += pause
        taken = did_caps.take(usage, wanted, limits, now)
        assert 0 <= taken.granted <= wanted
        assert taken.free_at >= now
        times += [now] * taken.granted
        usage = Usage(
            did_caps.unflatten(did_caps.flatten(taken.usage.hour)),
            did_caps.unflatten(did_caps.flatten(taken.usage.day)),
            taken.usage.last_at,
        )
        assert len(usage.hour) <= 62
        assert len(usage.day) <= 62
    assert fullest(times, 3_600) <= per_hour
    assert fullest(times, 86_400) <= per_day
    assert not gap_s or all(later - earlier >= gap_s for earlier, later in pairwise(times))


@given(st.lists(st.floats(0, 2_000), max_size=50), st.integers(1, 10), st.integers(1, 60), st.sampled_from([0, 60]))
def test_free_at_is_true(pauses: list[float], per_hour: int, per_day: int, gap_s: int) -> None:
    """At `free_at` a call goes through, and no earlier."""
    limits = Caps(per_hour, per_day, gap_s)
    usage, now = NEVER_USED, NOW
    for pause in pauses:
        now += pause
        taken = did_caps.take(usage, 1, limits, now)
        usage = taken.usage
        assert did_caps.room(usage, limits, taken.free_at) >= 1
        if taken.free_at > now:
            assert did_caps.room(usage, limits, taken.free_at - 1) == 0 or taken.free_at - now <= 1
        assert taken.room == did_caps.room(usage, limits, taken.free_at)


@pytest.mark.parametrize(
    ("limits", "hours"),
    [(Caps(10, OPEN, 0), 20), (Caps(10, OPEN, 60), 20), (Caps(OPEN, 75, 0), 96)],
)
def test_almost_all_of_a_cap_can_be_used(limits: Caps, hours: int) -> None:
    usage, now, calls = NEVER_USED, NOW, 0
    while now < NOW + hours * 3_600:
        taken = did_caps.take(usage, OPEN, limits, now)
        calls += taken.granted
        usage, now = taken.usage, taken.free_at
    allowed = min(limits.per_hour * hours, limits.per_day * hours / 24)
    assert 0.97 * allowed <= calls <= allowed + min(limits.per_hour, limits.per_day)


@pytest.mark.parametrize(
    ("state", "age_days", "reduced", "expected"),
    [
        ("warming", 0, False, Caps(10, 20, 60)),
        ("warming", 6.99, False, Caps(10, 20, 60)),
        ("warming", 7, False, Caps(10, 35, 60)),
        ("warming", 14, False, Caps(10, 50, 60)),
        ("warming", 21, False, Caps(10, 75, 60)),
        ("active", 0, False, Caps(10, 75, 60)),
        ("active", 0, True, Caps(5, 37, 60)),
        ("warming", 0, True, Caps(5, 10, 60)),
    ],
)
def test_caps_by_state_and_age(state: str, age_days: float, reduced: bool, expected: Caps) -> None:
    assert caps(DEFAULT_POLICY, state, age_days, reduced) == expected


def test_an_account_may_change_the_table() -> None:
    policy = policy_of('{"perHour": 40, "gapS": 0}', '{"perDay": 90, "warming": [5, 10]}')
    assert caps(policy, "active", 0, False) == Caps(40, 90, 0)
    assert [caps(policy, "warming", age, False).per_day for age in (0, 7, 14)] == [5, 10, 90]
    assert policy.warming_days == 14


@pytest.mark.parametrize("text", ["{", "[]", '{"perHour": 0}', '{"perday": 5}', '{"warming": [0]}', "3"])
def test_a_change_that_cannot_be_read_changes_nothing(text: str) -> None:
    assert policy_of(text) == DEFAULT_POLICY


def test_every_fault_of_a_policy_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_policy({"perHour": 0, "perDay": True, "gapS": -1, "warming": [1, "x"], "speed": 1}, DEFAULT_POLICY)
    names = {"didPolicy.perHour", "didPolicy.perDay", "didPolicy.gapS", "didPolicy.warming[1]", "didPolicy.speed"}
    assert set(caught.value.fields) == names
