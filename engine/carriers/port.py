"""The contract between the engine and every carrier: what we ask, what it may answer, what it tells us later.

Two shapes fit it. A *command* carrier (Telnyx, Asterisk) takes `play`, `handoff` and `hangup` as requests after an
event. A *document* carrier (Twilio, Vonage) fetches its next instructions: it asks `reply` for a rendered document. The
engine decides one `Command` either way; only the adapter knows how it travels.

Adapters hold no retry policy and read no clock. They say what happened, and the engine decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from engine.rules.telephony import (
    AgentKind,
    AgentTarget,
    Amd,
    CallStage,
    CarrierError,
    CarrierEvent,
    Channel,
    Command,
    CommandKind,
    EndReason,
    EventKind,
    Fault,
    Inbound,
    InboundCall,
    InboundMessage,
    Media,
)

__all__ = [
    "Ack",
    "AgentKind",
    "AgentTarget",
    "Amd",
    "BadCallback",
    "BadSignature",
    "CallRef",
    "CallStage",
    "CallbackRequest",
    "Capabilities",
    "Carrier",
    "CarrierError",
    "CarrierEvent",
    "Channel",
    "Command",
    "CommandKind",
    "EndReason",
    "EventKind",
    "Fault",
    "HttpReply",
    "Inbound",
    "InboundCall",
    "InboundMessage",
    "Lookup",
    "LookupState",
    "Media",
    "NumberOffer",
    "NumberSearch",
    "Offers",
    "Outcome",
    "PlaceCall",
    "Receipt",
    "SendMessage",
    "Shape",
    "Ticket",
]


class Outcome(StrEnum):
    """What a create may leave behind."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # provably not carried out, for the reason in `error`
    NOT_SENT = "not_sent"  # no byte left this process: the ticket expired, or the connection was refused
    UNKNOWN = "unknown"  # perhaps carried out: reconciled, never resent blindly


class Ticket(NamedTuple):
    """Permission to begin one create, in `engine.clock.boottime()` seconds.

    After `deadline` no byte may leave. With `not_before` the create goes out at that slot or not at all: after
    `not_after` the slot is forfeited, or sends would bunch and break the calls-per-second limit.
    """

    deadline: float
    not_before: float | None = None
    not_after: float | None = None


class PlaceCall(NamedTuple):
    """One outbound call. `ref` was committed before this request and is the idempotency key at the carrier."""

    ref: str
    to: str  # E.164
    from_: str  # E.164
    ring_timeout_s: int
    max_duration_s: int
    amd: bool
    callback_url: str  # the adapter adds `?att=<ref>`
    not_after: datetime | None = None  # real time: the end of the legal window, beyond which no queue may hold it


class SendMessage(NamedTuple):
    ref: str
    to: str
    from_: str
    text: str
    callback_url: str
    not_after: datetime | None = None  # likewise
    media_urls: tuple[str, ...] = ()  # any makes it an MMS


@dataclass(frozen=True, slots=True)
class CallRef:
    ref: str
    carrier_id: str


class Receipt(NamedTuple):
    """The answer to a create. `events` holds what the carrier already knew when it answered (most know nothing)."""

    outcome: Outcome
    carrier_id: str = ""
    error: CarrierError | None = None
    events: tuple[CarrierEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer to a command. `gone` means the call no longer exists: nothing is left to command."""

    ok: bool
    gone: bool = False
    error: CarrierError | None = None


class LookupState(StrEnum):
    FOUND = "found"
    ABSENT = "absent"  # authoritative: the carrier never accepted it and never will
    STILL_UNKNOWN = "still_unknown"


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the carrier knows of a ref. `events` replays its whole history when the carrier keeps one."""

    state: LookupState
    carrier_id: str = ""
    events: tuple[CarrierEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class NumberSearch:
    """Numbers wanted: of an area code, and with these digits in them; an empty text asks for nothing in particular."""

    area_code: str = ""
    contains: str = ""
    quantity: int = 10


@dataclass(frozen=True, slots=True)
class NumberOffer:
    """A number that can be bought. `monthly_cost` in US dollars."""

    number: str  # E.164
    area_code: str
    city: str
    state: str
    monthly_cost: float


@dataclass(frozen=True, slots=True)
class Offers:
    """What is on offer now; `error` when the carrier could not say."""

    numbers: tuple[NumberOffer, ...]
    error: CarrierError | None = None


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """A callback as it arrived: the URL as the carrier saw it, raw body, lower-case header names."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


class Shape(StrEnum):
    COMMAND = "command"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Capabilities:
    channels: frozenset[Channel]
    shape: Shape
    authoritative_lookup: bool  # may `lookup` answer ABSENT?
    is_simulated: bool = False
    most_segments: int = 10  # parts of one text; over it the carrier refuses the create
    most_media: int = 0  # files of one MMS; 0: it carries none
    sells_numbers: bool = False  # else the three commands for numbers are never called


class BadSignature(Exception):
    """The callback is forged or stale: answered 403, nothing stored."""


class BadCallback(Exception):
    """The signature holds but the body cannot be read: answered 200, stored raw, or the carrier retries for hours."""


class Carrier(Protocol):
    """One account at one carrier. Methods never raise for what a carrier does; they return it."""

    name: str
    caps: Capabilities

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt: ...
    async def send_message(self, message: SendMessage, ticket: Ticket) -> Receipt: ...
    async def command(self, call: CallRef, command: Command) -> Ack: ...
    async def lookup(self, ref: str, channel: Channel) -> Lookup: ...
    def read(self, request: CallbackRequest, now_s: float) -> tuple[CarrierEvent | Inbound, ...]:
        """Verifies and parses one callback; pure. `now_s` is real epoch time, for the signature's tolerance.

        A callback is about our own attempts (`CarrierEvent`) or about what people send to us (`Inbound`). Raises
        BadSignature or BadCallback.
        """
        ...

    def reply(self, request: CallbackRequest, plan: Command | None) -> HttpReply:
        """What to answer the callback with: a rendered document for document carriers, an empty 200 for the others.

        A plan for a call that came in is what its caller hears; a command carrier has no place for it here.
        """
        ...

    async def search_numbers(self, wanted: NumberSearch) -> Offers: ...
    async def buy_number(self, number: str, ref: str) -> Receipt:
        """Buys one number; the receipt's `carrier_id` is the carrier's name for it.

        `ref` is the idempotency key: a repeat must be answered as the first was, and must not buy again. A carrier that
        has none is asked first what it already holds.
        """
        ...

    async def release_number(self, number: str, carrier_id: str, ref: str) -> Receipt:
        """Gives a number back. One that the carrier no longer holds for us counts as given back: ACCEPTED."""
        ...

    async def close(self) -> None: ...
