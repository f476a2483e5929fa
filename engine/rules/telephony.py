"""The words in which the engine and every carrier talk of calls and messages: values only, no behaviour.

They live with the rules because rules decide by them; `engine.carriers.port` adds the requests and answers that travel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Channel(StrEnum):
    VOICE = "voice"
    SMS = "sms"


class Fault(StrEnum):
    """The closed set of reasons a carrier gives, by what the engine does next."""

    RATE_LIMITED = "rate_limited"  # slow the lane; costs no attempt
    TRANSIENT = "transient"  # provably not processed; retry by the campaign's rule
    INVALID_NUMBER = "invalid_number"  # permanent for this number
    UNREACHABLE = "unreachable"  # retry by the campaign's rule when `retryable`
    OPTED_OUT = "opted_out"  # suppress the number at once
    BLOCKED = "blocked"  # the sender is blocked or filtered
    SENDER_CONFIG = "sender_config"  # retries cannot help: pause the campaign
    AUTH = "auth"  # likewise
    BAD_REQUEST = "bad_request"  # our bug
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CarrierError:
    fault: Fault
    code: str = ""  # the carrier's own code
    text: str = ""  # the carrier's own words, without secrets
    retryable: bool = False
    retry_after_s: float | None = None


class AgentKind(StrEnum):
    SIP = "sip"
    WS_MEDIA = "ws_media"
    WS_TEXT = "ws_text"
    NATIVE = "native"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class AgentTarget:
    """Where a live call is handed to. The engine moves the call; the agent owns the media."""

    kind: AgentKind
    address: str  # sip: URI, ws(s): URL, E.164 or the carrier's agent id
    params: Mapping[str, str] = field(default_factory=dict)
    token: str = ""  # short-lived HMAC bound to the attempt, so that the agent can trust the stream


class CommandKind(StrEnum):
    HANDOFF = "handoff"  # bridge the callee with `agent`
    DETACH = "detach"  # take the agent off, keep the callee, wait (for the beep)
    PLAY = "play"  # play `audio_url` (or say `text`), then hang up when `then_hangup`
    HANGUP = "hangup"
    WAIT = "wait"  # keep the line, do nothing


@dataclass(frozen=True, slots=True)
class Command:
    kind: CommandKind
    number: int  # 1, 2, … within the attempt: with the ref it is the command's idempotency key
    agent: AgentTarget | None = None
    audio_url: str = ""
    text: str = ""
    then_hangup: bool = True


class EventKind(StrEnum):
    """Everything a carrier can report, in the engine's words."""

    RINGING = "ringing"
    ANSWERED = "answered"
    AMD = "amd"
    GREETING_ENDED = "greeting_ended"
    AGENT_BRIDGED = "agent_bridged"
    AGENT_FAILED = "agent_failed"
    PLAYBACK_DONE = "playback_done"
    DTMF = "dtmf"
    CALL_ENDED = "call_ended"
    SMS_SENT = "sms_sent"
    SMS_DELIVERED = "sms_delivered"
    SMS_FAILED = "sms_failed"
    INBOUND = "inbound"  # what came in, kept beside its own row for its raw report; changes nothing
    UNRECOGNISED = "unrecognised"  # stored with its raw body, changes nothing


class Amd(StrEnum):
    HUMAN = "human"
    MACHINE = "machine"
    MACHINE_READY = "machine_ready"  # the beep, or silence after the greeting: speak now
    FAX = "fax"
    SILENCE = "silence"
    SCREENING = "screening"
    UNKNOWN = "unknown"


class EndReason(StrEnum):
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    INVALID_NUMBER = "invalid_number"
    UNREACHABLE = "unreachable"
    CANCELED = "canceled"
    BLOCKED = "blocked"
    EXPIRED = "expired"  # its time was over in the carrier's queue: nothing rang
    FAILED = "failed"


class CarrierEvent(NamedTuple):
    """One normalised report. `key` is unique per carrier and report: the inbox's dedupe key."""

    kind: EventKind
    key: str
    ref: str
    carrier_id: str
    occurred_at: datetime  # the carrier's own time
    amd: Amd | None = None
    end: EndReason | None = None
    error: CarrierError | None = None
    duration_s: int | None = None  # talk time, on CALL_ENDED
    digit: str = ""
    raw: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, recording or file of an MMS, where the carrier keeps it."""

    url: str
    content_type: str


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A text that a person sent to one of our numbers. `key` dedupes the report, `carrier_id` the message."""

    key: str
    carrier_id: str
    from_: str  # as the carrier writes it: E.164, but also a short code or a name
    to: str
    text: str
    occurred_at: datetime  # the carrier's own time
    media: tuple[Media, ...] = ()
    raw: Mapping[str, object] = field(default_factory=dict)


class CallStage(StrEnum):
    STARTED = "started"
    ANSWERED = "answered"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class InboundCall:
    """One stage of a call that a person makes to one of our numbers."""

    key: str
    carrier_id: str
    from_: str
    to: str
    stage: CallStage
    occurred_at: datetime
    duration_s: int | None = None  # talk time, on ENDED
    raw: Mapping[str, object] = field(default_factory=dict)


Inbound = InboundMessage | InboundCall
