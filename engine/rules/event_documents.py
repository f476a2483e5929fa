"""What clients read about events, generated from the catalog: a JSON list, and an AsyncAPI 3 document for tools."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from engine.rules.event_catalog import CHANNEL_SUMMARIES, EVENTS, CatalogEvent
from engine.rules.event_payloads import Payload
from engine.rules.topics import TOPICS

ASYNCAPI = "3.0.0"

Document = dict[str, Any]

_AT = "2026-03-11T18:00:00.000Z"
_REF = "059rcwamerv0j-0000000000002-1"
_START_TYPES = ("startusereventrequest", "startaccounteventrequest")
_STOP_TYPES = ("stopusereventrequest", "stopaccounteventrequest")


class TrunxEvent(Payload):
    """What `GET /api/events` sends as `data`."""

    channel: str
    event_type: str
    payload: dict[str, Any]
    customer_id: str
    timestamp: str = Field(description="ISO 8601, UTC, milliseconds")


class TeletrackerEvent(Payload):
    """What `GET /api/realtime/events` sends as `data`, and the WebSocket as a message."""

    category: str = Field(description="first segment of the topic")
    sub_category: str = Field(description="second segment")
    event_name: str = Field(description="third segment")
    event_timestamp: str = Field(description="ISO 8601, UTC, milliseconds")
    tracking_id: str = Field(description="the whole call")
    unique_id: str = Field(description="one leg of it, or one message")
    line_id: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    data: dict[str, Any]
    type: Literal["userevent", "accountevent"] | None = Field(None, description="on the WebSocket only")
    id: int | None = Field(None, description="on the WebSocket only: the event's number, to resume with")


class SmsReceivedMessage(BaseModel):
    """What `GET /api/v1/sms/stream` sends as `data`."""

    message_id: str
    from_: str = Field(alias="from")
    to: str
    body: str
    received_at: str


class ReplayTruncated(Payload):
    """Some events that match are not sent: they are dropped, or too many."""

    requested: int
    oldest: int = Field(description="the first that is sent, or could be")
    newest: int


class ReplayReset(Payload):
    """The number asked for is none of this log; what follows is live."""

    requested: str
    newest: int


class SocketReplay(Payload):
    """How the WebSocket tells of either."""

    type: Literal["userevent", "accountevent"]
    id: int
    category: Literal["replay"]
    event_name: Literal["truncated", "reset"]
    data: ReplayTruncated | ReplayReset


class Connected(Payload):
    """The SMS stream begins with it."""

    client_id: str
    timestamp: int = Field(description="milliseconds since 1970")


class AuthRequest(BaseModel):
    type: Literal["authrequest"]
    token: str


class StartRequest(Payload):
    type: Literal["startusereventrequest", "startaccounteventrequest"]
    topics: list[str] | None = Field(None, description="globs; all topics when left out")
    last_event_id: int | None = Field(None, description="what follows it is sent first")


class StopRequest(BaseModel):
    type: Literal["stopusereventrequest", "stopaccounteventrequest"]


class Answer(BaseModel):
    """To each request, with its type's `request` turned into `response`; `errorresponse` to what is no request."""

    type: str
    success: bool
    code: str | None = None
    reason: str | None = None


class _Schemas(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 — the parent's signature
        """They would repeat the fields' names, in worse spelling."""
        return False


# What streams tell of themselves, and on which.
_OWN: tuple[tuple[str, str, type[Payload], Mapping[str, object]], ...] = (
    ("replay.truncated", "all", ReplayTruncated, {"requested": 17, "oldest": 1001, "newest": 2000}),
    ("replay.reset", "all", ReplayReset, {"requested": "9999", "newest": 2000}),
    (
        "connected",
        "revdesk",
        Connected,
        {"clientId": "sms-059rcwamerv0j-1773252000000-x4k2m9q", "timestamp": 1773252000000},
    ),
)
_WIRE: tuple[type[BaseModel], ...] = (
    TrunxEvent,
    TeletrackerEvent,
    SmsReceivedMessage,
    ReplayTruncated,
    ReplayReset,
    SocketReplay,
    Connected,
    AuthRequest,
    StartRequest,
    StopRequest,
    Answer,
)


def schemas(models: Iterable[type[BaseModel]], place: str) -> Document:
    """JSON schemas by name; they refer to each other as `{place}/{name}`."""
    named = [(model, "validation") for model in dict.fromkeys(models)]
    _, found = models_json_schema(
        named,  # type: ignore[arg-type]  # the mode is a literal
        ref_template=f"{place}/{{model}}",
        schema_generator=_Schemas,
    )
    definitions: Document = found["$defs"]
    return definitions


def catalog() -> Document:
    """Channels, every event with its names in each dialect, its payload's schema and an example, and what streams tell
    of themselves."""
    models = [*(event.payload for event in EVENTS), *(model for _, _, model, _ in _OWN)]
    definitions = schemas(models, "#/schemas")
    return {
        "channels": [{"name": name, "description": summary} for name, summary in CHANNEL_SUMMARIES.items()],
        "events": [_listed(event) for event in EVENTS],
        "streamEvents": [_listed_own(*each) for each in _OWN],
        "schemas": definitions,
    }


def asyncapi(version: str, host: str, *, is_secure: bool) -> Document:
    """The streams at `host` (with its port, if it has one) as an AsyncAPI document."""
    tls = "s" if is_secure else ""
    messages = _trunx_messages() | _teletracker_messages() | _revdesk_messages() | _socket_messages()
    messages |= _own_messages("all", "revdesk")
    channels = _channels()
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Carillon events",
            "version": version,
            "description": "Event streams of an account. Every event has a number, to resume with.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "http": {"host": host, "protocol": f"http{tls}", "description": "Server-sent events"},
            "socket": {"host": host, "protocol": f"ws{tls}", "description": "WebSocket"},
        },
        "channels": channels,
        "operations": _operations(channels),
        "components": {
            "messages": messages,
            "schemas": schemas([*(event.payload for event in EVENTS), *_WIRE], "#/components/schemas"),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer tk_…"},
                "token": {"type": "httpApiKey", "in": "query", "name": "token"},
            },
        },
    }


def _listed(event: CatalogEvent) -> Document:
    return {
        "type": event.name,
        "channel": event.channel,
        "description": event.summary,
        "isCaused": bool(event.cause),
        "dialects": {
            "trunx": event.name if event.channel else None,
            "teletracker": list(event.topics),
            "revdesk": event.revdesk or None,
        },
        "payload": {"$ref": f"#/schemas/{event.payload.__name__}"},
        "example": dict(event.example),
    }


def _listed_own(name: str, dialect: str, model: type[Payload], example: Mapping[str, object]) -> Document:
    return {
        "type": name,
        "description": model.__doc__,
        "dialect": dialect,
        "payload": {"$ref": f"#/schemas/{model.__name__}"},
        "example": dict(example),
    }


def _own_messages(*dialects: str) -> Document:
    return {
        f"stream.{name}": _message(name, model.__doc__ or "", _schema(model.__name__), example)
        for name, dialect, model, example in _OWN
        if dialect in dialects
    }


def _trunx_messages() -> Document:
    return {
        f"trunx.{event.name}": _message(
            event.name,
            event.summary,
            _wrapped("TrunxEvent", "payload", event.payload.__name__),
            {
                "channel": event.channel,
                "eventType": event.name,
                "payload": dict(event.example),
                "customerId": "cust_0000000000001",
                "timestamp": _AT,
            },
        )
        for event in EVENTS
        if event.channel
    }


def _teletracker_messages() -> Document:
    """By topic: the events that share one also share, or extend, what they tell."""
    messages: Document = {}
    for topic in sorted({topic for topics in TOPICS.values() for topic in topics}):
        events = [event for event in EVENTS if topic in event.topics]
        names = list(dict.fromkeys(event.payload.__name__ for event in events))
        category, sub_category, name = topic.split(".")
        example = {
            "category": category,
            "subCategory": sub_category,
            "eventName": name,
            "eventTimestamp": _AT,
            "trackingId": _REF,
            "uniqueId": _REF,
            "data": dict(events[0].example),
        }
        messages[f"teletracker.{topic}"] = _message(
            topic, events[0].summary, _wrapped("TeletrackerEvent", "data", *names), example
        )
    return messages


def _revdesk_messages() -> Document:
    return {
        f"revdesk.{event.revdesk}": _message(
            event.revdesk,
            event.summary,
            _schema("SmsReceivedMessage"),
            {
                "message_id": event.example["id"],
                "from": event.example["from"],
                "to": event.example["to"],
                "body": event.example["message"],
                "received_at": _AT,
            },
        )
        for event in EVENTS
        if event.revdesk
    }


def _socket_messages() -> Document:
    auth = {"type": "authrequest", "token": "tk_test_…"}
    return {
        "socket.auth": _message("authrequest", "Says who connects", _schema("AuthRequest"), auth),
        "socket.start": _message(
            "start request",
            "Starts a stream",
            _schema("StartRequest"),
            {"type": _START_TYPES[0], "topics": ["voice.**"]},
        ),
        "socket.stop": _message("stop request", "Stops a stream", _schema("StopRequest"), {"type": _STOP_TYPES[0]}),
        "socket.replay": _message(
            "replay",
            "Tells that events are left out, or that the history is another",
            _schema("SocketReplay"),
            {"type": "userevent", "id": 2000, "category": "replay", "eventName": "reset", "data": _OWN[1][3]},
        ),
        "socket.answer": _message(
            "response", "Answers a request", _schema("Answer"), {"type": "authresponse", "success": True}
        ),
    }


def _message(name: str, summary: str, payload: Document, example: Mapping[str, object]) -> Document:
    return {"name": name, "summary": summary, "payload": payload, "examples": [{"payload": dict(example)}]}


def _schema(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _wrapped(envelope: str, field: str, *names: str) -> Document:
    """The envelope, with a payload of one of the named models in that field."""
    inner = _schema(names[0]) if len(names) == 1 else {"anyOf": [_schema(name) for name in names]}
    return {"allOf": [_schema(envelope), {"type": "object", "properties": {field: inner}}]}


def _channels() -> Document:
    own = list(_own_messages("all"))
    trunx, topics = [*_trunx_messages(), *own], list(_teletracker_messages())
    texts = [*_revdesk_messages(), *_own_messages("all", "revdesk")]
    return {
        "events": _channel("/api/events", "http", "All events, by channel", trunx),
        "smsStream": _channel("/api/v1/sms/stream", "http", "Messages received", texts),
        "realtimeEvents": _channel("/api/realtime/events", "http", "Calls and messages, by topic", [*topics, *own]),
        "realtime": _channel("/api/realtime", "socket", "The same, on request", [*topics, *_socket_messages()]),
    }


def _channel(address: str, server: str, summary: str, messages: Iterable[str]) -> Document:
    return {
        "address": address,
        "summary": summary,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operations(channels: Document) -> Document:
    """`send` is what we do, `receive` what clients send us."""
    security = [{"$ref": "#/components/securitySchemes/bearer"}, {"$ref": "#/components/securitySchemes/token"}]
    requests = {"socket.auth", "socket.start", "socket.stop"}
    operations: Document = {}
    for name, channel in channels.items():
        operation: Document = {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
        sent = [each for each in channel["messages"] if each not in requests]
        operation["messages"] = [{"$ref": f"#/channels/{name}/messages/{each}"} for each in sent]
        if name != "realtime":  # whose key comes in a message
            operation["security"] = security
        operations[f"send.{name}"] = operation
    operations["receive.realtime"] = {
        "action": "receive",
        "channel": {"$ref": "#/channels/realtime"},
        "messages": [{"$ref": f"#/channels/realtime/messages/{name}"} for name in sorted(requests)],
    }
    return operations
