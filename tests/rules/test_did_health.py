"""The score: its factors, its cut-offs, and what an attempt says of its number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.did_health import (
    JUDGED_FROM,
    TEXTS,
    WEIGHTS,
    WINDOW,
    Band,
    Call,
    Kind,
    Texts,
    band,
    combine,
    count,
    decode,
    encode,
    sms,
    verdict,
    voice,
)
from engine.rules.did_outcome import kind_of
from engine.rules.prospect import Outcome
from engine.rules.telephony import Channel, Fault

K = Kind
PERSON, MACHINE, SILENT = Call(K.PERSON, 60), Call(K.MACHINE, 20), Call(K.NO_ANSWER)
ORDINARY = [PERSON, MACHINE, SILENT, MACHINE, Call(K.BUSY)] * 10

CALLS = st.builds(Call, st.sampled_from([k for k in K if k not in TEXTS]), st.integers(0, 4_000))
FACTORS = st.fixed_dictionaries({name: st.floats(0, 1) for name in WEIGHTS})


def test_weights_are_those_of_the_public_formula() -> None:
    assert list(WEIGHTS.values()) == [0.30, 0.25, 0.20, 0.15, 0.10]
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("calls", "factors", "score"),
    [
        (ORDINARY, (1, 1, 1, 1, 1), 1.0),
        ([SILENT] * 50, (0, 0, 0, 1, 1), 0.25),
        ([SILENT] * 4 + [PERSON], (0.5, 1, 1, 1, 1), 0.85),
        ([MACHINE] * 50, (1, 20 / 30, 0, 1, 1), 0.717),
        ([Call(K.PERSON, 3)] * 50, (1, 0.1, 0, 1, 1), 0.575),  # who sees the number hangs up
        ([PERSON] * 25 + [SILENT] * 25, (1, 1, 1, 0, 1), 0.85),  # all at once nobody answers
        ([SILENT] * 25 + [PERSON] * 25, (1, 1, 1, 1, 1), 1.0),  # a fall is no fault
        ([PERSON] * 49 + [Call(K.BLOCKED)], (1, 1, 1, 1, 0.6), 0.96),
        ([PERSON] * 95 + [Call(K.BLOCKED)] * 5, (1, 1, 1, 1, 0), 0.9),  # only the last fifty count
        ([PERSON], (1, 1, 1, 1, 1), 1.0),
    ],
)
def test_factors_and_score(calls: list[Call], factors: tuple[float, ...], score: float) -> None:
    health = voice(calls)
    assert health.factors is not None
    assert tuple(health.factors.values()) == pytest.approx(factors, abs=1e-6)
    assert health.score == pytest.approx(score, abs=0.001)
    assert health.calls == min(len(calls), WINDOW)


def test_a_label_takes_the_marks_for_being_clean() -> None:
    assert voice(ORDINARY, is_labelled=True).score == 0.9
    assert voice([]).score is None


@given(st.lists(CALLS, min_size=1, max_size=120), st.booleans())
def test_a_score_is_a_share(calls: list[Call], labelled: bool) -> None:
    health = voice(calls, is_labelled=labelled)
    assert health.score is not None
    assert health.factors is not None
    assert 0 <= health.score <= 1
    assert all(0 <= factor <= 1 for factor in health.factors.values())
    assert voice(calls[-WINDOW:], is_labelled=labelled) == health
    assert [decode(encode(*call)) for call in calls] == calls


@given(FACTORS, st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1))
def test_a_higher_factor_never_lowers_the_score(factors: dict[str, float], name: str, value: float) -> None:
    low, high = sorted((factors[name], value))
    assert combine(factors | {name: low}) <= combine(factors | {name: high})


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (None, "healthy"),
        (1, "healthy"),
        (0.8, "healthy"),
        (0.799, "reduced"),
        (0.7, "reduced"),
        (0.699, "tired"),
        (0.5, "tired"),
        (0.499, "burned"),
        (0, "burned"),
    ],
)
def test_cut_offs(score: float | None, expected: str) -> None:
    assert band(score) == expected


@pytest.mark.parametrize(
    ("score", "calls", "fresh", "expected"),
    [
        (0.6, 50, JUDGED_FROM, Band.TIRED),
        (0.6, 50, JUDGED_FROM - 1, Band.REDUCED),  # fresh from a rest: the old calls are not held against it again
        (0.4, 49, 49, Band.TIRED),  # a bad morning
        (0.4, 50, 20, Band.BURNED),
        (0.4, 50, 5, Band.REDUCED),
        (0.75, 50, 0, Band.REDUCED),
        (0.9, 50, 50, Band.HEALTHY),
    ],
)
def test_a_verdict_needs_calls(score: float, calls: int, fresh: int, expected: Band) -> None:
    assert verdict(score, calls, fresh) is expected


GOOD_POOL = Texts(1_000, 970)


@pytest.mark.parametrize(
    ("texts", "pool", "expected"),
    [
        (Texts(), GOOD_POOL, None),
        (Texts(100, 97), GOOD_POOL, 1.0),
        (Texts(1, 0, 0, 0, 1), GOOD_POOL, 0.97),  # one bad text condemns nobody
        (Texts(100, 95, 3), GOOD_POOL, 0.65),  # a fiftieth filtered is the end of that part
        (Texts(100, 40, 3, 5, 20), GOOD_POOL, 0.0),
        (Texts(100, 97, 0, 3, 0), GOOD_POOL, 0.9),
    ],
)
def test_sms_score(texts: Texts, pool: Texts, expected: float | None) -> None:
    assert sms(texts, pool) == (expected if expected is None else pytest.approx(expected, abs=0.03))


@given(st.builds(Texts, *[st.integers(0, 500)] * 5), st.builds(Texts, *[st.integers(0, 500)] * 5))
def test_an_sms_score_is_a_share(texts: Texts, pool: Texts) -> None:
    score = sms(texts, pool._replace(delivered=min(pool.delivered, pool.sent)))
    assert (score is None) == (texts.sent == 0)
    assert score is None or 0 <= score <= 1


def test_texts_are_counted() -> None:
    kinds = [K.DELIVERED, K.FILTERED, K.OPTED_OUT, K.UNDELIVERED, K.UNREACHABLE, K.PERSON]
    assert count(kinds) == Texts(5, 2, 1, 1, 1)
    assert count([*kinds, K.STOPPED]) == Texts(5, 2, 1, 2, 1)


V, T = Channel.VOICE, Channel.SMS


@pytest.mark.parametrize(
    ("channel", "outcome", "reason", "fault", "expected"),
    [
        (V, Outcome.HUMAN_CONNECTED, None, None, K.PERSON),
        (V, Outcome.ABANDONED, None, None, K.PERSON),
        (V, Outcome.VOICEMAIL, None, None, K.MACHINE),
        (V, Outcome.NO_ANSWER, "screened", None, K.NO_ANSWER),
        (V, Outcome.BUSY, None, None, K.BUSY),
        (V, Outcome.FAILED, "blocked", Fault.BLOCKED, K.BLOCKED),
        (V, Outcome.FAILED, "rejected", None, K.DECLINED),
        (V, Outcome.FAILED, "fax", None, K.MACHINE),
        (V, Outcome.FAILED, "invalid_number", Fault.INVALID_NUMBER, None),
        (V, Outcome.UNKNOWN, "no_report", None, None),
        (T, Outcome.DELIVERED, None, None, K.DELIVERED),
        (T, Outcome.FAILED, "filtered", Fault.BLOCKED, K.FILTERED),
        (T, Outcome.FAILED, "stop", Fault.OPTED_OUT, K.OPTED_OUT),
        (T, Outcome.FAILED, "landline", Fault.UNREACHABLE, K.UNREACHABLE),
        (T, Outcome.FAILED, "?", Fault.UNKNOWN, K.UNDELIVERED),
        (T, Outcome.FAILED, "later", Fault.TRANSIENT, None),
        (T, Outcome.FAILED, "config", Fault.SENDER_CONFIG, None),
        (T, Outcome.UNKNOWN, "no_report", None, K.UNDELIVERED),
    ],
)
def test_what_an_attempt_says_of_its_number(
    channel: Channel, outcome: Outcome, reason: str | None, fault: Fault | None, expected: Kind | None
) -> None:
    assert kind_of(channel, outcome, reason, fault) is expected
