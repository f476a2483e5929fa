"""One account's newest events in memory, and the clients that follow them.

Everything rests on one rule: `accept` takes event `last + 1` and no other. What is older is a repeat and is skipped,
what is newer leaves a hole that its caller fills from PostgreSQL first. So it does not matter who brings events, how
often, or what Redis forgot: each client gets each number once, in order.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from engine import metrics
from engine.feed.chunks import Chunk
from engine.feed.dialect import Dialect, Encoded, Filter
from engine.ids import encode

SLICE_BYTES = 131_072
MOST_SLICES = 64  # kept: 8 MB

_log = structlog.get_logger()


class Sink(Protocol):
    """Where a client's bytes go. No method raises for a client that has gone."""

    @property
    def is_open(self) -> bool: ...

    def write(self, data: bytes) -> None:
        """Takes whole frames; never waits."""

    def pending(self) -> int:
        """Bytes taken that the network has not."""

    async def drained(self) -> None:
        """Returns when few bytes are pending, or the client has gone."""

    def cut(self) -> None:
        """Aborts the connection: a client that is cut reconnects and resumes by id, one that is ended may not."""


@dataclass(eq=False, slots=True)
class Subscription:
    """One client: what it speaks, and what of it it wants.

    Whatever its sink raises ends this client and no other: who writes here writes to all of them in one loop.
    """

    account_id: int
    sink: Sink
    dialect: Dialect
    filter: Filter
    ended: bool = False  # cut or unsubscribed; its connection may be open still, for another one

    @property
    def is_open(self) -> bool:
        return not self.ended and self.sink.is_open

    def wants(self, event: Encoded) -> bool:
        return bool(event.frame) and self.filter.wants(event)

    def write(self, data: bytes) -> int:
        """Writes, unless it has ended; answers the bytes that are pending."""
        if self.ended:
            return 0
        try:
            self.sink.write(data)
            return self.sink.pending()
        except Exception:
            self.fail()
            return 0

    def fail(self) -> None:
        """Ends it because of the exception that is being handled."""
        _log.exception("stream.failed", account=encode("acct", self.account_id))
        self.cut("failed")

    def cut(self, reason: str) -> None:
        """Ends it, and its connection."""
        if self.ended:
            return
        self.ended = True
        _log.info("stream.cut", account=encode("acct", self.account_id), reason=reason)
        metrics.STREAMS_CUT.labels(reason).inc()
        try:
            self.sink.cut()
        except Exception:
            _log.exception("stream.cut_failed", account=encode("acct", self.account_id))


Slice = tuple[bytes, int]  # frames, and the number up to which they are all that a filter wants


@dataclass(slots=True)
class _View:
    """The tail's events in one dialect, and its subscriptions by what they want.

    After a disconnection of everybody, clients by the thousand want the same: one filter, one cursor. So what was found
    for the first of them is kept for the others, for a moment.
    """

    dialect: Dialect
    events: list[Encoded]
    groups: dict[Filter, set[Subscription]] = field(default_factory=dict)
    matches: dict[tuple[Filter, int], list[int]] = field(default_factory=dict)  # true until the next event
    slices: dict[tuple[Filter, int], Slice] = field(default_factory=dict)  # true for ever

    def forget(self) -> None:
        self.matches.clear()
        self.slices.clear()


class Tail:
    """The newest `size` to `2 × size` events of one account, encoded once per dialect, and who is up to date with them.

    `on_lag(subscription)` is called for one that has more than `limit_bytes` pending; it has then left, and everything
    up to `last` is in its sink.
    """

    def __init__(
        self, account_id: int, last: int, *, size: int, limit_bytes: int, on_lag: Callable[[Subscription], None]
    ) -> None:
        self.account_id = account_id
        self.last = last
        self.history = 0  # counts restarts
        self.clients = 0  # subscriptions, those that catch up included; kept by the hub
        self.used_at = time.monotonic()
        self.searching = asyncio.Lock()  # held by the one of its clients that searches PostgreSQL; kept by the hub
        self._size = size
        self._limit_bytes = limit_bytes
        self._on_lag = on_lag
        self._lines: list[bytes] = []
        self._views: dict[str, _View] = {}

    @property
    def first(self) -> int:
        """The lowest number in memory; `last + 1` when there is none."""
        return self.last + 1 - len(self._lines)

    @property
    def newest(self) -> Chunk | None:
        """The newest event; None when none is in memory."""
        return Chunk(self.account_id, self.last, self.last, self._lines[-1]) if self._lines else None

    def accept(self, chunk: Chunk) -> bool:
        """Takes what is new in the chunk and sends it. False: it begins after `last + 1`, and nothing was taken."""
        if chunk.first > self.last + 1:
            return False
        lines = chunk.after(self.last)
        fresh = {name: self._encode(view.dialect, self.last + 1, lines) for name, view in self._views.items()}
        self._lines += lines
        self.last += len(lines)
        for name, view in self._views.items():
            view.events += fresh[name]
            view.matches.clear()
        if len(self._lines) > 2 * self._size:
            del self._lines[: -self._size]
            for view in self._views.values():
                del view.events[: -self._size]
        for name, view in self._views.items():
            self._send(view, fresh[name])
        return True

    def matching(self, subscription: Subscription, after: int) -> list[int]:
        """The numbers of the events in memory after `after` that the subscription wants."""
        view, key = self._view(subscription.dialect), (subscription.filter, after)
        found = view.matches.get(key)
        if found is None:
            found = [event.seq for event in self._after(view, after) if subscription.wants(event)]
            view.matches[key] = found
        return found

    def slice(self, subscription: Subscription, after: int) -> Slice:
        """About `SLICE_BYTES` of what the subscription wants of the events in memory after `after`."""
        view, key = self._view(subscription.dialect), (subscription.filter, after)
        found = view.slices.get(key)
        if found is None and after < self.last:  # of nothing yet, there will be more
            if len(view.slices) >= MOST_SLICES:
                view.slices.clear()
            found = view.slices[key] = self._cut(view, subscription, after)
        return found or (b"", after)

    def forget(self) -> None:
        """Frees what was kept for clients that ask the same. Call it now and then."""
        for view in self._views.values():
            view.forget()

    def join(self, subscription: Subscription) -> None:
        """From here on the subscription gets each event. Its sink must have got all up to `last`."""
        self._view(subscription.dialect).groups.setdefault(subscription.filter, set()).add(subscription)

    def leave(self, subscription: Subscription) -> None:
        groups = self._view(subscription.dialect).groups
        group = groups.get(subscription.filter)
        if group is not None:
            group.discard(subscription)
            if not group:
                del groups[subscription.filter]

    def subscriptions(self) -> Iterator[Subscription]:
        for view in list(self._views.values()):
            for group in list(view.groups.values()):
                yield from list(group)

    def restart(self, last: int) -> None:
        """Forgets all events, because the database has another history now, and tells the clients so."""
        old, self.last = self.last, last
        self.history += 1
        self._lines.clear()
        for view in self._views.values():
            view.events.clear()
            view.forget()
        for subscription in self.subscriptions():
            subscription.write(subscription.dialect.reset(str(old), last))

    def encode(self, dialect: Dialect, seq: int, line: bytes) -> Encoded:
        """One event in a dialect. A broken one is logged and dropped: it must not stop the others."""
        try:
            return dialect.encode(self.account_id, seq, line)
        except Exception:
            _log.error("event.undecodable", account=encode("acct", self.account_id), seq=seq, dialect=dialect.name)
            return Encoded(seq, "", b"")

    def _cut(self, view: _View, subscription: Subscription, after: int) -> Slice:
        wanted, size = [], 0
        for event in self._after(view, after):
            if subscription.wants(event):
                wanted.append(event.frame)
                size += len(event.frame)
                if size >= SLICE_BYTES:
                    return b"".join(wanted), event.seq
        return b"".join(wanted), self.last

    def _after(self, view: _View, seq: int) -> list[Encoded]:
        return view.events[max(0, seq + 1 - self.first) :]

    def _view(self, dialect: Dialect) -> _View:
        view = self._views.get(dialect.name)
        if view is None:
            view = self._views[dialect.name] = _View(dialect, self._encode(dialect, self.first, self._lines))
        return view

    def _encode(self, dialect: Dialect, first: int, lines: Sequence[bytes]) -> list[Encoded]:
        return [self.encode(dialect, seq, line) for seq, line in enumerate(lines, first)]

    def _send(self, view: _View, fresh: list[Encoded]) -> None:
        for wish, group in list(view.groups.items()):
            wanted = [event.frame for event in fresh if event.frame and wish.wants(event)]
            if not wanted:
                continue
            data = b"".join(wanted)
            for subscription in list(group):
                if subscription.write(data) > self._limit_bytes:
                    self.leave(subscription)
                    self._on_lag(subscription)
