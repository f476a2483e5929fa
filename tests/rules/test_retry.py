from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.prospect import Outcome
from engine.rules.purpose import Purpose
from engine.rules.retry import NO_RETRY, RETRYABLE, Again, RetryHours, RetryRule, may_change_number, next_attempt
from engine.rules.schedule import ANY_TIME
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours

NOW = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
TWICE = RetryRule(max_retries=2, delay_s=14_400)
LATER = NOW + timedelta(hours=4)
OWN = RetryRule(1, 3_600, (("no_answer", Again(3, 1_800)), ("voicemail", Again(1, 86_400)), ("failed", Again(5, 60))))

agains = st.builds(Again, st.integers(0, 10), st.integers(1, 30 * 86_400))
rules = st.builds(
    RetryRule,
    st.integers(0, 10),
    st.integers(1, 30 * 86_400),
    st.dictionaries(st.sampled_from(RETRYABLE), agains).map(lambda by: tuple(by.items())),
)


@pytest.mark.parametrize(
    ("rule", "outcome", "attempt_no", "retryable", "expected"),
    [
        (TWICE, "failed", 1, False, None),  # a permanent fault
        (TWICE, "no_answer", 3, True, None),  # two retries are three attempts
        (TWICE, "no_answer", 4, True, None),
        (NO_RETRY, "no_answer", 1, True, None),
        (TWICE, "no_answer", 1, True, LATER),
        (TWICE, "no_answer", 2, False, LATER),
        (TWICE, "busy", 2, False, LATER),
        (TWICE, "failed", 2, True, LATER),
        (OWN, "failed", 1, False, None),  # permanent, though the rule allows five
        (OWN, "failed", 5, True, NOW + timedelta(minutes=1)),
        (OWN, "failed", 6, True, None),
        (OWN, "no_answer", 3, False, NOW + timedelta(minutes=30)),
        (OWN, "no_answer", 4, False, None),
        (OWN, "voicemail", 1, False, NOW + timedelta(days=1)),
        (OWN, "voicemail", 2, False, None),
        (OWN, "busy", 1, False, NOW + timedelta(hours=1)),  # not named: the plain rule
        (OWN, "busy", 2, False, None),
        *[(TWICE, name, 1, True, None) for name in ("human", "voicemail", "delivered", "abandoned", "unknown", "")],
    ],
)
def test_next_attempt(
    rule: RetryRule, outcome: str, attempt_no: int, retryable: bool, expected: datetime | None
) -> None:
    assert next_attempt(rule, outcome, attempt_no, NOW, retryable) == expected


@given(rules, st.sampled_from([outcome.label for outcome in Outcome]), st.integers(1, 20), st.booleans())
def test_every_retry_is_allowed_by_its_rule_and_lies_its_delay_ahead(
    rule: RetryRule, outcome: str, attempt_no: int, retryable: bool
) -> None:
    found = next_attempt(rule, outcome, attempt_no, NOW, retryable)
    if found is None:
        return
    again = rule.after(outcome)
    assert attempt_no <= again.most
    assert found == NOW + timedelta(seconds=again.delay_s)
    assert outcome in RETRYABLE
    assert retryable or outcome != "failed"


@given(rules, st.lists(st.sampled_from(RETRYABLE), min_size=25, max_size=25))
def test_nobody_is_tried_for_ever(rule: RetryRule, outcomes: list[str]) -> None:
    attempts = 1
    for outcome in outcomes:
        if next_attempt(rule, outcome, attempts, NOW, retryable=True) is None:
            break
        attempts += 1
    assert attempts <= 1 + max(rule.after(outcome).most for outcome in RETRYABLE)


@pytest.mark.parametrize("outcome", [outcome.label for outcome in Outcome])
def test_only_what_says_nothing_of_the_number_lets_a_retry_come_from_another(outcome: str) -> None:
    assert may_change_number(outcome) is (outcome in ("no_answer", "busy", "voicemail"))


EVENING_IN_NEW_YORK = datetime(2026, 3, 12, 0, 30, tzinfo=UTC)  # 20:30; the day ends at 21
NEXT_DAY = datetime(2026, 3, 12, 12, 0, tzinfo=UTC)
MARKETING = RetryHours("voice", Purpose.MARKETING, True, ANY_TIME, timedelta(seconds=3))


@pytest.mark.parametrize(
    ("phone", "at", "expected"),
    [
        ("+12125550100", EVENING_IN_NEW_YORK, EVENING_IN_NEW_YORK),
        ("+12125550100", EVENING_IN_NEW_YORK + timedelta(minutes=30, seconds=-3), NEXT_DAY),  # too late to leave
        ("+12125550100", EVENING_IN_NEW_YORK + timedelta(minutes=30), NEXT_DAY),
        ("+12125550100", NEXT_DAY - timedelta(seconds=1), NEXT_DAY),
        ("+12125550100", NEXT_DAY, NEXT_DAY),
        ("+18005550100", NEXT_DAY, NEXT_DAY),  # of no place: the intent holds it and says why
    ],
)
def test_a_retry_lands_in_the_hours_of_its_number(phone: str, at: datetime, expected: datetime) -> None:
    assert MARKETING.land(phone, at, 3_600) == expected


@given(st.integers(0, 14 * 86_400), st.sampled_from(["+12125550100", "+13105550100", "+19075550100", "+19285550100"]))
def test_it_lands_at_the_first_moment_that_the_plain_rule_allows(seconds: int, phone: str) -> None:
    at = NOW + timedelta(seconds=seconds)
    found = MARKETING.land(phone, at, 60)
    plain = hours("voice")
    assert found >= at
    assert plain.holds(whereabouts(phone), found)
    if found > at:
        assert not plain.holds(whereabouts(phone), found - timedelta(seconds=1))
