"""The simulated carrier's command shape (as Telnyx): JSON in, JSON callbacks, actions on a live call.

Callbacks are signed with HMAC-SHA256 over `timestamp|body`, as Telnyx does with Ed25519.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from engine.carriers.freshness import is_fresh
from engine.carriers.http import Answer, CarrierHttp, HttpOptions, refused
from engine.carriers.port import (
    Ack,
    Amd,
    BadCallback,
    BadSignature,
    CallbackRequest,
    CallRef,
    CallStage,
    Capabilities,
    CarrierError,
    CarrierEvent,
    Channel,
    Command,
    CommandKind,
    EndReason,
    EventKind,
    Fault,
    HttpReply,
    Inbound,
    InboundCall,
    InboundMessage,
    Lookup,
    LookupState,
    Media,
    NumberSearch,
    Offers,
    Outcome,
    PlaceCall,
    Receipt,
    SendMessage,
    Shape,
    Ticket,
)
from engine.carriers.simulated_numbers import CommandNumbers
from engine.carriers.talk import talk_s

_EVENTS = {
    "call.ringing": EventKind.RINGING,
    "call.answered": EventKind.ANSWERED,
    "call.machine.detection.ended": EventKind.AMD,
    "call.machine.greeting.ended": EventKind.AMD,
    "call.greeting.ended": EventKind.GREETING_ENDED,
    "call.bridged": EventKind.AGENT_BRIDGED,
    "call.bridge.failed": EventKind.AGENT_FAILED,
    "call.playback.ended": EventKind.PLAYBACK_DONE,
    "call.dtmf.received": EventKind.DTMF,
    "call.hangup": EventKind.CALL_ENDED,
    "message.sent": EventKind.SMS_SENT,
    "message.finalized:delivered": EventKind.SMS_DELIVERED,
    "message.finalized:delivery_failed": EventKind.SMS_FAILED,
    "message.finalized:sending_failed": EventKind.SMS_FAILED,
}
_AMD = {
    "human": Amd.HUMAN,
    "human_residence": Amd.HUMAN,
    "human_business": Amd.HUMAN,
    "machine": Amd.MACHINE,
    "beep_detected": Amd.MACHINE_READY,
    "no_beep_detected": Amd.MACHINE_READY,
    "fax_detected": Amd.FAX,
    "silence": Amd.SILENCE,
    "screening": Amd.SCREENING,
    "not_sure": Amd.UNKNOWN,
}
_END = {
    "normal_clearing": EndReason.COMPLETED,
    "time_limit": EndReason.COMPLETED,
    "user_busy": EndReason.BUSY,
    "no_answer": EndReason.NO_ANSWER,
    "timeout": EndReason.NO_ANSWER,
    "call_rejected": EndReason.REJECTED,
    "not_found": EndReason.INVALID_NUMBER,
    "originator_cancel": EndReason.CANCELED,
    "network_blocked": EndReason.BLOCKED,  # SIP 603+
    "expired": EndReason.EXPIRED,
    "unspecified": EndReason.FAILED,
}
_FAULTS = {  # code → (fault, retryable)
    "10001": (Fault.SENDER_CONFIG, False),
    "10002": (Fault.INVALID_NUMBER, False),
    "10009": (Fault.AUTH, False),
    "10011": (Fault.RATE_LIMITED, True),
    "10015": (Fault.BAD_REQUEST, False),  # the number is not on offer
    "40001": (Fault.UNREACHABLE, False),  # a landline
    "40002": (Fault.BLOCKED, False),
    "40004": (Fault.TRANSIENT, True),
    "40014": (Fault.TRANSIENT, True),  # expired in the carrier's queue
    "40300": (Fault.OPTED_OUT, False),
}
_STAGES = {  # of a call that comes in
    "call.initiated": CallStage.STARTED,
    "call.answered": CallStage.ANSWERED,
    "call.hangup": CallStage.ENDED,
}
_GONE = "90018"  # the call has ended: there is nothing left to command
_ACTIONS = {
    CommandKind.HANDOFF: "handoff",
    CommandKind.DETACH: "detach",
    CommandKind.PLAY: "playback_start",
    CommandKind.HANGUP: "hangup",
}
_PATHS = {Channel.VOICE: "/command/v2/calls", Channel.SMS: "/command/v2/messages"}
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)  # what a body of the wrong form raises

TIMESTAMP_HEADER, SIGNATURE_HEADER = "x-sim-timestamp", "x-sim-signature"


def signature(signing_secret: str, timestamp: str, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256 over `timestamp|body`."""
    return hmac.digest(signing_secret.encode(), timestamp.encode() + b"|" + body, hashlib.sha256).hex()


class SimulatedCommand:
    """Account settings: `base_url`, `account_id`, `secret` (bearer token), `signing_secret`."""

    name = "simulated-command"
    caps = Capabilities(
        channels=frozenset(Channel),
        shape=Shape.COMMAND,
        authoritative_lookup=True,
        is_simulated=True,
        most_segments=24,  # 1,600 characters in UCS-2
        most_media=10,
        sells_numbers=True,
    )

    def __init__(self, settings: Mapping[str, str], http: HttpOptions) -> None:
        self._account_id = settings["account_id"]
        self._signing_secret = settings["signing_secret"]
        self._http = CarrierHttp(settings["base_url"], {"Authorization": f"Bearer {settings['secret']}"}, http)
        self._numbers = CommandNumbers(self._http, _FAULTS)

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        body = {
            "connection_id": self._account_id,
            "to": call.to,
            "from": call.from_,
            "timeout_secs": call.ring_timeout_s,
            "time_limit_secs": call.max_duration_s,
            "answering_machine_detection": "premium" if call.amd else "disabled",
            **_ids(call.ref, call.callback_url),
            **_validity(call.not_after),
        }
        return await self._create(Channel.VOICE, body, ticket)

    async def send_message(self, message: SendMessage, ticket: Ticket) -> Receipt:
        body: dict[str, object] = {
            "to": message.to,
            "from": message.from_,
            "text": message.text,
            **_ids(message.ref, message.callback_url),
            **_validity(message.not_after),
        }
        if message.media_urls:
            body |= {"type": "MMS", "media_urls": list(message.media_urls)}
        return await self._create(Channel.SMS, body, ticket)

    async def command(self, call: CallRef, command: Command) -> Ack:
        action = _ACTIONS.get(command.kind)
        if action is None:
            return Ack(ok=True)  # WAIT: a command carrier keeps the line by itself
        path = f"{_PATHS[Channel.VOICE]}/{quote(call.carrier_id, safe='')}/actions/{action}"
        answer = await self._http.request("POST", path, json=_action(call.ref, command))
        if answer.ok:
            return Ack(ok=True)
        code, text = _error(answer)
        fault, retryable = _FAULTS.get(code, (Fault.UNKNOWN, answer.status not in range(400, 500)))
        return Ack(ok=False, gone=code == _GONE, error=CarrierError(fault, code, text, retryable))

    async def lookup(self, ref: str, channel: Channel) -> Lookup:
        answer = await self._http.request("GET", f"/command/v2/lookup?ref={quote(ref, safe='')}&channel={channel}")
        if answer.status == 404 and answer.json().get("absent") is True:  # a proxy's bare 404 proves nothing
            return Lookup(LookupState.ABSENT)
        try:
            data = answer.json()["data"]
            events = tuple(_event(envelope) for envelope in data["events"])
            return Lookup(LookupState.FOUND, str(data["id"]), events)
        except _UNREADABLE:
            return Lookup(LookupState.STILL_UNKNOWN)

    def read(self, request: CallbackRequest, now_s: float) -> tuple[CarrierEvent | Inbound, ...]:
        timestamp = request.headers.get(TIMESTAMP_HEADER, "")
        expected = signature(self._signing_secret, timestamp, request.body)
        if not hmac.compare_digest(expected.encode(), request.headers.get(SIGNATURE_HEADER, "").encode()):
            raise BadSignature("the signature does not match")
        if not is_fresh(timestamp, now_s):
            raise BadSignature("the signature is too old")
        try:
            return (_read(orjson.loads(request.body)),)
        except _UNREADABLE as error:
            raise BadCallback(f"unreadable callback: {error!r}") from error

    def reply(self, request: CallbackRequest, plan: Command | None) -> HttpReply:  # noqa: ARG002 - nothing to render
        return HttpReply(200)

    async def search_numbers(self, wanted: NumberSearch) -> Offers:
        return await self._numbers.search(wanted)

    async def buy_number(self, number: str, ref: str) -> Receipt:
        return await self._numbers.buy(number, ref)

    async def release_number(self, number: str, carrier_id: str, ref: str) -> Receipt:
        return await self._numbers.release(carrier_id or number, ref)

    async def close(self) -> None:
        await self._http.close()

    async def _create(self, channel: Channel, body: Mapping[str, object], ticket: Ticket) -> Receipt:
        answer = await self._http.create(_PATHS[channel], ticket, json=body)
        if isinstance(answer, Receipt):
            return answer
        if not answer.ok:
            return refused(answer, *_error(answer), _FAULTS)
        data = answer.json().get("data")
        carrier_id = data.get("call_control_id") or data.get("id") if isinstance(data, dict) else None
        if not isinstance(carrier_id, str):
            return Receipt(Outcome.UNKNOWN, error=CarrierError(Fault.UNKNOWN, "no_id", "a 2xx answer without an id"))
        return Receipt(Outcome.ACCEPTED, carrier_id)


def _validity(not_after: datetime | None) -> dict[str, str]:
    return {"valid_until": not_after.isoformat()} if not_after else {}


def _ids(ref: str, callback_url: str) -> dict[str, str]:
    """Our id in every slot that the carrier echoes, and in the URL, which is signed with the callback."""
    separator = "&" if "?" in callback_url else "?"
    return {
        "client_state": base64.b64encode(ref.encode()).decode(),
        "command_id": ref,
        "webhook_url": f"{callback_url}{separator}att={quote(ref, safe='')}",
    }


def _action(ref: str, command: Command) -> dict[str, object]:
    body: dict[str, object] = {"command_id": f"{ref}:{command.number}"}
    if command.kind is CommandKind.PLAY:
        body |= {"audio_url": command.audio_url, "text": command.text, "then_hangup": command.then_hangup}
    if command.agent is not None:
        agent = command.agent
        body["agent"] = {
            "kind": agent.kind,
            "address": agent.address,
            "params": {**agent.params, "ref": ref, "token": agent.token},
        }
    return body


def _error(answer: Answer) -> tuple[str, str]:
    errors = answer.json().get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    return str(first.get("code", "")), str(first.get("title", "")) or answer.text


def _read(envelope: Any) -> CarrierEvent | Inbound:
    data = envelope["data"]
    if data["event_type"] == "message.received":
        return _message(envelope, data, data["payload"])
    if data["event_type"] in _STAGES and data["payload"].get("direction") == "incoming":
        return _incoming_call(envelope, data, data["payload"])
    return _event(envelope)


def _message(envelope: Any, data: Any, payload: Any) -> InboundMessage:
    return InboundMessage(
        key=str(data["id"]),
        carrier_id=str(payload["id"]),
        from_=str(payload["from"]["phone_number"]),
        to=str(payload["to"][0]["phone_number"]),
        text=str(payload["text"]),
        occurred_at=datetime.fromisoformat(data["occurred_at"]),
        media=tuple(Media(str(each["url"]), str(each["content_type"])) for each in payload.get("media", ())),
        raw=envelope,
    )


def _incoming_call(envelope: Any, data: Any, payload: Any) -> InboundCall:
    stage = _STAGES[data["event_type"]]
    return InboundCall(
        key=str(data["id"]),
        carrier_id=str(payload["call_control_id"]),
        from_=str(payload["from"]),
        to=str(payload["to"]),
        stage=stage,
        occurred_at=datetime.fromisoformat(data["occurred_at"]),
        duration_s=talk_s(payload["duration_secs"]) if stage is CallStage.ENDED else None,
        raw=envelope,
    )


def _event(envelope: Any) -> CarrierEvent:
    """One envelope, from a callback or a look-up. Raises one of `_UNREADABLE` when it is none."""
    data = envelope["data"]
    payload = data["payload"]
    kind = _kind(str(data["event_type"]), payload)
    code = payload.get("error_code")
    return CarrierEvent(
        kind=kind,
        key=str(data["id"]),
        ref=base64.b64decode(payload["client_state"], validate=True).decode(),
        carrier_id=str(payload["call_control_id"] if "call_control_id" in payload else payload["id"]),
        occurred_at=datetime.fromisoformat(data["occurred_at"]),
        amd=_AMD[payload["result"]] if kind is EventKind.AMD else None,
        end=_END.get(payload.get("hangup_cause"), EndReason.FAILED) if kind is EventKind.CALL_ENDED else None,
        error=_carrier_error(str(code), payload) if code else None,
        duration_s=talk_s(payload["duration_secs"]) if kind is EventKind.CALL_ENDED else None,
        digit=str(payload.get("digit", "")),
        raw=envelope,
    )


def _kind(event_type: str, payload: Mapping[str, object]) -> EventKind:
    name = f"{event_type}:{payload.get('status')}" if event_type == "message.finalized" else event_type
    kind = _EVENTS.get(name, EventKind.UNRECOGNISED)
    known = kind is not EventKind.AMD or payload.get("result") in _AMD
    return kind if known else EventKind.UNRECOGNISED


def _carrier_error(code: str, payload: Mapping[str, object]) -> CarrierError:
    fault, retryable = _FAULTS.get(code, (Fault.UNKNOWN, False))
    return CarrierError(fault, code, str(payload.get("error_title", "")), retryable)
