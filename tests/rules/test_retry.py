from datetime import UTC, datetime, timedelta

import pytest

from engine.rules.retry import NO_RETRY, RetryRule, next_attempt

NOW = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
TWICE = RetryRule(max_retries=2, delay_s=14_400)
LATER = NOW + timedelta(hours=4)


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
        *[(TWICE, name, 1, True, None) for name in ("human", "voicemail", "delivered", "abandoned", "unknown", "")],
    ],
)
def test_next_attempt(
    rule: RetryRule, outcome: str, attempt_no: int, retryable: bool, expected: datetime | None
) -> None:
    assert next_attempt(rule, outcome, attempt_no, NOW, retryable) == expected
