"""Topics (reference 001): the name that each canonical event has on the Teletracker streams, and globs over them."""

from collections.abc import Iterable, Mapping

from engine.errors import InvalidInput

MOST_GLOBS = 50
MOST_SEGMENTS = 8
_SHOWN_CHARS = 64  # of a glob that is refused
_MMS = "mediaUrls"

# Canonical type → the topics it can have: one, or (without media, with media) for a message.
TOPICS: Mapping[str, tuple[str, ...]] = {
    "voice.inbound": ("voice.incoming.start",),
    "call.incoming.answered": ("voice.incoming.answer",),
    "call.incoming.ended": ("voice.incoming.end",),
    "voice.initiated": ("voice.outgoing.start",),
    "voice.ai.initiated": ("voice.outgoing.start",),
    "voice.answered": ("voice.outgoing.answer",),
    "voice.completed": ("voice.outgoing.end",),
    "voice.ai.completed": ("voice.outgoing.end",),
    "voice.failed": ("voice.outgoing.end",),
    "call.internal.started": ("voice.internal.start",),
    "call.internal.answered": ("voice.internal.answer",),
    "call.internal.ended": ("voice.internal.end",),
    "call.originate.started": ("voice.originate.start",),
    "call.originate.answered": ("voice.originate.answer",),
    "call.originate.ended": ("voice.originate.end",),
    "call.confirm.started": ("voice.callconfirm.start",),
    "call.confirm.accepted": ("voice.callconfirm.acceptcall",),
    "call.confirm.rejected": ("voice.callconfirm.rejectcall",),
    "call.agent_pin.prompted": ("voice.incoming.agentpin-prompt",),
    "call.agent_pin.accepted": ("voice.incoming.agentpin-valid",),
    "call.agent_pin.timed_out": ("voice.incoming.agentpin-timeout",),
    "sms.received": ("messaging.incoming.sms", "messaging.incoming.mms"),
    "sms.sent": ("messaging.outgoing.sms", "messaging.outgoing.mms"),
    "sms.opt_out": ("messaging.update.opt-out",),
}
ALL = frozenset(topic for topics in TOPICS.values() for topic in topics)


def topic_of(event_type: str, payload: Mapping[str, object]) -> str:
    """The event's topic; empty when it has none. A call that never began has no end either."""
    topics = TOPICS.get(event_type)
    if topics is None or (event_type == "voice.failed" and not payload.get("started")):
        return ""
    return topics[-1] if payload.get(_MMS) else topics[0]


def types_of(topics: frozenset[str]) -> tuple[str, ...]:
    """The canonical types that can have one of these topics."""
    return tuple(kind for kind, known in TOPICS.items() if not topics.isdisjoint(known))


def matches(glob: str, topic: str) -> bool:
    """Does the glob cover the topic? `*` is one segment, `**` any number of them, none included."""
    return _matches(glob.split("."), topic.split("."))


def expand(globs: Iterable[str]) -> frozenset[str]:
    """The topics that the globs cover.

    Raises InvalidInput that names a glob which is malformed or covers no topic, and for more than `MOST_GLOBS`.
    """
    wanted = list(dict.fromkeys(globs))
    if len(wanted) > MOST_GLOBS:
        raise _refused(f"{len(wanted)} topics given; give at most {MOST_GLOBS}, a glob such as voice.** covers many")
    found: set[str] = set()
    for glob in wanted:
        shown = glob[:_SHOWN_CHARS]
        if not _is_wellformed(glob):
            raise _refused(f"malformed topic {shown!r}; * and ** stand for whole segments, as in voice.*.start", shown)
        covered = {topic for topic in ALL if matches(glob, topic)}
        if not covered:
            raise _refused(f"unknown topic {shown!r}; GET /api/events/catalog lists them", shown)
        found |= covered
    return frozenset(found)


def _is_wellformed(glob: str) -> bool:
    parts = glob.split(".")
    return len(parts) <= MOST_SEGMENTS and all("*" not in part or part in ("*", "**") for part in parts)


def _matches(glob: list[str], topic: list[str]) -> bool:
    """`reached` holds how many segments of the topic the parts so far can cover."""
    reached = {0}
    for part in glob:
        if part == "**":
            reached = set(range(min(reached), len(topic) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(topic) and part in ("*", topic[at])}
    return len(topic) in reached


def _refused(message: str, fault: str | None = None) -> InvalidInput:
    return InvalidInput(message, {"topics": [fault] if fault is not None else message})
