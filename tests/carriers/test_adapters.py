"""What is particular to each adapter: its words, its documents, and callbacks that make no sense."""

import base64
import time
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from engine.carriers import catalog, simulated_command, simulated_document
from engine.carriers.http import HttpOptions
from engine.carriers.network import command_shape, document_shape
from engine.carriers.network.line import Connect, Hangup, Pause, Play, Say, Verb
from engine.carriers.port import (
    AgentKind,
    AgentTarget,
    BadCallback,
    CallbackRequest,
    Carrier,
    CarrierEvent,
    Command,
    CommandKind,
    EventKind,
)
from engine.errors import Misconfigured
from tests.carriers.conftest import SETTINGS

URL = "http://127.0.0.1:9/callbacks/sim?att=att-1"
NOW = "2026-03-11T18:00:00+00:00"
HOSTILE = "<&\"'>"


def build(name: str) -> Carrier:
    return catalog.build(name, {**SETTINGS, "base_url": "http://127.0.0.1:9"}, HttpOptions())


def read_json(body: bytes) -> CarrierEvent:
    timestamp = str(int(time.time()))
    signed = simulated_command.signature(SETTINGS["signing_secret"], timestamp, body)
    headers = {simulated_command.TIMESTAMP_HEADER: timestamp, simulated_command.SIGNATURE_HEADER: signed}
    (event,) = build("simulated-command").read(CallbackRequest("POST", URL, headers, body), time.time())
    return event


def read_form(form: dict[str, str], url: str = URL) -> CarrierEvent:
    signed_form = {**form, "SignedAt": str(int(time.time()))}
    signed = simulated_document.signature(SETTINGS["signing_secret"], url, signed_form)
    request = CallbackRequest(
        "POST", url, {simulated_document.SIGNATURE_HEADER: signed}, urlencode(signed_form).encode()
    )
    (event,) = build("simulated-document").read(request, time.time())
    return event


def envelope(event_type: str, **payload: object) -> dict[str, Any]:
    identity = {"call_control_id": "CA1", "client_state": base64.b64encode(b"att-1").decode()}
    data = {"event_type": event_type, "id": "CA1-1", "occurred_at": NOW, "payload": {**identity, **payload}}
    return {"data": data}


def form(**changes: str) -> dict[str, str]:
    return {"CallSid": "CA1", "SequenceNumber": "1", "Timestamp": NOW, "CallStatus": "in-progress", **changes}


@pytest.mark.parametrize(
    "event",
    [
        envelope("call.teleported"),
        envelope("call.machine.detection.ended", result="parrot"),
        envelope("message.finalized", status="delivery_unconfirmed"),
    ],
)
def test_a_word_that_the_command_shape_does_not_know_is_kept(event: dict[str, Any]) -> None:
    read = read_json(orjson.dumps(event))
    assert (read.kind, read.ref, read.raw) == (EventKind.UNRECOGNISED, "att-1", event)


@pytest.mark.parametrize(
    "changes",
    [{"CallbackEvent": "teleported"}, {"CallbackEvent": "amd", "AnsweredBy": "parrot"}, {"MessageStatus": "read"}],
)
def test_a_word_that_the_document_shape_does_not_know_is_kept(changes: dict[str, str]) -> None:
    read = read_form(form(**changes))
    assert (read.kind, read.ref) == (EventKind.UNRECOGNISED, "att-1")
    assert changes.items() <= read.raw.items()


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"data":{"payload":[]}}', b'{"data":{"payload":"x"}}'])
def test_a_signed_body_that_is_no_event_is_a_bad_callback(body: bytes) -> None:
    with pytest.raises(BadCallback):
        read_json(body)


def test_a_signed_client_state_that_is_not_ours_is_a_bad_callback() -> None:
    with pytest.raises(BadCallback):
        read_json(orjson.dumps(envelope("call.answered", client_state="%%%")))


def test_a_signed_form_without_its_fields_or_our_ref_is_a_bad_callback() -> None:
    for broken, url in ((form(Timestamp="soon"), URL), ({}, URL), (form(), URL.partition("?")[0])):
        with pytest.raises(BadCallback):
            read_form(broken, url)


def test_dtmf() -> None:
    assert read_json(orjson.dumps(envelope("call.dtmf.received", digit="5"))).digit == "5"
    assert read_form(form(CallbackEvent="dtmf", Digits="5")).digit == "5"


@pytest.mark.parametrize(
    ("reported", "known"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, None), (-1, None), (10**30, None)]
)
def test_a_duration_that_no_row_can_hold_is_no_duration(reported: int, known: int | None) -> None:
    """One such callback kept all that were settled together with it from being written."""
    ended = envelope("call.hangup", duration_secs=str(reported))
    assert read_json(orjson.dumps(ended)).duration_s == known
    assert read_form(form(CallbackEvent="completed", CallDuration=str(reported))).duration_s == known
    ended["data"]["payload"] |= {"direction": "incoming", "from": "+12125550101", "to": "+12135550100"}
    assert read_json(orjson.dumps(ended)).duration_s == known
    incoming = form(CallStatus="completed", CallDuration=str(reported), Direction="inbound", From="1", To="2")
    assert read_form(incoming).duration_s == known


def test_every_word_of_the_network_is_known_to_the_adapters() -> None:
    kinds = set(command_shape._EVENT_TYPES.values()) - {"message.finalized"}
    assert kinds | {"call.machine.greeting.ended"} <= simulated_command._EVENTS.keys()
    assert set(command_shape._VERDICTS.values()) <= simulated_command._AMD.keys()
    assert set(command_shape._SMS_CODES.values()) <= simulated_command._FAULTS.keys()
    assert {event for event, _ in document_shape._EVENTS.values()} <= simulated_document._EVENTS.keys()
    assert set(document_shape._VERDICTS.values()) <= simulated_document._AMD.keys()
    assert {status for status, _ in document_shape._ENDS.values()} <= simulated_document._END.keys()
    assert document_shape._ENDS.keys() == simulated_command._END.keys() - {"timeout", "call_rejected"}


def _agent(kind: AgentKind, address: str) -> Command:
    return Command(CommandKind.HANDOFF, 1, agent=AgentTarget(kind, address, {"k": HOSTILE}, "tok"))


PARAMS = {"k": HOSTILE, "token": "tok"}


@pytest.mark.parametrize(
    ("command", "verbs"),
    [
        (_agent(AgentKind.WS_MEDIA, "ws://a/m?x=1&y=2"), [Connect(AgentKind.WS_MEDIA, "ws://a/m?x=1&y=2", PARAMS)]),
        (_agent(AgentKind.WS_TEXT, "wss://a/t"), [Connect(AgentKind.WS_TEXT, "wss://a/t", PARAMS)]),
        (_agent(AgentKind.NATIVE, "bot-1"), [Connect(AgentKind.NATIVE, "bot-1", PARAMS)]),
        (_agent(AgentKind.SIP, "sip:a@b;x=<1>"), [Connect(AgentKind.SIP, "sip:a@b;x=<1>", {})]),
        (_agent(AgentKind.NUMBER, "+12125550101"), [Connect(AgentKind.NUMBER, "+12125550101", {})]),
        (Command(CommandKind.PLAY, 1, audio_url="http://a/v?x&y"), [Play("http://a/v?x&y"), Hangup()]),
        (Command(CommandKind.PLAY, 1, audio_url="http://a/v", then_hangup=False), [Play("http://a/v"), Pause(60)]),
        (Command(CommandKind.PLAY, 1, text=HOSTILE), [Say(HOSTILE), Hangup()]),
        (Command(CommandKind.DETACH, 1), [Pause(60)]),
        (Command(CommandKind.HANGUP, 1), [Hangup()]),
    ],
)
def test_a_plan_becomes_a_document_that_says_the_same(command: Command, verbs: list[Verb]) -> None:
    reply = build("simulated-document").reply(CallbackRequest("POST", URL, {}, b""), command)
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    assert document_shape.parse(reply.body) == verbs


def test_wait_keeps_a_fresh_line_open_and_does_not_disturb_a_running_one() -> None:
    carrier, wait = build("simulated-document"), Command(CommandKind.WAIT, 1)
    fresh = CallbackRequest("POST", URL, {}, b"CallbackEvent=answered")
    running = CallbackRequest("POST", URL, {}, b"CallbackEvent=amd")
    assert document_shape.parse(carrier.reply(fresh, wait).body) == [Pause(60)]
    assert carrier.reply(running, wait).body == b""


@pytest.mark.parametrize("name", catalog.CARRIERS)
async def test_every_carrier_of_the_catalog_can_be_built(name: str) -> None:
    entry = catalog.CARRIERS[name]
    settings = dict.fromkeys(entry.fields, "http://127.0.0.1:9")
    carrier = catalog.build(name, settings, HttpOptions())
    assert carrier.name == name
    await carrier.close()
    for field in entry.fields:
        with pytest.raises(Misconfigured, match=field):
            catalog.build(name, {**settings, field: ""}, HttpOptions())


def test_a_carrier_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(Misconfigured, match="simulated-command"):
        catalog.build("pigeon", {}, HttpOptions())
