"""What a history is made of: the engine's transactions, each one atomic step, over a store of some kind.

`PostgresSteps` calls the engine's own functions. `MemorySteps` keeps the rows in dictionaries and decides by the same
rules. Both must answer alike: one contract suite runs over both, and whole histories are compared.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple, Protocol

from engine.clock import Clock
from engine.coordinator.shard import Claim, Due, Queued, Walk
from engine.coordinator.windows import Closed
from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.facts import AttemptKey
from engine.dispatch.facts import Campaign as Settled
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentBatch
from engine.dispatch.settle import SettleResult
from engine.dispatch.watch import Watched
from engine.rules.campaign import Action
from engine.rules.decision import AttemptView
from engine.rules.reports import Report
from engine.rules.telephony import Channel, Command
from engine.settings import Settings
from engine.store.callbacks import Report as Callback
from engine.store.campaigns import Campaign
from engine.store.tickets import Ticket

__all__ = ["Account", "Number", "Plan", "Request", "Settled", "Snapshot", "Steps", "Usable"]

CARRIER, DOCUMENT_CARRIER = "simulated-command", "simulated-document"
TEXT = "Your table is ready."  # of every one-off message
SETTINGS = Settings.model_validate({"DATABASE_URL": "postgres://unused", "REDIS_URL": "redis://unused"})


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    agent: Mapping[str, object] | None = None
    limits: Mapping[str, object] | None = None  # of its carrier


@dataclass(frozen=True, slots=True)
class Number:
    """A number that an account sends from."""

    id: int
    account_id: int
    e164: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign as its client asks for it."""

    id: int
    account_id: int
    channel: Channel
    mode: Mapping[str, object]
    schedule: Mapping[str, object] | None = None
    purpose: str = "marketing"
    calls_per_second: float = 5.0
    carrier: str = CARRIER


class Request(NamedTuple):
    """One call or one text that a client asks the api for, outside of campaigns."""

    account_id: int
    channel: Channel
    phone: str
    number: str  # that it must come from
    name: str = ""  # the same in a repeat; without one each request is a contact of its own
    carrier: str = CARRIER
    purpose: str = ""
    is_ai: bool = False  # a call with a prompt of its own
    longest_s: int | None = None  # of a call

    @property
    def parameters(self) -> dict[str, object]:
        """What is asked of a call."""
        prompt = "You confirm a table for two." if self.is_ai else None
        asked = {"systemPrompt": prompt, "maxDuration": self.longest_s, "purpose": self.purpose or None}
        return {name: value for name, value in asked.items() if value is not None}


class Kept(NamedTuple):
    """Where a one-off contact is kept: the account's hidden campaign, and its prospect there."""

    campaign_id: int
    prospect_id: int


class Direct(NamedTuple):
    """A hidden campaign of one-off contacts."""

    id: int
    account_id: int
    channel: Channel
    carrier: str
    status: str


class Usable(NamedTuple):
    """A number as the coordinator sees it. `free_s`: engine time (epoch) from which it may send a campaign's text."""

    id: int
    number: str
    free_s: float


class Imported(NamedTuple):
    added: int
    held: int
    released: int
    duplicates: int
    invalid: int


class Person(NamedTuple):
    """A prospect's row. `next_at` is empty text when due since ever, `infinity` when it is over."""

    campaign_id: int
    id: int
    account_id: int
    phone: str
    state: int
    attempt: int
    outcome: int | None
    reason: str | None
    next_at: str


@dataclass(slots=True)
class Snapshot:
    """Everything that is kept, in one canonical form: two stores with one history have equal snapshots."""

    campaigns: list[tuple[int, str, str]] = field(default_factory=list)  # id, status, reason
    directs: list[Direct] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    attempts: list[AttemptView] = field(default_factory=list)
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    suppressed: list[tuple[int, str, str, datetime]] = field(default_factory=list)  # account, phone, source, when
    free_s: dict[int, float] = field(default_factory=dict)  # number → engine time from which it may text
    events: dict[int, list[tuple[int, str]]] = field(default_factory=dict)  # account → (number, body)
    used: dict[tuple[int, date, str], int] = field(default_factory=dict)
    unsettled: int = 0
    unnumbered: int = 0


class Steps(Protocol):
    """Each method is one transaction, or one look. Identifiers are the store's own numbers."""

    clock: Clock  # engine time; an operator may set it

    # what is there before anything happens
    async def prepare(
        self, accounts: Sequence[Account], numbers: Sequence[Number], campaigns: Sequence[Plan]
    ) -> None: ...

    # clients
    async def add_prospects(self, campaign_id: int, phones: Sequence[str]) -> int:
        """How many were new. Raises Conflict."""
        ...

    async def import_csv(self, campaign_id: int, body: bytes) -> Imported: ...
    async def move(self, campaign_id: int, action: Action) -> str:
        """The new status; raises Conflict. Tickets may still be open."""
        ...

    async def open_tickets(self, campaign_id: int) -> list[Ticket]: ...
    async def are_open(self, tickets: Sequence[Ticket]) -> bool: ...
    async def opt_out(self, account_id: int, phone: str) -> int: ...
    async def direct(self, asked: Request, now: datetime) -> int:
        """The hidden campaign of such requests, made at the first of them. `now`, here and below: when it came."""
        ...

    async def create_call(self, asked: Request, now: datetime) -> int: ...
    async def queue_text(self, asked: Request, now: datetime) -> Kept: ...

    # coordinators
    async def active(self) -> list[Campaign]:
        """Campaigns that are dialing, or cancelled, by id."""
        ...

    async def facts(self, campaign_ids: Collection[int]) -> dict[int, CampaignFacts]: ...
    async def claim(self, wanted: Sequence[tuple[Walk, int]]) -> list[Claim]: ...
    async def queued_behind(self, walks: Sequence[Walk]) -> dict[int, dict[int, Queued]]: ...
    async def read_due(self, campaign: Campaign, prospect_ids: Sequence[int]) -> list[Due]: ...
    async def put_off(self, closed: Sequence[Closed], now: datetime) -> None: ...
    async def usable(self, campaign: Campaign) -> list[Usable]: ...
    async def sweep(self, campaign_id: int) -> int: ...
    async def complete(self, campaign_id: int) -> bool: ...
    async def overdue(self) -> list[AttemptKey]: ...
    async def unsettled(self) -> list[int]: ...

    # workers
    async def commit_intents(self, hints: Sequence[Hint], channel: Channel) -> IntentBatch: ...
    async def settle(
        self,
        learned: Mapping[AttemptKey, Sequence[Report]],
        known: Mapping[AttemptKey, AttemptView] | None = None,
    ) -> SettleResult: ...
    async def settle_callbacks(self, ids: Collection[int]) -> SettleResult: ...
    async def due_attempts(self, keys: Collection[AttemptKey]) -> list[Watched]: ...

    # api, relay
    async def receive(self, callbacks: Sequence[Callback]) -> list[int]: ...
    async def answer(self, callback: Callback) -> Command | None:
        """What a document carrier is told in the answer to a callback that was received."""
        ...

    async def number(self, relay: str) -> int | None:
        """How many events got their number; None when another relay leads."""
        ...

    async def depose(self) -> None:
        """The relays' lease has run out."""
        ...

    async def snapshot(self) -> Snapshot: ...
