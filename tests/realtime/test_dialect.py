"""The Teletracker dialect: what one canonical event becomes, for whom."""

import orjson
import pytest

from engine.feed.dialect import Dialect, Encoded
from engine.feed.teletracker import ACCOUNT_EVENTS, USER_EVENTS, Sse, Topics
from engine.rules.events import Owner
from engine.rules.topics import ALL
from tests.feed.conftest import parse
from tests.realtime.conftest import told

ANN = Owner("line_1", "user_1", "team_1")
BOB = Owner("line_2", "user_2", "team_1")
TEAM_LINE = Owner("line_3", "", "team_1")
SHARED_LINE = Owner("line_4")


def test_an_event_as_a_frame() -> None:
    encoded = Sse.encode(1, 7, told("sms.received", ANN, message="Hi\r\n\0 ").encode())
    assert (encoded.seq, encoded.name, encoded.owner) == (7, "messaging.incoming.sms", ANN)
    assert parse(encoded.frame) == [
        (
            "messaging.incoming.sms",
            7,
            {
                "category": "messaging",
                "subCategory": "incoming",
                "eventName": "sms",
                "eventTimestamp": "2026-03-11T18:00:00.123Z",
                "trackingId": "call-1",
                "uniqueId": "leg-1",
                "lineId": "line_1",
                "userId": "user_1",
                "teamId": "team_1",
                "data": {"message": "Hi\r\n\0 "},
            },
        )
    ]


@pytest.mark.parametrize(("dialect", "kind"), [(USER_EVENTS, "userevent"), (ACCOUNT_EVENTS, "accountevent")])
def test_an_event_as_one_line_of_json(dialect: Dialect, kind: str) -> None:
    encoded = dialect.encode(1, 7, told("voice.inbound", SHARED_LINE, text="a\nb\u2028").encode())
    assert encoded.frame.count(b"\n") == 1
    assert encoded.frame.endswith(b"\n")
    message = orjson.loads(encoded.frame)
    assert (message["type"], message["id"], message["lineId"]) == (kind, 7, "line_4")
    assert "userId" not in message
    assert message["data"] == {"text": "a\nb\u2028"}


@pytest.mark.parametrize("dialect", [Sse, USER_EVENTS, ACCOUNT_EVENTS])
def test_what_has_no_topic_is_dropped(dialect: Dialect) -> None:
    assert dialect.encode(1, 7, told("campaign.stats.updated").encode()) == Encoded(7, "", b"")
    assert dialect.encode(1, 7, told("voice.failed", started=False).encode()) == Encoded(7, "", b"")


@pytest.mark.parametrize("dialect", [Sse, USER_EVENTS])
@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"type":"sms.sent"}', b'{"type":[],"payload":{}}'])
def test_what_is_no_event_is_refused(dialect: Dialect, line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        dialect.encode(1, 7, line)


def test_a_socket_is_told_of_gaps_too() -> None:
    truncated, reset = orjson.loads(USER_EVENTS.truncated(3, 9, 20)), orjson.loads(USER_EVENTS.reset("x" * 100, 20))
    assert truncated == {
        "type": "userevent",
        "id": 8,
        "category": "replay",
        "eventName": "truncated",
        "data": {"requested": 3, "oldest": 9, "newest": 20},
    }
    assert (reset["eventName"], reset["id"], reset["data"]["requested"]) == ("reset", 20, "x" * 64)


@pytest.mark.parametrize(
    ("wish", "heard"),
    [
        (Topics(), {ANN, BOB, TEAM_LINE, SHARED_LINE, None}),
        (Topics(user="user_1"), {ANN}),
        (Topics(user="user_1", team="team_1"), {ANN, TEAM_LINE}),
        (Topics(team="team_1"), {ANN, BOB, TEAM_LINE}),
        (Topics(user="user_3"), set()),
        (Topics(team="team_2"), set()),
        (Topics(frozenset({"voice.incoming.start"})), set()),
    ],
)
def test_whose_events_are_heard(wish: Topics, heard: set[Owner | None]) -> None:
    events = {
        owner: Encoded(1, "messaging.incoming.sms", b"x", owner) for owner in (ANN, BOB, TEAM_LINE, SHARED_LINE, None)
    }
    assert {owner for owner, event in events.items() if wish.wants(event)} == heard


def test_equal_wishes_share_their_work() -> None:
    assert Topics(user="user_1") == Topics(frozenset(ALL), user="user_1")
    assert len({Topics(), Topics(ALL), Topics(team="team_1")}) == 2
