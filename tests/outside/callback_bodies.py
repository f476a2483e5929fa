"""What carriers' callbacks may say, for hypothesis: mostly what the simulated network sends, a field or two changed.

Drawn field by field, none in three hundred was one that an adapter could read, and nothing behind the first check was
ever tried.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

from hypothesis import strategies as st

from engine.carriers import simulated_command, simulated_document
from tests.outside.strategies import as_json, latin, one_of, value, word

REF = base64.b64encode(b"059rcwamerv0j-0000000000001-1").decode()
MOMENT = "2026-03-01T10:00:00+00:00"
_MISSING = object()
_PERSON = {"phone_number": "+14155550123"}
_PICTURE = {"url": "https://x/", "content_type": "image/png"}


def altered(true: Mapping[str, object], **instead: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """What is true, with up to two of its fields missing or of another kind. `instead` says which kind, and may name
    fields that are not in it."""
    names = st.sampled_from(sorted({*true, *instead}))
    changes = names.flatmap(lambda name: st.tuples(st.just(name), instead.get(name, value) | st.just(_MISSING)))

    def change(changed: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: each for name, each in {**true, **dict(changed)}.items() if each is not _MISSING}

    return st.lists(changes, max_size=2).map(change)


def _drawn(make: Callable[..., st.SearchStrategy[Any]], *given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(make, *given).flatmap(lambda strategy: strategy)


# the command shape
_EVENT_TYPES = sorted({name.partition(":")[0] for name in simulated_command._EVENTS})
_STATUSES = sorted(name.partition(":")[2] for name in simulated_command._EVENTS if ":" in name)


def _envelopes(event_types: st.SearchStrategy[str], payloads: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    def envelope(event_type: str, payload: Any) -> st.SearchStrategy[dict[str, Any]]:
        true = {"id": "ev_1", "event_type": event_type, "occurred_at": MOMENT, "payload": payload}
        return altered(true, event_type=word | one_of(*_EVENT_TYPES))

    return _drawn(envelope, event_types, payloads).map(lambda data: as_json({"data": data}))


def _of_calls(result: str, cause: str) -> st.SearchStrategy[dict[str, Any]]:
    true = {"client_state": REF, "call_control_id": "CA1", "result": result, "hangup_cause": cause, "duration_secs": 7}
    return altered(true, client_state=one_of("AAAA", "%") | word, error_code=value, digit=value, direction=value)


def _of_texts(status: str, code: object) -> st.SearchStrategy[dict[str, Any]]:
    true = {"client_state": REF, "id": "SM1", "status": status, "error_code": code}
    return altered(true, status=one_of(*_STATUSES) | word, error_title=value)


_TEXT_IN = {"id": "SM1", "from": _PERSON, "to": [_PERSON], "text": "STOP", "media": [_PICTURE]}
_CALL_IN = {
    "direction": "incoming", "call_control_id": "CA1", "from": "+14155550123", "to": "+14155550124", "duration_secs": 7,
}  # fmt: skip
commands = (
    _envelopes(
        one_of(*_EVENT_TYPES), _drawn(_of_calls, one_of(*simulated_command._AMD), one_of(*simulated_command._END))
    )
    | _envelopes(
        one_of("message.sent", "message.finalized"),
        _drawn(_of_texts, one_of(*_STATUSES), st.none() | one_of(*simulated_command._FAULTS)),
    )
    | _envelopes(st.just("message.received"), altered(_TEXT_IN, text=word, media=st.lists(st.just(_PICTURE) | value)))
    | _envelopes(one_of(*simulated_command._STAGES), altered(_CALL_IN))
)


# the document shape
def _form(fields: Mapping[str, Any]) -> bytes:
    pairs = ((name, each if isinstance(each, str) else str(each)) for name, each in fields.items())
    return "&".join(f"{name}={quote_plus(text.encode('utf-8', 'replace'))}" for name, text in pairs).encode()


def _reports(event: str, status: str, answered_by: str, code: str) -> st.SearchStrategy[dict[str, Any]]:
    both = {"SequenceNumber": "3", "Timestamp": MOMENT, "ErrorCode": code}
    call = {
        "CallSid": "CA1", "CallbackEvent": event, "CallStatus": status, "AnsweredBy": answered_by, "CallDuration": "7",
    }  # fmt: skip
    text = {"MessageSid": "SM1", "MessageStatus": event.partition(":")[2]}
    return altered({**both, **(text if ":" in event else call)}, Digits=word, ErrorMessage=word)


_SMS_IN = {
    "SmsStatus": "received", "MessageSid": "SM1", "From": "+14155550123", "To": "+14155550124", "Body": "STOP",
    "Timestamp": MOMENT, "NumMedia": "1", "MediaUrl0": "https://x/", "MediaContentType0": "image/png",
}  # fmt: skip
_RING_IN = {
    "Direction": "inbound", "CallSid": "CA1", "CallStatus": "completed", "From": "+14155550123", "To": "+14155550124",
    "Timestamp": MOMENT, "CallDuration": "7",
}  # fmt: skip
documents = (
    _drawn(
        _reports,
        one_of(*simulated_document._EVENTS),
        one_of(*simulated_document._END),
        one_of(*simulated_document._AMD),
        one_of("", *simulated_document._FAULTS),
    )
    | altered(_SMS_IN, Body=word, NumMedia=one_of("0", "2", "-1", "9" * 5_000, "x"))
    | altered(_RING_IN, CallStatus=one_of(*simulated_document._STAGES) | word)
).map(_form)

bodies = commands | documents | st.binary(max_size=300)
headers = st.dictionaries(one_of("x-sim-timestamp", "x-sim-signature", "authorization"), latin)
