"""Reading a request's body: whole and bounded for JSON, streamed and unbounded for imports."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from engine.errors import InvalidInput, TooLarge, TooSlow

PATIENCE_S = 20.0  # with a body that has not begun
LEAST_BYTES_PER_S = 1_000  # of a body on its way

MOST_LEVELS = 100  # of objects and lists in one another; 254 is what can be written down again

_UNREAD = object()
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# curl's --data-binary announces a form, whatever it sends
_CSV_TYPES = frozenset({b"", b"application/csv", b"application/octet-stream", b"application/x-www-form-urlencoded"})


class CutOff(InvalidInput):
    """An upload that broke off. It says nothing of the request: sent again it may come whole."""


class ApiRequest(Request):
    """A request whose body is at most `max_bytes`, and whose JSON is strict: no NaN, no bottomless nesting."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int) -> None:
        super().__init__(scope, _Patience(receive))
        self._max_bytes = max_bytes
        self._whole: bytes | None = None
        self._parsed: Any = _UNREAD

    async def body(self) -> bytes:
        """Raises TooLarge as soon as the limit is passed, without reading on."""
        if self._whole is None:
            check_encoding(self)
            announced = self.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > self._max_bytes:
                raise self._too_large()
            chunks, size = [], 0
            async for chunk in self.stream():
                size += len(chunk)
                if size > self._max_bytes:
                    raise self._too_large()
                chunks.append(chunk)
            self._whole = b"".join(chunks)
        return self._whole

    async def json(self) -> Any:
        """Raises InvalidInput for anything but one JSON value sent as JSON."""
        if self._parsed is _UNREAD:
            body = await self.body()
            kind = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
            if kind != "application/json" and not kind.endswith("+json"):
                raise InvalidInput(f"Content-Type is {kind[:80]}; send JSON with Content-Type: application/json")
            try:
                self._parsed = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"the body is not valid JSON: {error.msg} at character {error.pos}") from None
            if _NUL.search(body):
                raise InvalidInput("the body contains a NUL character (\\u0000), which cannot be stored; remove it")
            if body.count(b"[") + body.count(b"{") > MOST_LEVELS and _is_deeper(self._parsed, MOST_LEVELS):
                raise InvalidInput(f"the body is nested more than {MOST_LEVELS} levels deep; flatten it")
        return self._parsed

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is over {self._max_bytes:,} bytes; add fewer at a time, or use the CSV import")


class _Patience:
    """Waits for a body only while it keeps coming: one that hardly does would hold its connection, and an import one of
    few places, for as long as it likes. What the server itself waits for does not count."""

    __slots__ = ("_receive", "_received", "_waited_s")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = 0
        self._waited_s = 0.0

    async def __call__(self) -> Message:
        """Raises TooSlow."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S + self._received / LEAST_BYTES_PER_S - self._waited_s):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(f"the body came at less than {LEAST_BYTES_PER_S:,} bytes/s; send it again") from None
        self._waited_s += time.monotonic() - began
        self._received += len(message.get("body", b""))
        return message


def _is_deeper(value: object, levels: int) -> bool:
    """Whether there are more levels than that. Level by level, for a recursion could be as deep as the value."""
    level = [value]
    for _ in range(levels):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def _children(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def check_encoding(request: Request) -> None:
    """Nothing is unpacked: a few kilobytes could become gigabytes. Raises InvalidInput."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise InvalidInput(f"Content-Encoding is {encoding[:80]}; send the body as it is, not compressed")


async def csv_chunks(request: Request) -> AsyncIterator[bytes]:
    """The bytes of a CSV as they arrive: the raw body, or the first file of a multipart form.

    Raises CutOff, and InvalidInput when the form is broken.
    """
    check_encoding(request)
    kind, options = parse_options_header(request.headers.get("content-type"))
    try:
        if kind == b"multipart/form-data":
            chunks = _file_chunks(request, options.get(b"boundary", b""))
        elif kind.startswith(b"text/") or kind in _CSV_TYPES:
            chunks = request.stream()
        else:
            raise InvalidInput(f"Content-Type is {kind.decode('latin-1')[:80]}; send text/csv or multipart/form-data")
        async for chunk in chunks:
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise CutOff("the upload was cut off; nothing was imported") from None


async def _file_chunks(request: Request, boundary: bytes) -> AsyncIterator[bytes]:
    """The first file part, without keeping more of it than one network read."""
    part = _FilePart()
    try:
        parser = MultipartParser(boundary, part.callbacks())
        async for chunk in _from_the_boundary(request.stream(), b"--" + boundary):
            parser.write(chunk)
            for data in part.take():
                yield data
        parser.finalize()
    except FormParserError as error:
        raise InvalidInput(f"the multipart form is broken: {error}") from None
    if not part.found:
        raise InvalidInput("the form holds no file; send one, as curl -F file=@prospects.csv does")
    if not part.ended:
        raise CutOff("the upload was cut off; nothing was imported")


async def _from_the_boundary(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[bytes]:
    """All but the newlines before it. Anything else there is refused: what the parser makes of it depends on where the
    network has cut it."""
    head, has_begun = b"", False
    async for chunk in chunks:
        if has_begun:
            yield chunk
            continue
        head = (head + chunk).lstrip(b"\r\n")
        if head.startswith(boundary):
            has_begun = True
            yield head
        elif not boundary.startswith(head):
            raise InvalidInput("the multipart form does not begin with its boundary; send nothing before it")


class _FilePart:
    """Collects what the parser calls back for the first part that names a file."""

    def __init__(self) -> None:
        self.found = self.ended = False
        self._header = b""
        self._value = b""
        self._reading = False
        self._data: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_header_begin": self._begin_header,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_part_data": self._on_data,
            "on_part_end": self._end_part,
        }

    def take(self) -> list[bytes]:
        data, self._data = self._data, []
        return data

    def _begin_header(self) -> None:
        self._header = self._value = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition" and not self.found:
            _, options = parse_options_header(self._value)
            self.found = self._reading = b"filename" in options

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._reading:
            self._data.append(data[start:end])

    def _end_part(self) -> None:
        self.ended = self.ended or self._reading
        self._reading = False
