"""What both API shapes share: a line (one call or text), what is reported of it, and what it can be told to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.carriers.network.config import Account
from engine.carriers.port import AgentKind, Channel, Media


@dataclass(frozen=True, slots=True)
class Order:
    """A create, whichever shape it came in. Times are simulated seconds."""

    channel: Channel
    ref: str
    to: str
    from_: str
    webhook_url: str
    text: str = ""
    amd: bool = False
    ring_timeout_s: float = 30
    max_duration_s: float = 14_400
    media_urls: tuple[str, ...] = ()
    not_after: float | None = None  # real epoch seconds: what still waits here then is not delivered


@dataclass(frozen=True, slots=True)
class Incoming(Order):
    """A text or call that a person begins. Its `ref` is its id at the carrier: the engine has given it no name yet."""

    media: tuple[Media, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One thing that happened, in the network's own words; each shape has its vocabulary for it.

    kinds of a call: ringing, answered, amd, greeting_ended, agent_bridged, agent_failed, playback_ended, hangup;
    of a text: sent, delivered, failed; of one that comes in: received; of a call that comes in: started, answered,
    ended. `detail` is the verdict, reason, cause or status.
    """

    kind: str
    seq: int
    at: float  # real epoch seconds
    detail: str = ""
    duration_s: int = 0


@dataclass(slots=True, eq=False)
class Line:
    """One accepted create, or what came in. `reports` is its history, also what a look-up answers."""

    wire: "Wire"
    account: Account
    id: str
    order: Order
    reports: list[Report] = field(default_factory=list)


class Wire(Protocol):
    """One API shape: how a report is written and signed, and what a callback's answer tells the network to do."""

    name: str

    def envelope(self, line: Line, report: Report) -> Mapping[str, Any]: ...
    def callback(self, line: Line, report: Report, now_s: float) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of one callback, signed at `now_s`."""
        ...

    def instructions(self, body: bytes) -> "list[Verb] | None":
        """The verbs that a callback's answer holds; None when it says nothing. Raises ValueError if unreadable."""
        ...


@dataclass(frozen=True, slots=True)
class Connect:
    kind: AgentKind
    address: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Play:
    url: str


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


Verb = Connect | Play | Say | Pause | Hangup
