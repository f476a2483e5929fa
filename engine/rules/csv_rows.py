"""A contact list in CSV, read as it streams in: chunks of bytes go in, normalised rows and faulty lines come out.

Nothing is held but the current line and the current record, each at most 64 KiB: a longer line is skipped unread and
reported. A quote that is never closed costs its own line, not the rest of the file: reading resumes at the next line.
Numbers are `normalise`d here, so that a batch costs one call.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.errors import InvalidInput
from engine.rules.phone import normalise

LONGEST = 65_536  # bytes of a line, characters of a record

_SHOWN = 80
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_TOO_LONG = f"is longer than {LONGEST // 1024} KiB; a contact fits in far less"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that adds nobody, and why. `text` is its beginning, for the report."""

    line: int
    reason: str
    text: str = ""


Row = tuple[int, str, dict[str, str] | None]  # line number, E.164, further columns (None when there is one column)


@dataclass(slots=True)
class Batch:
    rows: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


def read_rows(chunks: Iterable[bytes], region: str = "US") -> Iterator[Batch]:
    """Batches of a whole file, one per chunk. Raises InvalidInput as `RowReader` does."""
    reader = RowReader(region)
    for chunk in chunks:
        yield reader.feed(chunk)
    yield reader.close()


class RowReader:
    """Push one file's chunks through `feed`, then call `close`; each answers what became complete.

    Columns: `phone` by its header (any case), or the only column, with or without a header. Raises InvalidInput when
    the file as a whole cannot be read: UTF-16, no `phone` among several columns, `phone` twice. Lines count from 1.
    """

    def __init__(self, region: str = "US") -> None:
        self._region = region
        self._lines = _Lines()
        self._feeder = _Feeder()
        self._cells: Iterator[list[str]] | None = None
        self._names: list[str] | None = None  # one per column, once the first row was read
        self._phone = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the further columns; empty until the header was read."""
        return tuple(name for index, name in enumerate(self._names or ()) if index != self._phone)

    def feed(self, chunk: bytes) -> Batch:
        self._feeder.queue.extend(self._lines.split(chunk))
        return self._read(final=False)

    def close(self) -> Batch:
        self._feeder.queue.extend(self._lines.rest())
        return self._read(final=True)

    def _read(self, final: bool) -> Batch:
        batch, feeder = Batch(), self._feeder
        while True:
            try:
                cells = next(self._cells or self._open())
            except _Unreadable as fault:
                batch.bad.append(BadRow(feeder.line, fault.line.reason, fault.line.text))
                feeder.skip_line()
            except _RanOut:
                if not (final and feeder.taken):
                    feeder.put_back()
                    return batch
                self._reject_record(batch, "opens a quote that is never closed")
            except _Runaway:
                self._reject_record(batch, "opens a quote that does not close within 64 KiB of readable lines")
            except csv.Error as error:
                self._reject_record(batch, f"is not valid CSV: {error}")
            else:
                self._take(cells, batch)
                feeder.accept()

    def _open(self) -> Iterator[list[str]]:
        self._cells = csv.reader(self._feeder, delimiter=_delimiter(self._feeder.peek()))
        return self._cells

    def _reject_record(self, batch: Batch, reason: str) -> None:
        """Only the record's first line is lost: the lines after it are read again on their own."""
        batch.bad.append(BadRow(self._feeder.line, reason, self._feeder.taken[0][:_SHOWN].rstrip()))
        self._feeder.put_back()
        self._feeder.skip_line()

    def _take(self, cells: list[str], batch: Batch) -> None:
        if self._names is None and (not any(cells) or self._read_header(cells)):
            return
        names, line = self._names or [], self._feeder.line
        if len(cells) > len(names):
            reason = f"has {len(cells)} columns where the header has {len(names)}"
            batch.bad.append(BadRow(line, reason, cells[0][:_SHOWN]))
        elif len(cells) <= self._phone:
            if any(cells):
                batch.bad.append(BadRow(line, "has no phone column", cells[0][:_SHOWN]))
        else:
            phone = normalise(cells[self._phone], self._region)
            if isinstance(phone, str):
                batch.rows.append((line, phone, self._data(names, cells)))
            elif any(cells):
                batch.bad.append(BadRow(line, phone.message, phone.text[:_SHOWN]))

    def _data(self, names: list[str], cells: list[str]) -> dict[str, str] | None:
        if len(names) == 1:
            return None
        data = dict(zip(names, cells, strict=False))
        del data[names[self._phone]]
        return data

    def _read_header(self, cells: list[str]) -> bool:
        """Sets the columns by the first row; False when that row is no header but the first contact."""
        names = [cell.strip() or f"column_{index + 1}" for index, cell in enumerate(cells)]
        places = [index for index, name in enumerate(names) if name.lower() == "phone"]
        if len(places) > 1:
            raise _invalid("has more than one column named 'phone'; rename all but one")
        if len(names) > 1 and not places:
            found = ", ".join(names)[:200]
            raise _invalid(f"has no column named 'phone' (found: {found}); name the column of the numbers 'phone'")
        self._names, self._phone = names, places[0] if places else 0
        return bool(places) or not any(char.isdigit() for char in cells[0])


@dataclass(frozen=True, slots=True)
class _BadLine:
    reason: str
    text: str


class _RanOut(Exception):
    """No further line has arrived yet."""


class _Runaway(Exception):
    """A quoted field has swallowed more than a record may hold."""


class _Unreadable(Exception):
    def __init__(self, line: _BadLine) -> None:
        self.line = line


class _Feeder:
    """Hands lines to `csv.reader` and remembers those of the current record, so that they can be read again.

    It never ends by StopIteration: `csv.reader` would answer half a record. After another exception it starts afresh.
    """

    def __init__(self) -> None:
        self.queue: deque[str | _BadLine] = deque()
        self.taken: list[str] = []
        self.line = 1  # number of the current record's first line
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.queue:
            raise _RanOut
        line = self.queue[0]
        if isinstance(line, _BadLine):
            raise _Runaway if self.taken else _Unreadable(line)
        self._size += len(line)
        if self._size > LONGEST and self.taken:
            raise _Runaway
        self.taken.append(line)
        self.queue.popleft()
        return line + "\n"

    def peek(self) -> str:
        if not self.queue:
            raise _RanOut
        return line if isinstance(line := self.queue[0], str) else ""

    def accept(self) -> None:
        self.line += len(self.taken)
        self.taken.clear()
        self._size = 0

    def put_back(self) -> None:
        self.queue.extendleft(reversed(self.taken))
        self.taken.clear()
        self._size = 0

    def skip_line(self) -> None:
        self.queue.popleft()
        self.line += 1


class _Lines:
    """Cuts bytes into decoded lines, and drops the bytes of an endless one as they come."""

    def __init__(self) -> None:
        self._tail = b""
        self._began = False
        self._end = b""  # b"\n", or b"\r" in a file that has no other line ends
        self._skipped: bytes | None = None  # the beginning of the line being dropped

    def split(self, chunk: bytes) -> list[str | _BadLine]:
        data = self._tail + chunk
        if not self._began:
            if len(data) < len(_BOM):
                self._tail = data
                return []
            data = self._begin(data)
        self._end = self._end or _line_end(data)
        if not self._end:
            self._tail = data
            return []
        lines: list[str | _BadLine] = []
        if self._skipped is not None:
            cut = data.find(self._end) + 1
            if not cut:
                self._tail = b""
                return []
            lines.append(_BadLine(_TOO_LONG, _beginning(self._skipped)))
            self._skipped, data = None, data[cut:]
        cut = data.rfind(self._end) + 1
        lines.extend(_decode(data[:cut], self._end))
        self._tail = data[cut:]
        if len(self._tail) > LONGEST:
            self._skipped, self._tail = self._tail[:_SHOWN], b""
        return lines

    def rest(self) -> list[str | _BadLine]:
        """The last line, which needs no line end."""
        if self._skipped is not None:
            return [_BadLine(_TOO_LONG, _beginning(self._skipped))]
        data = self._tail if self._began else self._begin(self._tail)
        end = self._end or _line_end(data, is_all=True)
        return _decode(data + end, end) if data else []

    def _begin(self, data: bytes) -> bytes:
        self._began = True
        if data.startswith(_UTF16):
            raise _invalid("is UTF-16; export it as CSV UTF-8")
        return data.removeprefix(_BOM)


def _line_end(data: bytes, *, is_all: bool = False) -> bytes:
    """The file's line end, by its first 64 KiB whatever the chunks; empty while that cannot be told."""
    head = data[:LONGEST]
    if b"\n" in head:
        return b"\n"
    if not is_all and len(data) < LONGEST:
        return b""  # a lone CR may be part of the first line
    return b"\r" if b"\r" in head else b"\n"


def _decode(block: bytes, end: bytes) -> list[str | _BadLine]:
    """Lines of a block that ends with a line end. The whole block at once when nothing in it is wrong."""
    if not block:
        return []
    try:
        text = block.decode()
    except UnicodeDecodeError:
        return [_decode_line(line) for line in block.split(end)[:-1]]
    lines = text.replace("\r\n", "\n").split(end.decode())
    lines.pop()
    if "\0" in text or max(map(len, lines)) > LONGEST:
        return [_decode_line(line) for line in block.split(end)[:-1]]
    return list(lines)


def _decode_line(line: bytes) -> str | _BadLine:
    if len(line) > LONGEST:
        return _BadLine(_TOO_LONG, _beginning(line))
    if b"\0" in line:
        return _BadLine("contains a NUL byte; export the file again as text", _beginning(line))
    try:
        return line.decode().removesuffix("\r")
    except UnicodeDecodeError:
        return _BadLine("is not UTF-8; export the file as CSV UTF-8", _beginning(line))


def _beginning(line: bytes) -> str:
    return line[:_SHOWN].decode(errors="replace").replace("\0", "\ufffd").rstrip()


def _delimiter(line: str) -> str:
    """The one of comma, semicolon and tab that occurs most in the first line."""
    return max(",;\t", key=line.count)


def _invalid(fault: str) -> InvalidInput:
    return InvalidInput(f"the file {fault}", {"file": fault})
