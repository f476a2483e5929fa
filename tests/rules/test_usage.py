"""What is billed."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.telephony import Channel
from engine.rules.usage import METERS, billed, day_of, meter_of, months


@pytest.mark.parametrize(
    ("channel", "carrier_id", "segments", "duration_s", "quantity"),
    [
        (Channel.SMS, None, 3, None, 0),  # the carrier has not taken it
        (Channel.SMS, "SM1", 3, None, 3),
        (Channel.SMS, "SM1", None, None, 0),
        (Channel.VOICE, "CA1", None, None, 0),  # not ended
        (Channel.VOICE, "CA1", None, 61, 61),
        (Channel.VOICE, None, None, 0, 0),
    ],
)
def test_a_text_by_its_parts_a_call_by_its_seconds(
    channel: Channel, carrier_id: str | None, segments: int | None, duration_s: int | None, quantity: int
) -> None:
    assert billed(channel, carrier_id, segments, duration_s) == quantity


def test_each_contact_has_one_of_the_meters() -> None:
    assert meter_of(Channel.SMS) == meter_of(Channel.SMS, is_ai=True) == "sms.send"
    assert [meter_of(Channel.VOICE), meter_of(Channel.VOICE, is_ai=True)] == ["voice.outbound", "voice.ai"]
    assert list(METERS) == ["sms.send", "sms.receive", "voice.outbound", "voice.inbound", "voice.ai", "did.monthly"]


def test_a_day_is_a_day_in_utc() -> None:
    assert day_of(datetime(2026, 3, 11, 20, 0, tzinfo=timezone(timedelta(hours=-7)))) == date(2026, 3, 12)
    assert day_of(datetime(2026, 3, 11, 23, 59, 59, tzinfo=UTC)) == date(2026, 3, 11)


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 900))
def test_months_are_those_that_the_days_touch(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    touched = {(first + timedelta(days=n)).replace(day=1) for n in range(days + 1)}
    assert list(months(first, last)) == sorted(touched)
