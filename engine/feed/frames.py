"""Server-sent events on the wire.

The form is what ten real clients were measured to need (reference STREAMS.md 3.1): LF only, no byte order mark, never a
block without data (two clients dispatch an empty message for it), and a heartbeat of one comment line without a blank
line behind it (with one, fetch-event-source reconnects at every heartbeat).
"""

import orjson

HEARTBEAT = b": heartbeat\n"
CONTENT_TYPE = "text/event-stream; charset=utf-8"

# Some clients split lines the Python way, at more than CR and LF. JSON leaves three of those raw inside strings.
_BREAKS = dict.fromkeys(map(ord, "\0\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
_LINE_ENDS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))


def encode(event: str, data: object, event_id: int, retry_ms: int | None = None) -> bytes:
    """One frame: event name, numeric id, and `data` as one line of JSON. Nothing in any of them can end it early.

    `retry_ms` tells the client how long to wait before it reconnects; only a frame with data may carry it.
    """
    body = orjson.dumps(data)  # escapes CR, LF and NUL
    for raw, escaped in _LINE_ENDS:
        body = body.replace(raw, escaped)
    retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
    return b"event: %b\nid: %d\n%bdata: %b\n\n" % (event.translate(_BREAKS).encode(), event_id, retry, body)


def truncated(requested: int, oldest: int, newest: int) -> bytes:
    """Tells that matching events after `requested` are not sent; `oldest` is the first that is, or could be.

    Its own id is the one before, so that a client cut right here resumes with the first event it has not seen.
    """
    data = {"requested": requested, "oldest": oldest, "newest": newest}
    return encode("replay.truncated", data, oldest - 1)


def reset(requested: str, newest: int) -> bytes:
    """Tells that `requested` is no id of this log; what follows is live, after `newest`."""
    return encode("replay.reset", {"requested": requested[:64], "newest": newest}, newest)
