"""One account's newest events in memory, and the clients that follow them.

Everything rests on one rule: `accept` takes event `last + 1` and no other. What is older is a repeat and is skipped,
what is newer leaves a hole that its caller fills from PostgreSQL first. So it does not matter who brings events, how
often, or what Redis forgot: each client gets each number once, in order.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import structlog

from engine.feed import frames
from engine.feed.chunks import Chunk
from engine.feed.trunx import Encoded

Dialect = Callable[[int, int, bytes], Encoded]  # (account_id, seq, line)

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
    """One client. `channels` None: all."""

    account_id: int
    sink: Sink
    channels: frozenset[str] | None

    def wants(self, event: Encoded) -> bool:
        return bool(event.frame) and (self.channels is None or event.channel in self.channels)


class Tail:
    """The newest `size` to `2 × size` events of one account, encoded once, and the subscriptions that are up to date.

    `on_lag(subscription)` is called for one that has more than `limit_bytes` pending; it has then left, and everything
    up to `last` is in its sink.
    """

    def __init__(
        self,
        account_id: int,
        last: int,
        dialect: Dialect,
        *,
        size: int,
        limit_bytes: int,
        on_lag: Callable[[Subscription], None],
    ) -> None:
        self.account_id = account_id
        self.last = last
        self.history = 0  # counts restarts
        self.clients = 0  # subscriptions, those that catch up included; kept by the hub
        self.used_at = time.monotonic()
        self._dialect = dialect
        self._size = size
        self._limit_bytes = limit_bytes
        self._on_lag = on_lag
        self._events: list[Encoded] = []
        self._groups: dict[frozenset[str] | None, set[Subscription]] = {}

    @property
    def first(self) -> int:
        """The lowest number in memory; `last + 1` when there is none."""
        return self.last + 1 - len(self._events)

    def accept(self, chunk: Chunk) -> bool:
        """Takes what is new in the chunk and sends it. False: it begins after `last + 1`, and nothing was taken."""
        if chunk.first > self.last + 1:
            return False
        fresh = [self.encode(self.last + nth, line) for nth, line in enumerate(chunk.after(self.last), 1)]
        self._events += fresh
        self.last += len(fresh)
        if len(self._events) > 2 * self._size:
            del self._events[: -self._size]
        self._send(fresh)
        return True

    def after(self, seq: int) -> list[Encoded]:
        """The events in memory that are numbered `seq + 1` and on."""
        return self._events[max(0, seq + 1 - self.first) :]

    def join(self, subscription: Subscription) -> None:
        """From here on the subscription gets each event. Its sink must have got all up to `last`."""
        self._groups.setdefault(subscription.channels, set()).add(subscription)

    def leave(self, subscription: Subscription) -> None:
        group = self._groups.get(subscription.channels)
        if group is not None:
            group.discard(subscription)
            if not group:
                del self._groups[subscription.channels]

    def subscriptions(self) -> Iterator[Subscription]:
        for group in list(self._groups.values()):
            yield from list(group)

    def restart(self, last: int) -> None:
        """Forgets all events, because the database has another history now, and tells the clients so."""
        frame = frames.reset(str(self.last), last)
        self._events.clear()
        self.last = last
        self.history += 1
        for subscription in self.subscriptions():
            subscription.sink.write(frame)

    def encode(self, seq: int, line: bytes) -> Encoded:
        """One event in this tail's dialect. A broken one is logged and dropped: it must not stop the others."""
        try:
            return self._dialect(self.account_id, seq, line)
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.error("event.undecodable", account_id=self.account_id, seq=seq)
            return Encoded(seq, "", b"")

    def _send(self, fresh: list[Encoded]) -> None:
        for channels, group in list(self._groups.items()):
            wanted = [e.frame for e in fresh if e.frame and (channels is None or e.channel in channels)]
            if not wanted:
                continue
            data = b"".join(wanted)
            for subscription in list(group):
                subscription.sink.write(data)
                if subscription.sink.pending() > self._limit_bytes:
                    self.leave(subscription)
                    self._on_lag(subscription)
