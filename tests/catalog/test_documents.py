"""The generated documents: whole, consistent with themselves and with the streams."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from engine.feed.teletracker import ACCOUNT_EVENTS, Sse
from engine.feed.trunx import Trunx
from engine.rules import event_documents
from engine.rules.event_catalog import EVENTS
from engine.rules.event_documents import SocketReplay, TeletrackerEvent, TrunxEvent
from tests.api.conftest import api, plain_logs, serve
from tests.api.harness import Api
from tests.realtime.conftest import told

__all__ = ["api", "plain_logs", "serve"]

ASYNCAPI = event_documents.asyncapi("0.1.0", "example.com", is_secure=True)
CATALOG = event_documents.catalog()
STREAMS = {"/api/events", "/api/v1/sms/stream", "/api/realtime/events", "/api/realtime"}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolve(document: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        document = document[part]
    return document


@pytest.mark.parametrize("document", [ASYNCAPI, CATALOG], ids=["asyncapi", "catalog"])
def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    found = set(references(document))
    for ref in found:
        assert ref.startswith("#/")
        assert resolve(document, ref)
    schemas = document.get("schemas") or document["components"]["schemas"]
    assert {ref.rpartition("/")[2] for ref in found} >= schemas.keys()
    assert orjson.loads(orjson.dumps(document)) == document  # plain JSON


def test_the_form_of_the_asyncapi_document() -> None:
    """What its specification requires of the parts that we use."""
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    assert all({"host", "protocol"} <= server.keys() for server in ASYNCAPI["servers"].values())
    assert {channel["address"] for channel in ASYNCAPI["channels"].values()} == STREAMS
    for operation in ASYNCAPI["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = resolve(ASYNCAPI, operation["channel"]["$ref"])
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"])
            assert message["$ref"].rpartition("/")[2] in channel["messages"]
    for kind in ASYNCAPI["components"].values():
        assert all(re.fullmatch(r"[a-zA-Z0-9.\-_]+", name) for name in kind)
    for message in ASYNCAPI["components"]["messages"].values():
        assert {"name", "payload", "examples"} <= message.keys()


def test_messages_are_those_of_the_catalog() -> None:
    names = ASYNCAPI["components"]["messages"].keys()
    listed = CATALOG["events"]
    assert len(listed) == len(EVENTS)
    for event in listed:
        dialects = event["dialects"]
        wanted = [f"teletracker.{topic}" for topic in dialects["teletracker"]]
        wanted += [f"{name}.{dialects[name]}" for name in ("trunx", "revdesk") if dialects[name]]
        assert wanted
        assert set(wanted) <= names


def test_what_streams_tell_of_themselves_is_what_they_send() -> None:
    sent = {
        "replay.truncated": orjson.loads(data_of(Sse.truncated(17, 1001, 2000))),
        "replay.reset": orjson.loads(data_of(Sse.reset("9999", 2000))),
    }
    listed = {each["type"]: each["example"] for each in CATALOG["streamEvents"]}
    assert listed.keys() == {"replay.truncated", "replay.reset", "connected"}
    assert {name: listed[name] for name in sent} == sent
    for name, channel in ASYNCAPI["channels"].items():
        wanted = {"socket.replay"} if name == "realtime" else {f"stream.{name}" for name in sent}
        assert wanted <= channel["messages"].keys()
    for line in (ACCOUNT_EVENTS.truncated(17, 1001, 2000), ACCOUNT_EVENTS.reset("9999", 2000)):
        SocketReplay.model_validate_json(line)


def test_clients_may_meet_fields_of_a_later_version() -> None:
    assert b'additionalProperties":false' not in orjson.dumps([ASYNCAPI, CATALOG])


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_the_dialects_send_what_their_envelopes_say(event: Any) -> None:
    """Each example through each dialect: named as the catalog says, and in the form that the document describes."""
    line = told(event.name, **event.example).encode()
    trunx, topic, socket = (dialect.encode(1, 7, line) for dialect in (Trunx, Sse, ACCOUNT_EVENTS))
    assert trunx.name == (event.channel or "")
    if event.channel:
        sent = TrunxEvent.model_validate_json(data_of(trunx.frame))
        assert (sent.event_type, sent.payload) == (event.name, event.example)
    assert topic.name == socket.name
    if event.topics:
        assert topic.name == event.topics[0]
        assert TeletrackerEvent.model_validate_json(data_of(topic.frame)).data == event.example
        assert TeletrackerEvent.model_validate_json(socket.frame).type == "accountevent"
    else:
        assert (topic.frame, socket.frame) == (b"", b"")


def data_of(frame: bytes) -> bytes:
    return frame.partition(b"data: ")[2]


@pytest.mark.parametrize("prefix", ["/api", ""])
async def test_both_are_public(api: Api, prefix: str) -> None:
    for name, key in (("catalog", "events"), ("asyncapi.json", "channels")):
        async with api.session.get(f"{api.url}{prefix}/events/{name}") as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            document = await answer.json()
            assert document[key]
    assert document["servers"]["http"] == {
        "host": "127.0.0.1:8000",
        "protocol": "http",
        "description": "Server-sent events",
    }
