"""The command API: bearer token, JSON, actions on a live call, callbacks signed over `timestamp|body`."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from engine.carriers.network import behaviour
from engine.carriers.network.call import Call
from engine.carriers.network.config import Account
from engine.carriers.network.exchange import Exchange, Refusal
from engine.carriers.network.line import Connect, Hangup, Incoming, Line, Order, Play, Report, Say, Verb
from engine.carriers.network.numbers import Inventory
from engine.carriers.port import AgentKind, Channel
from engine.carriers.simulated_command import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature

_EVENT_TYPES = {
    "ringing": "call.ringing",
    "answered": "call.answered",
    "amd": "call.machine.detection.ended",
    "greeting_ended": "call.greeting.ended",
    "agent_bridged": "call.bridged",
    "agent_failed": "call.bridge.failed",
    "playback_ended": "call.playback.ended",
    "hangup": "call.hangup",
    "sent": "message.sent",
    "delivered": "message.finalized",
    "failed": "message.finalized",
}
_VERDICTS = {
    "human": "human_residence",
    "machine": "machine",
    "beep": "beep_detected",
    "no_beep": "no_beep_detected",
    "fax": "fax_detected",
    "unknown": "not_sure",
    "silence": "silence",
    "screening": "screening",
}
_INCOMING = {
    "received": "message.received",
    "started": "call.initiated",
    "answered": "call.answered",
    "ended": "call.hangup",
}
_SMS_CODES = {"landline": "40001", "transient": "40004", "filtered": "40002", "opted_out": "40300", "expired": "40014"}
_REFUSALS = {
    "rate_limited": (429, "10011", "Too many requests"),
    "invalid_number": (422, "10002", "Invalid phone number"),
}


class CommandWire:
    name = "command"

    def envelope(self, line: Line, report: Report) -> Mapping[str, Any]:
        if isinstance(line.order, Incoming):
            event_type, payload = _INCOMING[report.kind], _incoming(line, line.order, report)
        else:
            event_type, payload = _EVENT_TYPES[report.kind], {**_identity(line), **_facts(report)}
        if report.kind == "amd" and report.detail in ("beep", "no_beep"):
            event_type = "call.machine.greeting.ended"
        occurred_at = datetime.fromtimestamp(report.at, UTC).isoformat()
        data = {"record_type": "event", "event_type": event_type, "id": f"{line.id}-{report.seq}"}
        return {"data": {**data, "occurred_at": occurred_at, "payload": payload}}

    def callback(self, line: Line, report: Report, now_s: float) -> tuple[Mapping[str, str], bytes]:
        body, timestamp = orjson.dumps(self.envelope(line, report)), str(int(now_s))
        signed = signature(line.account.signing_secret, timestamp, body)
        return {"Content-Type": "application/json", TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signed}, body

    def instructions(self, body: bytes) -> list[Verb] | None:  # noqa: ARG002 - commands come as requests
        return None


class CommandShape:
    """The routes under `/command/v2`."""

    def __init__(self, exchange: Exchange, inventory: Inventory) -> None:
        self._exchange, self._wire, self._inventory = exchange, CommandWire(), inventory

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.post("/command/v2/calls", self.place),
            web.post("/command/v2/calls/{id}/actions/{action}", self.act),
            web.post("/command/v2/messages", self.send),
            web.get("/command/v2/lookup", self.look_up),
            web.get("/command/v2/available_phone_numbers", self.offer),
            web.post("/command/v2/number_orders", self.buy),
            web.delete("/command/v2/phone_numbers/{id}", self.release),
            web.get("/reputation/v1/numbers/{number}", self.engines),
        ]

    async def place(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        order = Order(
            Channel.VOICE,
            **_common(body),
            amd=body.get("answering_machine_detection", "disabled") != "disabled",
            ring_timeout_s=float(body.get("timeout_secs", 30)),
            max_duration_s=float(body.get("time_limit_secs", 14_400)),
        )
        return await self._create(request, order)

    async def send(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        media_urls = tuple(map(str, body.get("media_urls", ())))
        order = Order(Channel.SMS, **_common(body), text=str(body.get("text", "")), media_urls=media_urls)
        return await self._create(request, order)

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        account = self._authenticate(request)
        channel = Channel(request.query.get("channel", "voice"))
        line = self._exchange.find(account, channel, request.query.get("ref", ""))
        if line is None:
            return _reply({"absent": True, "errors": [{"code": "10005", "title": "Not found"}]}, 404)
        events = [self._wire.envelope(line, report) for report in line.reports]
        return _reply({"data": {"id": line.id, "events": events}})

    async def act(self, request: web.Request) -> web.StreamResponse:
        account = self._authenticate(request)
        body, action = await _json(request), request.match_info["action"]
        call = self._exchange.call(request.match_info["id"])
        if call is None or call.account.id != account.id:
            return _error(422, "90018", "Call has already ended")
        order, command_id = call.order, str(body["command_id"])
        if behaviour.strikes(
            self._exchange.config, self._exchange.faults, "command_error", order.to, order.ref, command_id
        ):
            return _error(503, "", "try later")
        fields = {"carrier_id": call.id, "action": action, "command_id": command_id}
        is_new = command_id not in call.done_commands
        self._exchange.journal.write("command", ref=order.ref, is_new=is_new, **fields)
        if is_new:
            if call.answered_at is None and action != "hangup":
                return _error(422, "90034", "Call has not been answered")
            call.done_commands.add(command_id)
            _carry_out(call, action, body)
        return _reply({"data": {"result": "ok"}})

    async def offer(self, request: web.Request) -> web.StreamResponse:
        self._authenticate(request)
        query = request.query
        found = self._inventory.search(query["area_code"], query["contains"], int(query["limit"]))
        return _reply({"data": found})

    async def buy(self, request: web.Request) -> web.StreamResponse:
        account, body = self._authenticate(request), await _json(request)
        owned = await self._inventory.buy(account, str(body["phone_number"]), str(body["customer_reference"]), request)
        if owned is None:
            return _error(422, "10015", "The number is not available")
        return _reply({"data": {"id": owned.id, "phone_number": owned.number, "status": "success"}})

    async def release(self, request: web.Request) -> web.StreamResponse:
        account = self._authenticate(request)
        self._inventory.release(account, request.match_info["id"], request.query.get("customer_reference", ""))
        return _reply({"data": {"status": "deleted"}})

    async def engines(self, request: web.Request) -> web.StreamResponse:
        self._authenticate(request)
        return _reply({"engines": self._inventory.engines(request.match_info["number"])})

    async def _create(self, request: web.Request, order: Order) -> web.StreamResponse:
        account = self._authenticate(request)
        line = await self._exchange.create(self._wire, account, order, request)
        if isinstance(line, Refusal):
            return _error(*_REFUSALS[line.reason])
        return _reply({"data": {"record_type": order.channel, "is_alive": True, **_identity(line)}})

    def _authenticate(self, request: web.Request) -> Account:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for account in self._exchange.config.accounts:
            if hmac.compare_digest(token.encode(), account.secret.encode()):
                return account
        text = orjson.dumps({"errors": [{"code": "10009", "title": "Authentication failed"}]}).decode()
        raise web.HTTPUnauthorized(text=text, content_type="application/json")


def _identity(line: Line) -> dict[str, str]:
    order = line.order
    client_state = base64.b64encode(order.ref.encode()).decode()
    key = "call_control_id" if order.channel is Channel.VOICE else "id"
    return {key: line.id, "client_state": client_state, "from": order.from_, "to": order.to}


def _incoming(line: Line, order: Incoming, report: Report) -> dict[str, object]:
    if order.channel is Channel.VOICE:
        call = {"call_control_id": line.id, "direction": "incoming", "from": order.from_, "to": order.to}
        ended = {"hangup_cause": report.detail, "duration_secs": report.duration_s}
        return {**call, **(ended if report.kind == "ended" else {})}
    return {
        "id": line.id,
        "direction": "inbound",
        "from": {"phone_number": order.from_},
        "to": [{"phone_number": order.to}],
        "text": order.text,
        "media": [{"url": each.url, "content_type": each.content_type} for each in order.media],
    }


def _facts(report: Report) -> dict[str, object]:
    match report.kind:
        case "amd":
            return {"result": _VERDICTS[report.detail]}
        case "hangup":
            return {"hangup_cause": report.detail, "duration_secs": report.duration_s}
        case "agent_failed":
            return {"reason": report.detail}
        case "playback_ended":
            return {"status": report.detail}
        case "delivered":
            return {"status": "delivered"}
        case "failed":
            return {"status": "delivery_failed", "error_code": _SMS_CODES[report.detail], "error_title": report.detail}
    return {}


def _carry_out(call: Call, action: str, body: Mapping[str, Any]) -> None:
    match action:
        case "handoff":
            agent = body["agent"]
            verbs: list[Verb] = [Connect(AgentKind(agent["kind"]), agent["address"], agent["params"])]
            call.perform(verbs, hang_up_after=False)
        case "detach":
            call.perform([], hang_up_after=False)
        case "playback_start":
            speech = Play(body["audio_url"]) if body.get("audio_url") else Say(body.get("text", ""))
            call.perform([speech, *([Hangup()] if body.get("then_hangup") else [])], hang_up_after=False)
        case "hangup":
            call.end("originator_cancel" if call.answered_at is None else "normal_clearing")
        case _:
            raise web.HTTPNotFound


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        ref = base64.b64decode(body["client_state"], validate=True).decode()
        fields = {"to": body["to"], "from_": body["from"], "webhook_url": body["webhook_url"]}
        until = datetime.fromisoformat(body["valid_until"]).timestamp() if "valid_until" in body else None
        return {"ref": ref, "not_after": until, **{name: str(value) for name, value in fields.items()}}
    except (KeyError, TypeError, ValueError) as error:
        raise web.HTTPBadRequest(text=f"missing or wrong: {error!r}") from error


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text="the body is not JSON") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is not an object")
    return body


def _reply(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _error(status: int, code: str, title: str) -> web.Response:
    response = _reply({"errors": [{"code": code, "title": title}]}, status)
    if status == 429:
        response.headers["Retry-After"] = "1"
    return response
