"""What leaves on the wire, against hostile text and against reference 000."""

import orjson
import pytest

from engine.feed import frames, trunx
from engine.feed.dialect import Encoded
from engine.rules.events import CHANNELS, Event
from tests.feed.conftest import AT, event, parse

HOSTILE = "a\r\nid: 999\r\ndata: {}\n\nevent: x\0\r\u0085b\u2028c\u2029d\x1c\x0be"


@pytest.mark.parametrize("split", [bytes.splitlines, lambda data: [s.encode() for s in data.decode().splitlines()]])
def test_no_text_ends_a_frame_early(split) -> None:
    frame = frames.encode(HOSTILE, {"text": HOSTILE, HOSTILE: [HOSTILE]}, 7)
    name, identity, data, end = frame.split(b"\n")[:4]
    assert split(frame) == [name, identity, data, end]
    assert (identity, end, frame[-2:]) == (b"id: 7", b"", b"\n\n")
    assert b"\0" not in frame
    assert orjson.loads(data.removeprefix(b"data: ")) == {"text": HOSTILE, HOSTILE: [HOSTILE]}


def test_a_heartbeat_is_one_comment_line_without_a_blank_one() -> None:
    assert frames.HEARTBEAT == b": heartbeat\n"


def test_a_client_cut_after_truncated_resumes_with_the_first_event_it_has_not_seen() -> None:
    assert parse(frames.truncated(5, 100, 1099)) == [
        ("replay.truncated", 99, {"requested": 5, "oldest": 100, "newest": 1099})
    ]


def test_a_reset_repeats_little_of_what_was_asked_for() -> None:
    [(name, seq, data)] = parse(frames.reset(HOSTILE + "x" * 10_000, 12))
    assert (name, seq, data["newest"]) == ("replay.reset", 12, 12)
    assert len(str(data["requested"])) == 64


def test_the_trunx_envelope_has_the_shape_of_the_reference() -> None:
    payload = {"id": "msg_abc123", "from": "+14155559876", "to": "+14155551234", "status": "sent"}
    line = Event("sms.sent", AT, payload, "trk_1", "msg_abc123").encode().encode()
    assert trunx.Trunx.encode(123, 12345, line) == Encoded(
        12345,
        "sms",
        b"event: sms.sent\nid: 12345\n"
        b'data: {"channel":"sms","eventType":"sms.sent","payload":{"id":"msg_abc123","from":"+14155559876",'
        b'"to":"+14155551234","status":"sent"},"customerId":"cust_000000000003v",'
        b'"timestamp":"2026-03-11T18:00:00.123Z"}\n\n',
    )


@pytest.mark.parametrize("at", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000999Z", "2026-01-01T02:00:00+02:00"])
def test_timestamps_are_milliseconds_in_utc(at: str) -> None:
    envelope = trunx.envelope(1, {"type": "sms.sent", "payload": {}, "at": at})
    assert envelope["timestamp"] == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_is_spoken(channel: str) -> None:
    assert trunx.Trunx.encode(1, 1, event(f"{channel}.happened").encode()).name == channel


def test_what_the_dialect_does_not_know_keeps_only_its_number() -> None:
    assert trunx.Trunx.encode(1, 9, event("prospect.held").encode()) == Encoded(9, "", b"")
