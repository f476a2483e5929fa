"""Campaigns on a virtual clock, against what can be reckoned by hand; and that nobody is lost in them."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.area_codes import area_codes
from engine.rules.did_policy import Caps
from engine.rules.forecast import Course, Fate, Setup, forecast
from engine.rules.forecast_demand import Cohort, alike, spread
from engine.rules.forecast_fates import Seen, fates_of, patience_s, silent, typical
from engine.rules.forecast_supply import Begun, Ceiling, Limit, PartsPerDay, Rate, Texters, VoiceNumbers, Voices
from engine.rules.purpose import Purpose
from engine.rules.retry import NO_RETRY, RetryRule
from engine.rules.schedule import Schedule
from engine.rules.whereabouts import Place, whereabouts
from engine.rules.window import hours

NOON = datetime(2026, 3, 11, 16, 0, tzinfo=UTC)  # in New York, a Wednesday
T = NOON.timestamp()
EVER = float("-inf")
NEW_YORK, LOS_ANGELES = whereabouts("+12125550100"), whereabouts("+13105550100")
ANSWERED = (Fate("human_connected", False, 1.0, (60.0,), 60.0),)
NEVER_THERE = (Fate("no_answer", False, 1.0, (25.0,), 25.0),)
HALF = (Fate("human_connected", False, 0.5, (30.0, 60.0, 90.0), 60.0), Fate("no_answer", False, 0.5, (25.0,), 25.0))
ANY_HOUR = hours("voice", Purpose.EMERGENCY)


def run(
    people: int,
    *limits: Limit,
    place: Place = NEW_YORK,
    fates: Sequence[Fate] = ANSWERED,
    retry: RetryRule = NO_RETRY,
    in_hours: object = ANY_HOUR,
    due_s: float = EVER,
    pace: float = 10.0,
    takes_s: float = 0.0,
) -> Course:
    cohorts = [Cohort(place, 1, due_s, people)]
    return forecast(Setup(T, in_hours, takes_s, retry, fates, [Rate("pace", pace), *limits], cohorts, pace_per_s=pace))  # type: ignore[arg-type]


def took(course: Course) -> float:
    assert course.finish_s is not None
    return course.finish_s - T


def test_the_pace_and_the_last_call() -> None:
    course = run(1_000)
    assert (course.contacts, course.done, course.held, course.left) == (1_000, 1_000, 0, 0)
    assert took(course) == pytest.approx(100 + 60, rel=0.01)
    assert course.held_back_by == "pace"


def test_a_retry_waits_for_its_delay_and_is_counted_once() -> None:
    course = run(1_000, fates=NEVER_THERE, retry=RetryRule(1, 3_600))
    assert course.contacts == 2_000
    assert took(course) == pytest.approx(100 + 25 + 3_600 + 25, rel=0.01)
    assert course.held_back_by == "retries"


def test_half_of_those_who_answer_half_the_time_are_left_each_time() -> None:
    assert run(1_024, fates=HALF, retry=RetryRule(3, 600)).contacts == 1_024 + 512 + 256 + 128


def test_the_night_is_waited_for() -> None:
    """From 20:59:50 in New York on; the federal day ends at 21, New York's own at the same time, and begins at 8."""
    legal = hours("voice")
    evening = datetime(2026, 3, 12, 0, 59, 50, tzinfo=UTC)
    opens = datetime(2026, 3, 12, 12, 0, tzinfo=UTC)
    assert legal.at(NEW_YORK, evening).closes_at == evening + timedelta(seconds=10)
    cohorts = [Cohort(NEW_YORK, 1, EVER, 300)]
    setup = Setup(evening.timestamp(), legal, 3.0, NO_RETRY, ANSWERED, [Rate("pace", 10)], cohorts, pace_per_s=10)
    course = forecast(setup)
    assert legal.next_chance(NEW_YORK, evening + timedelta(seconds=20)) == opens
    before = 70  # of the seven seconds in which a request may leave in time
    expected = opens.timestamp() + (300 - before) / 10 + 60
    assert course.finish_s == pytest.approx(expected, abs=40)  # a thousandth of the night
    assert course.held_back_by == "window"


def test_the_place_decides() -> None:
    own = hours("voice", Purpose.EMERGENCY, True, Schedule(start_hour=11, end_hour=13))
    assert took(run(10, in_hours=own)) < 120
    assert took(run(10, in_hours=own, place=LOS_ANGELES)) == pytest.approx(2 * 3_600 + 61, rel=0.01)


def test_who_is_due_later_is_called_later() -> None:
    assert took(run(10, due_s=T + 7_200)) == pytest.approx(7_200 + 61, rel=0.01)


def test_who_has_no_window_is_held_and_does_not_hold_up_the_others() -> None:
    toll_free = whereabouts("+18005550100")
    cohorts = [Cohort(NEW_YORK, 1, EVER, 10), Cohort(toll_free, 1, EVER, 5)]
    course = forecast(Setup(T, hours("voice"), 0, NO_RETRY, ANSWERED, [Rate("pace", 10)], cohorts, pace_per_s=10))
    assert (course.done, course.held, course.left) == (10, 5, 0)


@pytest.mark.parametrize("pace", [1.0, 20.0, 1_000.0])
def test_calls_at_one_time(pace: float) -> None:
    """However long a step is beside a call: ten at a time of a minute each are ten a minute."""
    course = run(2_000, Ceiling("concurrent_calls", 10, [60.0], 60.0, 0, T), pace=pace)
    assert took(course) == pytest.approx(2_000 * 60 / 10, rel=0.03)
    assert course.held_back_by == "concurrent_calls"


def test_numbers_call_once_a_minute_ten_times_an_hour_and_75_times_a_day() -> None:
    def capped(count: int) -> Voices:
        return Voices([VoiceNumbers(count, 1 / 60, caps_at=lambda _: Caps(10, 75, 60))])

    assert took(run(10, capped(1))) == pytest.approx(9 * 60 + 60, abs=30)
    assert 3_600 < took(run(11, capped(1))) < 3_600 + 180
    two_days = took(run(160, capped(1)))
    assert 2 * 86_400 < two_days < 2.2 * 86_400
    assert run(160, capped(1)).held_back_by == "numbers"
    assert took(run(1_600, capped(10))) == pytest.approx(two_days, rel=0.05)


def test_numbers_of_several_kinds_share_the_work() -> None:
    both = Voices([VoiceNumbers(1, 1.0), VoiceNumbers(1, 3.0)])
    assert took(run(400, both)) == pytest.approx(100 + 60, rel=0.05)


def test_texts_leave_once_a_gap_from_each_number() -> None:
    course = run(100, Texters([EVER] * 10, 960.0), pace=1e6)
    assert course.last_contact_s == pytest.approx(T + 9 * 960, rel=0.01)


def test_parts_of_a_day_go_on_at_midnight_pacific() -> None:
    course = run(150, PartsPerDay(100, 0, 1, T))
    assert course.last_contact_s == pytest.approx(datetime(2026, 3, 12, 7, tzinfo=UTC).timestamp() + 5, abs=55)
    assert course.held_back_by == "ten_dlc"


def test_without_numbers_it_has_no_end() -> None:
    course = run(5, Voices([]))
    assert (course.finish_s, course.left, course.held_back_by) == (None, 5, "numbers")


def test_who_is_under_way_ends_and_may_be_tried_again() -> None:
    under_way = [Cohort(NEW_YORK, 1, EVER, 8)]
    retry = RetryRule(1, 600)
    course = forecast(Setup(T, ANY_HOUR, 0, retry, HALF, [Rate("pace", 10)], (), under_way, pace_per_s=10))
    assert (course.contacts, course.done, course.left) == (4, 8, 0)


def test_a_text_that_nothing_is_heard_of_ends_at_its_deadline() -> None:
    under_way = [Cohort(NEW_YORK, 1, EVER, 8), Cohort(NEW_YORK, 1, T + 7_200, 2)]
    course = forecast(Setup(T, ANY_HOUR, 0, RetryRule(1, 600), ANSWERED, [Rate("pace", 10)], (), under_way))
    assert (course.contacts, course.done, course.left) == (0, 10, 0)
    assert took(course) == pytest.approx(7_200)


def test_points_lie_at_even_distances_and_end_at_the_end() -> None:
    course = run(1_000)
    points = course.at_even_distances(11)
    assert [point.at_s - T for point in points] == pytest.approx([took(course) * n / 10 for n in range(11)])
    assert (points[0].done, points[-1].done) == (0, 1_000)
    assert points[5].contacts == pytest.approx(800, abs=20)
    assert len(run(0).at_even_distances(11)) == 11


def test_places_whose_hours_are_alike_are_one() -> None:
    places = [whereabouts(f"+1{code}5550100") for code in ("212", "718", "310", "415", "602")]
    timelines, kind_of = alike(list(dict.fromkeys(places)), hours("voice"), 3.0, T)
    assert kind_of[places[0]] == kind_of[places[1]] != kind_of[places[2]]
    assert len(timelines) == len(set(kind_of.values()))


@pytest.mark.slow
def test_a_million_people_take_seconds() -> None:
    places = sorted({whereabouts(f"+1{a.code}5550100") for a in area_codes().values() if a.zones}, key=str)
    cohorts = [Cohort(place, 1, EVER, 1_000_000 // len(places)) for place in places]
    fates, began = typical("voice", 1.0, 259_200.0), time.process_time()
    pace = [Rate("pace", 20.0)]
    course = forecast(Setup(T, hours("voice"), 3.0, RetryRule(2, 4 * 3_600), fates, pace, cohorts, pace_per_s=20.0))
    assert course.done == sum(cohort.people for cohort in cohorts)
    assert time.process_time() - began < 15  # about one on a quiet machine


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    people=st.lists(st.integers(0, 400), min_size=1, max_size=6),
    shares=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    retries=st.integers(0, 3),
    pace=st.floats(0.2, 50),
    up=st.one_of(st.none(), st.integers(1, 30)),
)
def test_nobody_is_lost_and_nobody_is_called_too_often(
    people: list[int], shares: list[int], retries: int, pace: float, up: int | None
) -> None:
    outcomes = ("human_connected", "no_answer", "busy", "voicemail", "failed")
    fates = [Fate(outcomes[n], True, share / sum(shares), (5.0, 20.0 * n), 5.0) for n, share in enumerate(shares)]
    limits: list[Limit] = [Rate("pace", pace)]
    if up:
        limits.append(
            Ceiling("calls", up, [fate.mean_s for fate in fates], sum(f.mean_s * f.share for f in fates), 0, T)
        )
    places = [NEW_YORK, LOS_ANGELES, whereabouts("+18085550100"), whereabouts("+18005550100")]
    cohorts = [
        Cohort(places[n % 4], 1 + n % 2, EVER if n % 3 else T + 500 * n, count) for n, count in enumerate(people)
    ]
    setup = Setup(T, hours("voice"), 3.0, RetryRule(retries, 1_800), fates, limits, cohorts, pace_per_s=pace)
    course = forecast(setup)
    assert course.done + course.held + course.left == sum(people)
    assert course.left == 0
    assert course.contacts <= (sum(people) - course.held) * (retries + 1)
    times = [point.at_s for point in course.points]
    assert times == sorted(times)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.lists(st.integers(0, 50), max_size=30))
def test_people_are_spread_by_shares_and_none_is_made_or_lost(weights: list[float], batches: list[int]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    owed, totals = [0.0] * len(shares), [0] * len(shares)
    for people in batches:
        found = spread(shares, people, owed)
        assert sum(found) == people
        totals = [total + each for total, each in zip(totals, found, strict=True)]
    for total, share in zip(totals, shares, strict=True):
        assert total == pytest.approx(share * sum(batches), abs=len(shares))


def test_failures_are_told_apart_by_whether_a_retry_helps() -> None:
    fates = fates_of([Seen("failed", 30, (1.0,), 1.0, 0.4), Seen("busy", 70, (2.0, -1.0), 2.0, 0.9)])
    assert [(fate.outcome, fate.is_retryable, round(fate.share, 3)) for fate in fates] == [
        ("failed", True, 0.12),
        ("failed", False, 0.18),
        ("busy", False, 0.7),
    ]
    assert fates[2].lasts_s == (2.0, 0.0)


@pytest.mark.parametrize("channel", ["voice", "sms"])
def test_what_is_typical_adds_up_and_runs_with_the_clock(channel: str) -> None:
    usual, fast = typical(channel, 1.0, 7_200.0), typical(channel, 60.0, 7_200.0)
    assert sum(fate.share for fate in usual) == pytest.approx(1.0)
    for one, other in zip(usual, fast, strict=True):  # the deadline is engine time already
        assert other.mean_s == pytest.approx(one.mean_s * (1 if one.outcome == "unknown" else 60))


def test_patience_is_by_the_reports_that_do_come() -> None:
    seen = [Seen("delivered", 90, (1.0, 5.0), 0.0), Seen("unknown", 1, (7_000.0,), 0.0), silent(9, 7_200.0)]
    fates = fates_of(seen)
    assert patience_s(fates) == 20.0
    assert sum(fate.share for fate in fates if fate.outcome == "unknown") == pytest.approx(0.1)
    assert patience_s(fates_of([silent(9, 7_200.0)])) == float("inf")


def test_a_rate_loses_nothing_between_steps() -> None:
    rate, begun, t = Rate("pace", 2.0), 0, T
    for _ in range(100):
        count = rate.room(t, 0.7)
        rate.take(Begun(t, count, [count]))
        begun, t = begun + count, t + 0.7
    assert begun == pytest.approx(140, abs=1)
