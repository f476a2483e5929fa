"""Which events a webhook gets, and what each answer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.webhook import (
    JITTER,
    LONGEST_RETRY_AFTER_S,
    PARK_AFTER,
    PAUSE_AFTER_S,
    RETRY_AFTER_S,
    Answer,
    Verdict,
    judge,
    matches,
    parse_globs,
)

DAYS_S = 3 * 86_400.0
MIDDLE = 0.5  # a jitter that changes nothing


@pytest.mark.parametrize(
    ("globs", "event_type", "expected"),
    [
        (["*"], "sms.sent", True),
        (["*"], "webhook.failed", False),
        (["webhook.*"], "webhook.failed", False),
        (["*"], "call.incoming.answered", False),  # of none of the channels that clients know
        (["sms.*"], "sms.received", True),
        (["sms.*"], "smsx.sent", False),
        (["sms.*"], "sms", False),
        (["sms.sent"], "sms.sent", True),
        (["sms.sent"], "sms.sent.twice", False),
        (["campaign.*"], "campaign.call.busy", True),
        (["campaign.call.*"], "campaign.prospect.dnc", False),
        (["voice.completed", "sms.*"], "sms.failed", True),
        ([], "sms.sent", False),
    ],
)
def test_matches(globs: list[str], event_type: str, expected: bool) -> None:
    assert matches(globs, event_type) is expected


@pytest.mark.parametrize(
    "globs",
    [
        ["*"],
        ["sms.*", "voice.*"],
        ["campaign.call.*"],
        ["sms.received"],
        ["voice.dtmf", "did.purchased", "billing.usage"],  # documented, though not all of it is caused yet
        ["ivr.*", "reputation.*"],
    ],
)
def test_globs_that_are_taken(globs: list[str]) -> None:
    assert parse_globs(globs) == globs


def test_repeats_are_dropped() -> None:
    assert parse_globs(["sms.*", "*", "sms.*"]) == ["sms.*", "*"]


@pytest.mark.parametrize(
    ("glob", "words"),
    [
        ("smss.*", "'smss.*' matches no event"),
        ("sms.sended", "'sms.sended' matches no event"),
        ("sms", "matches no event"),
        ("sms*", "matches no event"),
        ("sms.s*", "matches no event"),
        ("*.sent", "matches no event"),
        ("**", "matches no event"),
        ("sms.%", "matches no event"),
        ("s_s.*", "matches no event"),
        (".*", "matches no event"),
        ("", "matches no event"),
        ("SMS.*", "matches no event"),
        ("call.*", "matches no event"),
        ("call.incoming.ended", "matches no event"),
        ("smsxx", "matches no event"),
        ("webhook.*", "only sent to event streams"),
        ("webhook.delivered", "only sent to event streams"),
        ("x" * 10_000, "matches no event"),
    ],
)
def test_globs_that_match_nothing_are_named(glob: str, words: str) -> None:
    with pytest.raises(InvalidInput, match="events:") as refused:
        parse_globs(["sms.*", glob])
    fault = str(refused.value.fields["events[1]"])
    assert words in fault
    assert len(fault) < 300


@pytest.mark.parametrize("globs", [[], ["sms.sent"] * 51])
def test_too_few_and_too_many_globs(globs: list[str]) -> None:
    with pytest.raises(InvalidInput, match="give 1 to 50"):
        parse_globs(globs)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(200), Verdict.DELIVERED),
        (Answer(202), Verdict.DELIVERED),
        (Answer(299), Verdict.DELIVERED),
        (Answer(410), Verdict.GONE),
        (Answer(0, "no answer"), Verdict.RETRY),
        (Answer(100), Verdict.RETRY),
        (Answer(301), Verdict.RETRY),
        (Answer(400), Verdict.RETRY),
        (Answer(404), Verdict.RETRY),
        (Answer(429), Verdict.RETRY),
        (Answer(500), Verdict.RETRY),
    ],
)
def test_verdicts(answer: Answer, verdict: Verdict) -> None:
    assert judge(answer, 1, 1, DAYS_S, MIDDLE).verdict is verdict


@pytest.mark.parametrize(("attempts", "wait_s"), [*enumerate(RETRY_AFTER_S, 1), (10, 21_600), (500, 21_600)])
def test_the_schedule(attempts: int, wait_s: float) -> None:
    decision = judge(Answer(500), attempts, 1, DAYS_S, MIDDLE)
    assert (decision.retry_s, decision.pause_s) == (wait_s, 0.0)


def test_three_days_hold_nineteen_attempts() -> None:
    passed_s, attempts = 0.0, 1
    while (decision := judge(Answer(500), attempts, 1, DAYS_S - passed_s, MIDDLE)).verdict is Verdict.RETRY:
        passed_s += decision.retry_s
        attempts += 1
    assert (decision.verdict, attempts) == (Verdict.FAILED, 19)
    assert DAYS_S - passed_s <= RETRY_AFTER_S[-1]


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 0), (PARK_AFTER - 1, 0), (PARK_AFTER, 60), (8, 600), (900, 600)])
def test_an_endpoint_is_parked_after_a_few_failures_in_a_row(failures: int, pause_s: float) -> None:
    assert judge(Answer(500), 1, failures, DAYS_S, MIDDLE).pause_s == pause_s


@pytest.mark.parametrize(("failures", "pause_s"), [*enumerate(PAUSE_AFTER_S, 1), (400, 600)])
def test_an_ordered_endpoint_waits_from_the_first_failure_on(failures: int, pause_s: float) -> None:
    decision = judge(Answer(500), 1, failures, DAYS_S, MIDDLE, is_ordered=True)
    assert (decision.retry_s, decision.pause_s) == (pause_s, pause_s)


@pytest.mark.parametrize(
    ("status", "asked_s", "wait_s"),
    [
        (429, 120.0, 120.0),
        (503, 120.0, 120.0),
        (429, 0.0, 1.0),
        (429, 1e9, LONGEST_RETRY_AFTER_S),
        (429, None, RETRY_AFTER_S[0]),
        (500, 120.0, RETRY_AFTER_S[0]),
    ],
)
def test_retry_after_is_heeded_within_bounds(status: int, asked_s: float | None, wait_s: float) -> None:
    decision = judge(Answer(status, retry_after_s=asked_s), 1, 1, DAYS_S, MIDDLE)
    assert decision.retry_s == wait_s
    assert decision.pause_s == (wait_s if asked_s is not None and status in (429, 503) else 0.0)


@given(
    st.integers(0, 599),
    st.integers(1, 1_000),
    st.integers(1, 1_000),
    st.floats(0, DAYS_S),
    st.floats(0, 1, exclude_max=True),
    st.none() | st.floats(0, 1e12),
    st.booleans(),
)
def test_waits_are_bounded_and_never_beyond_the_end(
    status: int, attempts: int, failures: int, left_s: float, jitter: float, asked_s: float | None, is_ordered: bool
) -> None:
    decision = judge(Answer(status, retry_after_s=asked_s), attempts, failures, left_s, jitter, is_ordered=is_ordered)
    assert 0 <= decision.pause_s <= max(PAUSE_AFTER_S[-1] * (1 + JITTER), LONGEST_RETRY_AFTER_S)
    if decision.verdict is Verdict.RETRY:
        assert 1 <= decision.retry_s < left_s
        assert decision.retry_s <= RETRY_AFTER_S[-1] * (1 + JITTER)
    else:
        assert decision.retry_s == 0
