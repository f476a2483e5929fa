"""What must hold of each parser for every input, as checks that hypothesis, atheris and whoever else may call.

A check returns when all is well and raises AssertionError, or whatever the parser must not raise, when it is not.
"""

import asyncio
import csv
import io
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import orjson
from starlette.types import Message
from yarl import URL

from api_min.bodies import ApiRequest, csv_chunks
from api_min.realtime_socket import _last_event_id, _parse, _topics
from api_min.replies import Page
from engine import egress, ids, log
from engine.carriers import catalog, simulated_command, simulated_document
from engine.carriers.http import HttpOptions
from engine.carriers.port import BadCallback, BadSignature, CallbackRequest, Carrier, CarrierEvent
from engine.clock import real_now
from engine.errors import InvalidInput, TooLarge
from engine.feed import frames
from engine.feed.replay import parse_id
from engine.rules import content, template, topics
from engine.rules.campaign_config import parse_campaign
from engine.rules.csv_rows import RowReader
from engine.rules.phone import Rejection, is_e164, normalise
from engine.rules.topics import expand
from engine.store import callbacks
from engine.store.callbacks import Report, decode_event
from engine.webhooks.send import _retry_after_s

NOW_S = 1_780_000_000
SECRET = "sim-signing-secret"
URL_OF = "https://carillon.example/carriers/{}/callbacks?att=059rcwamerv0j-0000000000001-1"
SETTINGS = {"base_url": "http://127.0.0.1:9", "account_id": "sim", "secret": "s", "signing_secret": SECRET}
SHAPES = ("simulated-command", "simulated-document")


def carriers() -> Mapping[str, Carrier]:
    """Every adapter of the catalog. Their sessions open at the first request, of which there is none."""
    return {name: catalog.build(name, SETTINGS, HttpOptions()) for name in catalog.CARRIERS}


def signed(name: str, body: bytes, at_s: int = NOW_S) -> CallbackRequest:
    """As the carrier itself would send it: the document shape's body must be a form that holds `SignedAt`."""
    url = URL_OF.format(name)
    if name == "simulated-command":
        stamp = str(at_s)
        headers = {"x-sim-timestamp": stamp, "x-sim-signature": simulated_command.signature(SECRET, stamp, body)}
    else:
        form = simulated_document._form(CallbackRequest("POST", url, {}, body))
        headers = {"x-sim-signature": simulated_document.signature(SECRET, url, form)}
    return CallbackRequest("POST", url, headers, body)


def check_callback(carrier: Carrier, body: bytes, headers: Mapping[str, str], at_s: int = NOW_S) -> None:
    """Unsigned: refused, whatever it is. Signed: read or found unreadable, storable, and refused when it is late."""
    forged = CallbackRequest("POST", URL_OF.format(carrier.name), headers, body)
    assert refuses(carrier, forged, NOW_S)
    if carrier.name not in SHAPES:
        return
    if carrier.name == "simulated-document":
        body = body + b"&SignedAt=%d" % at_s
    request = signed(carrier.name, body, at_s)
    try:
        found = carrier.read(request, at_s)
    except BadCallback:
        found = ()
    for each in found:
        if isinstance(each, CarrierEvent):
            stored = orjson.loads(callbacks._json(each))
            assert "\\u0000" not in orjson.dumps(stored).decode().replace("\\\\", "")
            assert decode_event(stored).kind is each.kind
            assert "\0" not in Report(carrier.name, each).key
        assert carrier.reply(request, None).status == 200
    assert refuses(carrier, request, at_s + 301)
    changed = CallbackRequest("POST", request.url, request.headers, body + b"&x=1")
    assert refuses(carrier, changed, at_s)


def check_stamp(carrier: Carrier, stamp: str) -> None:
    """A time that is none, or another one, is refused like any forgery, if it is signed as it should be."""
    if carrier.name == "simulated-command":
        headers = {"x-sim-timestamp": stamp, "x-sim-signature": simulated_command.signature(SECRET, stamp, b"{}")}
        request = CallbackRequest("POST", URL_OF.format(carrier.name), headers, b"{}")
    else:
        request = signed("simulated-document", b"SignedAt=" + quote_plus(stamp.encode()).encode())
    is_now = stamp.isdecimal() and len(stamp) < 20 and abs(int(stamp) - NOW_S) <= 300
    assert is_now or refuses(carrier, request, NOW_S)


def refuses(carrier: Carrier, request: CallbackRequest, now_s: float) -> bool:
    try:
        carrier.read(request, now_s)
    except BadSignature:
        return True
    return False


def check_csv(data: bytes, cuts: Sequence[int], region: str = "US") -> None:
    """However a file is cut into chunks it reads the same, every row is a number, and no line counts twice."""
    whole = read_csv([data], region)
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    pieces = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]
    assert read_csv(pieces, region) == whole
    if whole is None:
        return
    rows, bad = whole
    lines = [line for line, _, _ in rows] + [line for line, _ in bad]
    assert len(lines) == len(set(lines))
    assert all(1 <= line <= data.count(b"\n") + data.count(b"\r") + 1 for line in lines)
    assert all(is_e164(phone) for _, phone, _ in rows)
    assert "\0" not in str(rows)


def read_csv(chunks: Iterable[bytes], region: str) -> tuple[list[Any], list[tuple[int, str]]] | None:
    """Rows, and faulty lines; None when the file as a whole is refused."""
    reader = RowReader(region)
    rows, bad = [], []
    try:
        for batch in (*map(reader.feed, chunks), reader.close()):
            rows += batch.rows
            bad += [(each.line, each.reason) for each in batch.bad]
    except InvalidInput:
        return None
    return rows, bad


def check_csv_oracle(table: Sequence[Sequence[str]]) -> None:
    """What Python's own writer writes is read back: each cell of each row that holds a number."""
    text = io.StringIO()
    csv.writer(text).writerows([["phone", "a", "b"], *table])
    found = read_csv([text.getvalue().encode()], "US")
    assert found is not None
    expected = [(phone, {"a": a, "b": b}) for phone, a, b in table]
    assert [(phone, data) for _, phone, data in found[0]] == expected


def check_phone(text: str, region: str) -> None:
    """A refusal, or E.164 that reads as itself in every region."""
    found = normalise(text, region)
    if isinstance(found, Rejection):
        assert found.message
        return
    assert is_e164(found)
    assert normalise(found, region) == found == normalise(found, "GB")
    digits = re.sub(r"\D", "", text, flags=re.ASCII)
    assert not text.isascii() or found[-4:] in digits  # the number, and not one made of it


def check_event_id(text: str) -> None:
    number = parse_id(text)
    assert number is None or (0 <= number < 10**19 and int(text) == number)
    frame = frames.reset(text, 7)
    assert frame.count(b"\n\n") == 1
    assert frame.endswith(b"\n\n")


def check_cursor(prefix: str, text: str, limit: int | None) -> None:
    """A cursor is read as what it was written from, or refused."""
    number = ids.decode(prefix, text)
    assert number is None or ids.encode(prefix, number) == text
    ref = ids.parse_attempt_ref(text)
    assert ref is None or ids.attempt_ref(*ref) == text or text.rpartition("-")[2].startswith("0")
    try:
        page = Page(prefix, limit, text)
    except InvalidInput:
        return
    assert page.after == number is not None
    assert 1 <= page.size <= 1_000


def check_socket_message(text: str) -> None:
    """A request of a known type whose parts are usable, or a refusal."""
    try:
        request = _parse(text)
        wanted, after = _topics(request.get("topics")), _last_event_id(request.get("lastEventId"))
    except InvalidInput as refusal:
        assert_short(refusal, 500)
        return
    assert wanted <= topics.ALL
    assert after is None or isinstance(after, str)


def check_template(text: str, values: Mapping[str, str]) -> None:
    """A text is refused, or rendered on one line for what came from outside, with nothing of a field left."""
    try:
        parsed = template.parse(text)
    except InvalidInput:
        return
    found = template.values_of(values)
    for value in found.values():
        assert len(value) <= template.LONGEST_VALUE
        assert value.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]", value)
    if parsed.missing(found):
        return
    rendered = parsed.render(found)
    literal = "".join(piece for piece in parsed.pieces if isinstance(piece, str))
    assert len(rendered) <= len(literal) + sum(
        max(len(found.get(field.name, "")), len(field.default or "")) for field in parsed.fields
    )
    content.scan(rendered, content.policy_of(None, is_live=False))


def check_upload(body: bytes, cuts: Sequence[int], content_type: str) -> None:
    """The chunks of a file, or a refusal; nothing else, however it is cut."""
    whole = upload([body], content_type)
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    pieces = [body[begin:end] for begin, end in zip([0, *places], [*places, len(body)], strict=True)]
    assert upload(pieces, content_type) == whole


def upload(chunks: Sequence[bytes], content_type: str) -> bytes | None:
    async def read() -> bytes:
        request = asked(chunks, [(b"content-type", content_type.encode("latin-1", "replace"))])
        return b"".join([chunk async for chunk in csv_chunks(request)])

    try:
        return run(read())
    except InvalidInput:
        return None


def check_json(body: bytes, content_type: str) -> None:
    """One value that can be written down again, or a refusal; over the limit it is not read."""
    request = asked([body], [(b"content-type", content_type.encode("latin-1", "replace"))])
    try:
        value = run(request.json())
    except (InvalidInput, TooLarge):
        return
    assert len(body) <= MOST_BYTES
    assert b"\\u0000" not in orjson.dumps(value).replace(b"\\\\", b"")


MOST_BYTES = 2_000


def asked(chunks: Sequence[bytes], headers: list[tuple[bytes, bytes]]) -> ApiRequest:
    """A request as the server hands it on."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
    return ApiRequest(scope, receive, MOST_BYTES)


_loop: asyncio.Runner | None = None


def run(work: Any) -> Any:
    """In one loop for all: a new one for each input would cost more than the input."""
    global _loop  # noqa: PLW0603 - kept as long as the process, as pytest's own are
    if _loop is None:
        _loop = asyncio.Runner()
    return _loop.run(work)


def close() -> None:
    global _loop  # noqa: PLW0603
    if _loop is not None:
        _loop.close()
        _loop = None


def check_campaign(body: object) -> None:
    """A configuration, or faults that name their fields and repeat little of what was sent."""
    try:
        config = parse_campaign(body)
    except InvalidInput as refusal:
        assert_short(refusal, 2_000)
        return
    assert config.sent is body
    assert 0 < len(config.name) <= 200


def check_url(url: str) -> None:
    """What passes leads to no address of our own network, whoever else reads the URL."""
    try:
        egress.check_url(url, allow_private=False)
    except InvalidInput:
        return
    parsed = URL(url)
    assert parsed.scheme == "https"
    assert (parsed.user, parsed.password) == (None, None)
    assert not re.search(r"[\s\\]", url)
    try:
        found = socket.getaddrinfo(parsed.host, 443, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return  # a name: judged when it is called
    for *_, address in found:
        assert ipaddress.ip_address(str(address[0]).partition("%")[0]).is_global, url


def assert_short(refusal: InvalidInput, most: int) -> None:
    """It quotes what it was sent, but not all of it, and names the fields."""
    assert len(refusal.message) < most
    assert all(len(str(fault)) < most for fault in refusal.fields.values())


def check_topics(globs: Sequence[str]) -> None:
    try:
        assert expand(globs) <= topics.ALL
    except InvalidInput as refusal:
        assert_short(refusal, 500)


def check_retry_after(value: str) -> None:
    wait_s = _retry_after_s(value, real_now())
    assert wait_s is None or wait_s >= 0


def check_redaction(before: str, secret: str, after: str) -> None:
    """However a secret is wrapped, nothing of it is in the line, but where the line says the same anyway."""
    if secret in before + after or secret in log.REDACTED:
        return
    for wrapped in (
        f"tk_live_{secret}",
        f"tk_test_{secret}",
        f"whsec_{secret}",
        f"Bearer {secret}",
        f"?token={secret}",
        f"postgresql://carillon:{secret}@db:5432/x",
        f"redis://:{secret}@redis:6379/0",
        orjson.dumps({"secret": secret}).decode(),
        repr({"password": secret}),
    ):
        assert secret not in log.redact(f"{before} {wrapped} {after}")


def check_frame(name: str, data: object, seq: int) -> None:
    """One event, whatever is in it: a name, a number and a line of JSON that says the same."""
    frame = frames.encode(name, data, seq)
    lines = frame.decode().splitlines()
    assert len(lines) == 4
    assert (lines[1], lines[3]) == (f"id: {seq}", "")
    assert lines[0].startswith("event: ")
    assert orjson.loads(lines[2].removeprefix("data: ")) == data
