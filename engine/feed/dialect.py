"""What a dialect is: a pure function from canonical events to what one kind of client reads.

A dialect may drop an event, never invent one. It encodes each event once for all its clients; what each of them wants
of it is said by a filter, and equal filters share their work.
"""

from collections.abc import Hashable
from typing import NamedTuple, Protocol, runtime_checkable

from engine.rules.events import Owner


class Encoded(NamedTuple):
    """One event as a stream sends it. An event that the dialect drops has no name and no frame, but its number."""

    seq: int
    name: str  # what filters look at: a channel, a topic, an event name
    frame: bytes
    owner: Owner | None = None  # whose number it is about, where the dialect has streams of one's own


class Dialect(Protocol):
    """One wire form. Implementations are modules or stateless objects: nothing in them depends on the client."""

    @property
    def name(self) -> str:
        """Label in metrics and logs."""
        ...

    @property
    def heartbeat(self) -> bytes:
        """What keeps an idle connection alive."""
        ...

    def encode(self, account_id: int, seq: int, line: bytes) -> Encoded:
        """One canonical event (`Event.encode()`). Raises ValueError, KeyError, TypeError for anything else."""
        ...

    def truncated(self, requested: int, oldest: int, newest: int) -> bytes:
        """Tells that matching events after `requested` are not sent; `oldest` is the first that is, or could be."""
        ...

    def reset(self, requested: str, newest: int) -> bytes:
        """Tells that `requested` is no id of this log; what follows is live, after `newest`."""
        ...


class Filter(Hashable, Protocol):
    """What of a dialect one client wants. Equal filters must have equal hashes."""

    @property
    def types(self) -> tuple[str, ...] | None:
        """SQL LIKE patterns of canonical types that hold all it wants, to narrow a search; None: any."""
        ...

    def wants(self, event: Encoded) -> bool:
        """Of an event that the dialect did not drop."""
        ...


@runtime_checkable
class OwnersFilter(Filter, Protocol):
    """A filter of a stream of one's own. It spares its clients news of the loss of events that were others'."""

    def owns(self, owner: Owner | None) -> bool: ...
