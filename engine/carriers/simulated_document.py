"""The simulated carrier's document shape (as Twilio): forms in, form callbacks, and it executes the documents we reply.

Callbacks are signed with HMAC-SHA256 over the URL and the sorted parameters, one of which is the time, so that an old
callback cannot be replayed (Twilio signs no time and leaves replays to the receiver).
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from xml.sax.saxutils import escape, quoteattr

from engine.carriers.freshness import is_fresh
from engine.carriers.http import Answer, CarrierHttp, Form, HttpOptions, refused, valid_for_s
from engine.carriers.port import (
    Ack,
    AgentKind,
    AgentTarget,
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
from engine.carriers.simulated_numbers import DocumentNumbers
from engine.carriers.talk import talk_s

_EVENTS = {
    "ringing": EventKind.RINGING,
    "answered": EventKind.ANSWERED,
    "amd": EventKind.AMD,
    "greeting-ended": EventKind.GREETING_ENDED,
    "agent-connected": EventKind.AGENT_BRIDGED,
    "agent-failed": EventKind.AGENT_FAILED,
    "playback-ended": EventKind.PLAYBACK_DONE,
    "dtmf": EventKind.DTMF,
    "completed": EventKind.CALL_ENDED,
    "message:sent": EventKind.SMS_SENT,
    "message:delivered": EventKind.SMS_DELIVERED,
    "message:undelivered": EventKind.SMS_FAILED,
    "message:failed": EventKind.SMS_FAILED,
}
_AMD = {
    "human": Amd.HUMAN,
    "machine_start": Amd.MACHINE,
    "machine_end_beep": Amd.MACHINE_READY,
    "machine_end_silence": Amd.MACHINE_READY,
    "machine_end_other": Amd.MACHINE_READY,
    "fax": Amd.FAX,
    "silence": Amd.SILENCE,
    "screening": Amd.SCREENING,
    "unknown": Amd.UNKNOWN,
}
_END = {
    "completed": EndReason.COMPLETED,
    "busy": EndReason.BUSY,
    "no-answer": EndReason.NO_ANSWER,
    "canceled": EndReason.CANCELED,
    "failed": EndReason.FAILED,
}
_END_BY_CODE = {
    "13226": EndReason.INVALID_NUMBER,
    "30036": EndReason.EXPIRED,
    "32009": EndReason.REJECTED,
    "32603": EndReason.BLOCKED,  # SIP 603+
}
_FAULTS = {  # code → (fault, retryable)
    "13224": (Fault.UNREACHABLE, True),
    "13226": (Fault.INVALID_NUMBER, False),
    "20003": (Fault.AUTH, False),
    "20429": (Fault.RATE_LIMITED, True),
    "21211": (Fault.INVALID_NUMBER, False),
    "21422": (Fault.BAD_REQUEST, False),  # the number is not on offer
    "21606": (Fault.SENDER_CONFIG, False),
    "21610": (Fault.OPTED_OUT, False),
    "30006": (Fault.UNREACHABLE, False),  # a landline
    "30007": (Fault.BLOCKED, False),
    "30008": (Fault.TRANSIENT, True),
    "32603": (Fault.BLOCKED, False),
    "30036": (Fault.TRANSIENT, True),  # its validity period ended in the carrier's queue
}
_STAGES = {  # CallStatus of a call that comes in
    "ringing": CallStage.STARTED,
    "in-progress": CallStage.ANSWERED,
    "completed": CallStage.ENDED,
}
_GONE = "21220"  # the call has ended: there is nothing left to command
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)  # what a body of the wrong form raises

SIGNATURE_HEADER = "x-sim-signature"
XML = "text/xml; charset=utf-8"
_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_KEEP_LINE = '<Pause length="60"/>'  # longer than any verdict or greeting; the engine's own deadlines are shorter


def signature(signing_secret: str, url: str, params: Mapping[str, str]) -> str:
    """Base64 HMAC-SHA256 over the URL and the sorted parameters, URL-encoded: plain joining would be ambiguous."""
    signed = f"{url}\n{urlencode(sorted(params.items()))}"
    return base64.b64encode(hmac.new(signing_secret.encode(), signed.encode(), hashlib.sha256).digest()).decode()


class SimulatedDocument:
    """Account settings: `base_url`, `account_id`, `secret` (basic password), `signing_secret`."""

    name = "simulated-document"
    caps = Capabilities(
        channels=frozenset(Channel),
        shape=Shape.DOCUMENT,
        authoritative_lookup=True,
        is_simulated=True,
        most_segments=24,  # 1,600 characters in UCS-2
        most_media=10,
        sells_numbers=True,
    )

    def __init__(self, settings: Mapping[str, str], http: HttpOptions) -> None:
        account_id = settings["account_id"]
        basic = base64.b64encode(f"{account_id}:{settings['secret']}".encode()).decode()
        self._account_path = f"/document/Accounts/{quote(account_id, safe='')}"
        self._signing_secret = settings["signing_secret"]
        self._http = CarrierHttp(settings["base_url"], {"Authorization": f"Basic {basic}"}, http)
        self._numbers = DocumentNumbers(self._http, self._account_path, _FAULTS)

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        callback_url = _with_ref(call.callback_url, call.ref)
        form = [
            ("To", call.to),
            ("From", call.from_),
            ("Url", callback_url),
            ("StatusCallback", callback_url),
            ("Timeout", str(call.ring_timeout_s)),
            ("TimeLimit", str(call.max_duration_s)),
            ("Ref", call.ref),
            *_validity(call.not_after, ticket),
        ]
        if call.amd:
            form += [("MachineDetection", "DetectMessageEnd"), ("AsyncAmd", "true")]
        return await self._create("Calls", form, ticket)

    async def send_message(self, message: SendMessage, ticket: Ticket) -> Receipt:
        form = [
            ("To", message.to),
            ("From", message.from_),
            ("Body", message.text),
            ("StatusCallback", _with_ref(message.callback_url, message.ref)),
            ("Ref", message.ref),
            *(("MediaUrl", url) for url in message.media_urls),
            *_validity(message.not_after, ticket),
        ]
        return await self._create("Messages", form, ticket)

    async def command(self, call: CallRef, command: Command) -> Ack:
        if command.kind is CommandKind.WAIT:
            return Ack(ok=True)
        update = [("Status", "completed")] if command.kind is CommandKind.HANGUP else [("Twiml", _document(command))]
        path = f"{self._account_path}/Calls/{quote(call.carrier_id, safe='')}.json"
        answer = await self._http.request("POST", path, form=[*update, ("CommandNumber", str(command.number))])
        if answer.ok:
            return Ack(ok=True)
        code, text = _error(answer)
        fault, retryable = _FAULTS.get(code, (Fault.UNKNOWN, answer.status not in range(400, 500)))
        return Ack(ok=False, gone=code == _GONE, error=CarrierError(fault, code, text, retryable))

    async def lookup(self, ref: str, channel: Channel) -> Lookup:
        noun = "Calls" if channel is Channel.VOICE else "Messages"
        answer = await self._http.request("GET", f"{self._account_path}/{noun}.json?Ref={quote(ref, safe='')}")
        try:
            found = answer.json()[noun.lower()]
            if answer.ok and found == []:
                return Lookup(LookupState.ABSENT)
            events = tuple(_event(form, ref) for form in found[0]["events"])
            return Lookup(LookupState.FOUND, str(found[0]["sid"]), events)
        except (*_UNREADABLE, IndexError):
            return Lookup(LookupState.STILL_UNKNOWN)

    def read(self, request: CallbackRequest, now_s: float) -> tuple[CarrierEvent | Inbound, ...]:
        form = _form(request)
        expected = signature(self._signing_secret, request.url, form)
        if not hmac.compare_digest(expected.encode(), request.headers.get(SIGNATURE_HEADER, "").encode()):
            raise BadSignature("the signature does not match")
        signed_at = form.get("SignedAt", "")
        if not is_fresh(signed_at, now_s):
            raise BadSignature("the signature is too old")
        try:
            return (_read(form, request.url),)
        except _UNREADABLE as error:
            raise BadCallback(f"unreadable callback: {error!r}") from error

    def reply(self, request: CallbackRequest, plan: Command | None) -> HttpReply:
        """The plan as a document. An empty answer changes nothing, except at `answered`, where it would hang up.

        A text is answered with an empty document: with none at all, the carrier would report an error to its customer.
        """
        if _is_message(_form(request)):
            return HttpReply(200, _document(None).encode(), XML)
        if plan is None or (plan.kind is CommandKind.WAIT and _form(request).get("CallbackEvent") != "answered"):
            return HttpReply(200, content_type=XML)
        return HttpReply(200, _document(plan).encode(), XML)

    async def search_numbers(self, wanted: NumberSearch) -> Offers:
        return await self._numbers.search(wanted)

    async def buy_number(self, number: str, ref: str) -> Receipt:
        return await self._numbers.buy(number, ref)

    async def release_number(self, number: str, carrier_id: str, ref: str) -> Receipt:
        return await self._numbers.release(carrier_id or number, ref)

    async def close(self) -> None:
        await self._http.close()

    async def _create(self, noun: str, form: Form, ticket: Ticket) -> Receipt:
        answer = await self._http.create(f"{self._account_path}/{noun}.json", ticket, form=form)
        if isinstance(answer, Receipt):
            return answer
        if not answer.ok:
            return refused(answer, *_error(answer), _FAULTS)
        sid = answer.json().get("sid")
        if not isinstance(sid, str):
            return Receipt(Outcome.UNKNOWN, error=CarrierError(Fault.UNKNOWN, "no_id", "a 2xx answer without a sid"))
        return Receipt(Outcome.ACCEPTED, sid)


def _with_ref(callback_url: str, ref: str) -> str:
    """Our id in the URL: the only slot that this shape echoes, and it is signed."""
    return f"{callback_url}{'&' if '?' in callback_url else '?'}att={quote(ref, safe='')}"


def _validity(not_after: datetime | None, ticket: Ticket) -> Form:
    return [("ValidityPeriod", str(valid_for_s(not_after, ticket)))] if not_after else []


def _document(command: Command | None) -> str:
    if command is None:
        return f"{_XML_HEAD}<Response/>"
    match command.kind:
        case CommandKind.HANDOFF if command.agent is not None:
            verbs = _agent(command.agent)
        case CommandKind.PLAY:
            speech = f"<Play>{escape(command.audio_url)}</Play>" if command.audio_url else _say(command.text)
            verbs = speech + ("<Hangup/>" if command.then_hangup else _KEEP_LINE)
        case CommandKind.HANGUP:
            verbs = "<Hangup/>"
        case _:
            verbs = _KEEP_LINE
    return f"{_XML_HEAD}<Response>{verbs}</Response>"


def _say(text: str) -> str:
    return f"<Say>{escape(text)}</Say>"


def _agent(agent: AgentTarget) -> str:
    params = "".join(
        f"<Parameter name={quoteattr(name)} value={quoteattr(value)}/>"
        for name, value in {**agent.params, "token": agent.token}.items()
    )
    match agent.kind:
        case AgentKind.WS_MEDIA:
            return f"<Connect><Stream url={quoteattr(agent.address)}>{params}</Stream></Connect>"
        case AgentKind.WS_TEXT:
            relay = f"<ConversationRelay url={quoteattr(agent.address)}>{params}</ConversationRelay>"
            return f"<Connect>{relay}</Connect>"
        case AgentKind.NATIVE:
            return f"<Connect><Assistant id={quoteattr(agent.address)}>{params}</Assistant></Connect>"
        case AgentKind.SIP:
            return f"<Dial><Sip>{escape(agent.address)}</Sip></Dial>"
        case AgentKind.NUMBER:
            return f"<Dial><Number>{escape(agent.address)}</Number></Dial>"


def _form(request: CallbackRequest) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def _error(answer: Answer) -> tuple[str, str]:
    body = answer.json()
    return str(body.get("code", "")), str(body.get("message", "")) or answer.text


def _is_message(form: Mapping[str, str]) -> bool:
    return form.get("SmsStatus") == "received"


def _read(form: Mapping[str, str], url: str) -> CarrierEvent | Inbound:
    if _is_message(form):
        return _message(form)
    if form.get("Direction") == "inbound":
        return _incoming_call(form)
    return _event(form, parse_qs(urlsplit(url).query)["att"][0])


def _message(form: Mapping[str, str]) -> InboundMessage:
    sid = form["MessageSid"]
    return InboundMessage(
        key=f"{sid}:received",
        carrier_id=sid,
        from_=form["From"],
        to=form["To"],
        text=form["Body"],
        occurred_at=datetime.fromisoformat(form["Timestamp"]),
        media=tuple(Media(form[f"MediaUrl{n}"], form[f"MediaContentType{n}"]) for n in range(int(form["NumMedia"]))),
        raw=dict(form),
    )


def _incoming_call(form: Mapping[str, str]) -> InboundCall:
    stage = _STAGES[form["CallStatus"]]
    return InboundCall(
        key=f"{form['CallSid']}:{stage}",
        carrier_id=form["CallSid"],
        from_=form["From"],
        to=form["To"],
        stage=stage,
        occurred_at=datetime.fromisoformat(form["Timestamp"]),
        duration_s=talk_s(form["CallDuration"]) if stage is CallStage.ENDED else None,
        raw=dict(form),
    )


def _event(form: Mapping[str, str], ref: str) -> CarrierEvent:
    """One callback's form, live or from a look-up. Raises one of `_UNREADABLE` when it is none."""
    kind = _kind(form)
    sid = form["CallSid"] if "CallSid" in form else form["MessageSid"]
    code = form.get("ErrorCode", "")
    return CarrierEvent(
        kind=kind,
        key=f"{sid}:{form['SequenceNumber']}",
        ref=ref,
        carrier_id=sid,
        occurred_at=datetime.fromisoformat(form["Timestamp"]),
        amd=_AMD[form["AnsweredBy"]] if kind is EventKind.AMD else None,
        end=_end(form["CallStatus"], code) if kind is EventKind.CALL_ENDED else None,
        error=CarrierError(*_fault(code, form)) if code else None,
        duration_s=talk_s(form["CallDuration"]) if kind is EventKind.CALL_ENDED else None,
        digit=form.get("Digits", ""),
        raw=dict(form),
    )


def _kind(form: Mapping[str, str]) -> EventKind:
    name = f"message:{form['MessageStatus']}" if "MessageStatus" in form else form.get("CallbackEvent", "")
    kind = _EVENTS.get(name, EventKind.UNRECOGNISED)
    known = kind is not EventKind.AMD or form.get("AnsweredBy") in _AMD
    return kind if known else EventKind.UNRECOGNISED


def _end(status: str, code: str) -> EndReason:
    return _END_BY_CODE.get(code) or _END.get(status, EndReason.FAILED)


def _fault(code: str, form: Mapping[str, str]) -> tuple[Fault, str, str, bool]:
    fault, retryable = _FAULTS.get(code, (Fault.UNKNOWN, False))
    return fault, code, form.get("ErrorMessage", ""), retryable
