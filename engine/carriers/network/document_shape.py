"""The document API: basic auth, forms, signed form callbacks, and documents that it executes."""

import base64
import hmac
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web

from engine.carriers.network import behaviour
from engine.carriers.network.call import Call
from engine.carriers.network.config import Account
from engine.carriers.network.exchange import Exchange, Refusal
from engine.carriers.network.line import Connect, Hangup, Incoming, Line, Order, Pause, Play, Report, Say, Verb
from engine.carriers.network.numbers import Inventory
from engine.carriers.port import AgentKind, Channel
from engine.carriers.simulated_document import SIGNATURE_HEADER, signature

_EVENTS = {
    "ringing": ("ringing", "ringing"),  # kind → (CallbackEvent, CallStatus)
    "answered": ("answered", "in-progress"),
    "amd": ("amd", "in-progress"),
    "greeting_ended": ("greeting-ended", "in-progress"),
    "agent_bridged": ("agent-connected", "in-progress"),
    "agent_failed": ("agent-failed", "in-progress"),
    "playback_ended": ("playback-ended", "in-progress"),
}
_ENDS = {
    "normal_clearing": ("completed", ""),  # cause → (CallStatus, ErrorCode)
    "time_limit": ("completed", ""),
    "user_busy": ("busy", ""),
    "no_answer": ("no-answer", ""),
    "originator_cancel": ("canceled", ""),
    "expired": ("failed", "30036"),
    "not_found": ("failed", "13226"),
    "network_blocked": ("failed", "32603"),
    "unspecified": ("failed", "13224"),
}
_VERDICTS = {
    "human": "human",
    "machine": "machine_start",
    "beep": "machine_end_beep",
    "no_beep": "machine_end_silence",
    "fax": "fax",
    "unknown": "unknown",
    "silence": "silence",
    "screening": "screening",
}
_INCOMING = {"started": "ringing", "answered": "in-progress", "ended": "completed"}  # kind → CallStatus
_SMS_CODES = {"landline": "30006", "transient": "30008", "filtered": "30007", "opted_out": "21610", "expired": "30036"}
_REFUSALS = {
    "rate_limited": (429, "20429", "Too Many Requests"),
    "invalid_number": (400, "21211", "Invalid 'To' Phone Number"),
}
_AGENTS = {
    "Stream": (AgentKind.WS_MEDIA, "url"),
    "ConversationRelay": (AgentKind.WS_TEXT, "url"),
    "Assistant": (AgentKind.NATIVE, "id"),
    "Sip": (AgentKind.SIP, ""),
    "Number": (AgentKind.NUMBER, ""),
}


class DocumentWire:
    name = "document"

    def envelope(self, line: Line, report: Report) -> Mapping[str, str]:
        order = line.order
        is_call = order.channel is Channel.VOICE
        return {
            "AccountSid": line.account.id,
            "CallSid" if is_call else "MessageSid": line.id,
            "From": order.from_,
            "To": order.to,
            "SequenceNumber": str(report.seq),
            "Timestamp": datetime.fromtimestamp(report.at, UTC).isoformat(),
            **_facts(order, report),
        }

    def callback(self, line: Line, report: Report, now_s: float) -> tuple[Mapping[str, str], bytes]:
        form = {**self.envelope(line, report), "SignedAt": str(int(now_s))}
        signed = signature(line.account.signing_secret, line.order.webhook_url, form)
        headers = {"Content-Type": "application/x-www-form-urlencoded", SIGNATURE_HEADER: signed}
        return headers, urlencode(form).encode()

    def instructions(self, body: bytes) -> list[Verb] | None:
        return parse(body) if body.strip() else None


class DocumentShape:
    """The routes under `/document/Accounts/{account}`."""

    def __init__(self, exchange: Exchange, inventory: Inventory) -> None:
        self._exchange, self._wire, self._inventory = exchange, DocumentWire(), inventory

    def routes(self) -> Sequence[web.RouteDef]:
        base = "/document/Accounts/{account}"
        return [
            web.post(f"{base}/Calls.json", self.place),
            web.post(f"{base}/Messages.json", self.send),
            web.get(f"{base}/{{noun:Calls|Messages}}.json", self.look_up),
            web.post(f"{base}/Calls/{{id}}.json", self.update),
            web.get(f"{base}/AvailablePhoneNumbers.json", self.offer),
            web.post(f"{base}/IncomingPhoneNumbers.json", self.buy),
            web.delete(f"{base}/IncomingPhoneNumbers/{{id}}.json", self.release),
        ]

    async def place(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        order = Order(
            Channel.VOICE,
            **_common(form),
            amd="MachineDetection" in form,
            ring_timeout_s=float(form.get("Timeout", "60")),
            max_duration_s=float(form.get("TimeLimit", "14400")),
        )
        return await self._create(request, order)

    async def send(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        media_urls = tuple(map(str, (await request.post()).getall("MediaUrl", ())))
        order = Order(Channel.SMS, **_common(form), text=form.get("Body", ""), media_urls=media_urls)
        return await self._create(request, order)

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        account = self._authenticate(request)
        noun = request.match_info["noun"]
        channel = Channel.VOICE if noun == "Calls" else Channel.SMS
        line = self._exchange.find(account, channel, request.query.get("Ref", ""))
        found = [] if line is None else [line]
        rows = [{"sid": each.id, "events": [self._wire.envelope(each, r) for r in each.reports]} for each in found]
        return _reply({noun.lower(): rows})

    async def update(self, request: web.Request) -> web.StreamResponse:
        account, form = self._authenticate(request), await _form(request)
        call = self._exchange.call(request.match_info["id"])
        if call is None or call.account.id != account.id:
            return _error(400, "21220", "Call is not in-progress")
        order, number = call.order, form.get("CommandNumber", "")
        if behaviour.strikes(
            self._exchange.config, self._exchange.faults, "command_error", order.to, order.ref, number
        ):
            return _error(503, "20500", "try later")
        is_hangup, command = form.get("Status") == "completed", f"update:{number}"
        is_new = command not in call.done_commands
        fields = {"carrier_id": call.id, "action": "hangup" if is_hangup else "document", "command_id": number}
        self._exchange.journal.write("command", ref=order.ref, is_new=is_new, **fields)
        if is_new and not is_hangup and call.answered_at is None:
            return _error(400, "21221", "Call has not been answered")
        if is_new:
            call.done_commands.add(command)
            _carry_out(call, is_hangup, form)
        return _reply({"sid": call.id, "status": "in-progress"})

    async def offer(self, request: web.Request) -> web.StreamResponse:
        self._authenticate(request)
        query = request.query
        found = self._inventory.search(query["AreaCode"], query["Contains"], int(query["PageSize"]))
        return _reply({"available_phone_numbers": found})

    async def buy(self, request: web.Request) -> web.StreamResponse:
        account, form = self._authenticate(request), await _form(request)
        owned = await self._inventory.buy(account, form["PhoneNumber"], form["Ref"], request)
        if owned is None:
            return _error(400, "21422", "The number is not available")
        return _reply({"sid": owned.id, "phone_number": owned.number}, 201)

    async def release(self, request: web.Request) -> web.StreamResponse:
        account = self._authenticate(request)
        self._inventory.release(account, request.match_info["id"], request.query.get("Ref", ""))
        return web.Response(status=204)

    async def _create(self, request: web.Request, order: Order) -> web.StreamResponse:
        account = self._authenticate(request)
        line = await self._exchange.create(self._wire, account, order, request)
        if isinstance(line, Refusal):
            return _error(*_REFUSALS[line.reason])
        return _reply({"sid": line.id, "status": "queued", "to": order.to, "from": order.from_}, 201)

    def _authenticate(self, request: web.Request) -> Account:
        account = self._exchange.account(request.match_info["account"])
        if account is not None:
            expected = base64.b64encode(f"{account.id}:{account.secret}".encode())
            given = request.headers.get("Authorization", "").removeprefix("Basic ").encode()
            if hmac.compare_digest(expected, given):
                return account
        text = orjson.dumps({"code": 20003, "message": "Authenticate"}).decode()
        raise web.HTTPUnauthorized(text=text, content_type="application/json")


def parse(document: bytes) -> list[Verb]:
    """The verbs of a `<Response>`. Raises ValueError for anything that it does not understand, as a carrier would."""
    if b"<!" in document:
        raise ValueError("a document with a declaration or comment is refused")  # entities can expand without end
    try:
        root = ET.fromstring(document)
    except ET.ParseError as error:
        raise ValueError(f"not well-formed: {error}") from error
    if root.tag != "Response":
        raise ValueError(f"<Response> expected, not <{root.tag}>")
    return [_verb(element) for element in root]


def _verb(element: ET.Element) -> Verb:
    match element.tag:
        case "Play":
            return Play(element.text or "")
        case "Say":
            return Say(element.text or "")
        case "Pause":
            return Pause(float(element.get("length", "1")))
        case "Hangup":
            return Hangup()
        case "Connect" | "Dial" if len(element) == 1 and element[0].tag in _AGENTS:
            target = element[0]
            kind, attribute = _AGENTS[target.tag]
            params = {each.get("name", ""): each.get("value", "") for each in target.iter("Parameter")}
            return Connect(kind, target.get(attribute, "") if attribute else target.text or "", params)
    raise ValueError(f"unknown verb <{element.tag}>")


def _facts(order: Order, report: Report) -> dict[str, str]:
    if isinstance(order, Incoming):
        return _incoming(order, report)
    return _call_facts(report) if order.channel is Channel.VOICE else _message_facts(report)


def _incoming(order: Incoming, report: Report) -> dict[str, str]:
    if order.channel is Channel.VOICE:
        ended = {"CallDuration": str(report.duration_s)} if report.kind == "ended" else {}
        return {"Direction": "inbound", "CallStatus": _INCOMING[report.kind], **ended}
    media: dict[str, str] = {}
    for number, each in enumerate(order.media):
        media |= {f"MediaUrl{number}": each.url, f"MediaContentType{number}": each.content_type}
    return {"SmsStatus": "received", "Body": order.text, "NumMedia": str(len(order.media)), **media}


def _call_facts(report: Report) -> dict[str, str]:
    if report.kind == "hangup":
        status, code = _ENDS[report.detail]
        ended = {"CallbackEvent": "completed", "CallStatus": status, "CallDuration": str(report.duration_s)}
        return {**ended, **({"ErrorCode": code} if code else {})}
    event, status = _EVENTS[report.kind]
    facts = {"CallbackEvent": event, "CallStatus": status}
    if report.kind == "amd":
        facts["AnsweredBy"] = _VERDICTS[report.detail]
    elif report.detail:
        facts["Reason"] = report.detail
    return facts


def _message_facts(report: Report) -> dict[str, str]:
    if report.kind != "failed":
        return {"MessageStatus": report.kind}
    return {"MessageStatus": "undelivered", "ErrorCode": _SMS_CODES[report.detail], "ErrorMessage": report.detail}


def _carry_out(call: Call, is_hangup: bool, form: Mapping[str, str]) -> None:
    if is_hangup:
        call.end("originator_cancel" if call.answered_at is None else "normal_clearing")
        return
    try:
        call.perform(parse(form.get("Twiml", "").encode()), hang_up_after=True)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _common(form: Mapping[str, str]) -> dict[str, Any]:
    try:
        fields = {"ref": "Ref", "to": "To", "from_": "From", "webhook_url": "StatusCallback"}
        period = form.get("ValidityPeriod")
        until = None if period is None else time.time() + int(period)
        return {"not_after": until, **{name: form[key] for name, key in fields.items()}}
    except (KeyError, ValueError) as error:
        raise web.HTTPBadRequest(text=f"missing or wrong: {error!r}") from error


async def _form(request: web.Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.post()).items()}


def _reply(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _error(status: int, code: str, message: str) -> web.Response:
    response = _reply({"code": int(code), "message": message, "status": status}, status)
    if status == 429:
        response.headers["Retry-After"] = "1"
    return response
