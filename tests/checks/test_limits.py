"""The arithmetic of P4's checkers, against the slow and obvious count of every window."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.checks.evidence import Create, Evidence, read_creates
from engine.checks.limits import excess_over, sms_spacing
from engine.clock import Clock
from engine.errors import InvalidInput
from engine.rules.telephony import Channel

START = datetime(2026, 3, 11, 19, tzinfo=UTC).timestamp()


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=30).map(lambda times: sorted(time / 100 for time in times)),
    st.sampled_from([0.5, 1.0, 3.0, 10.0]),
)
def test_excess_is_that_of_the_fullest_window(times: list[float], rate: float) -> None:
    slow = max(
        last - first + 1 - rate * max(1.0, times[last] - times[first]) - 1
        for first in range(len(times))
        for last in range(first, len(times))
    )
    assert excess_over(times, rate, 0.0) == pytest.approx(slow)


def test_a_steady_rate_is_within_its_limit() -> None:
    times = [n / 10 for n in range(1000)]
    assert excess_over(times, 10.0, 0.0) <= 1e-9
    assert excess_over(times, 9.0, 0.0) > 0


def test_calls_that_a_busy_carrier_read_late_are_no_burst() -> None:
    """Twenty calls at ten a second, all of which were read together when the carrier had time again."""
    times, waited = [2.0] * 20 + [2.1 + n / 10 for n in range(20)], [2.0 - n / 10 for n in range(20)] + [0.0] * 20
    assert excess_over(times, 10.0, 0.0) > 5
    assert excess_over(times, 10.0, 0.0, waited) <= 1e-9


def test_a_burst_elsewhere_is_seen_all_the_same() -> None:
    times, lags = [0.0] + [5 + n / 100 for n in range(40)] + [9.0], [1.5] + [0.0] * 40 + [1.5]
    assert excess_over(times, 10.0, 0.0, lags) == pytest.approx(40 - 10 - 1)


def _evidence(*seconds: float, speed: float = 1.0) -> Evidence:
    clock = Clock(START, START, speed)
    creates = tuple(
        Create("r", START + second / speed, True, "+14155550101", "+14155550102", Channel.SMS) for second in seconds
    )
    return Evidence(cast(AsyncEngine, None), clock, creates)


@pytest.mark.parametrize("speed", [1.0, 600.0])
async def test_messages_at_the_gap(speed: float) -> None:
    assert await sms_spacing(_evidence(0, 900, 1800, 2700, 3600, speed=speed)) == []


async def test_two_messages_too_close() -> None:
    assert await sms_spacing(_evidence(0, 900, 1795)) == ["+14155550101: two messages only 895.0 s apart"]


async def test_a_fifth_message_within_the_hour() -> None:
    evidence = replace(_evidence(0, 880, 1760, 2640, 3520), sms_gap_s=870.0)
    assert await sms_spacing(evidence) == ["+14155550101: 5 messages within 3520.0 s"]


async def test_each_number_has_its_own_gap_and_calls_have_none() -> None:
    evidence = _evidence(0, 100)
    assert evidence.creates is not None
    first, second = evidence.creates
    assert await sms_spacing(replace(evidence, creates=(first, replace(second, from_="+14155550103")))) == []
    assert await sms_spacing(replace(evidence, creates=(first, replace(second, channel=Channel.VOICE)))) == []


def test_a_log_is_read_up_to_a_line_cut_off(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "log"
    line = b'{"type":"create","at":1.5,"ref":"r","accepted":true,"from":"+1","to":"+2","channel":"sms","more":1}\n'
    path.write_bytes(b'{"type":"end","at":1}\n' + line + line[:20])
    assert read_creates(path) == (Create("r", 1.5, True, "+1", "+2", Channel.SMS),)
    path.write_bytes(b"hello\n")
    with pytest.raises(InvalidInput, match="not a carrier's log"):
        read_creates(path)
