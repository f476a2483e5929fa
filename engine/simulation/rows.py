"""The rows of the in-memory store: what PostgreSQL's tables hold, as far as histories reach."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import orjson

from engine.clock import Clock
from engine.rules.campaign import CampaignStatus
from engine.rules.decision import AttemptView
from engine.rules.purpose import Purpose
from engine.rules.stats import COUNTERS, Delta
from engine.simulation.port import Account, Number, Plan
from engine.store.callbacks import Report as Callback
from engine.store.campaigns import Campaign

SINCE_EVER = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class CampaignRow:
    """As the statements of `dispatch.campaigns` and `dispatch.facts` return it, JSON as text."""

    id: int
    account_id: int
    channel: str
    purpose: str
    mode: str
    schedule: str | None
    calls_per_second: float
    agent: str | None
    name: str
    created_at: datetime
    carrier: str
    status: str = CampaignStatus.CREATED
    status_reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    is_direct: bool = False
    is_system: bool = False
    is_live: bool = False
    content: str | None = None
    did_policy: str | None = None
    limits: str | None = None
    identification: str | None = None
    compliance: str | None = None
    frequency_cap: str | None = None
    seen: Campaign | None = None  # as last read

    def campaign(self) -> Campaign:
        if self.seen is None or (self.seen.status, self.seen.status_reason) != (self.status, self.status_reason):
            self.seen = self._read()
        return self.seen

    def _read(self) -> Campaign:
        return Campaign(
            self.id, self.account_id, self.is_direct, False, False, self.name, self.channel, Purpose(self.purpose),
            CampaignStatus(self.status), self.status_reason, self.carrier, orjson.loads(self.mode), (), None,
            orjson.loads(self.schedule) if self.schedule else None, None, self.calls_per_second, self.created_at,
            self.started_at, self.ended_at,
        )  # fmt: skip


@dataclass(slots=True)
class ProspectRow:
    campaign_id: int
    id: int
    account_id: int
    phone: str
    data: Mapping[str, object] | None = None
    one_off: int = 0
    state: int = 0
    attempt: int = 1
    outcome: int | None = None
    reason: str | None = None
    next_at: datetime = SINCE_EVER


@dataclass(slots=True)
class AttemptRow:
    view: AttemptView
    error_code: str | None = None


@dataclass(slots=True)
class CallbackRow:
    id: int
    campaign_id: int
    prospect_id: int
    attempt: int
    callback: Callback
    received_at: datetime
    is_settled: bool


@dataclass(slots=True)
class NumberRow:
    number: Number
    free_at: datetime = SINCE_EVER


@dataclass(slots=True)
class Suppression:
    source: str
    created_at: datetime


@dataclass
class Rows:
    """All tables. Ids ascend as PostgreSQL's sequences do, which also count rows that a conflict turns away."""

    clock: Clock
    accounts: dict[int, Account] = field(default_factory=dict)
    campaigns: dict[int, CampaignRow] = field(default_factory=dict)
    prospects: dict[int, ProspectRow] = field(default_factory=dict)
    by_phone: dict[tuple[int, str, int], ProspectRow] = field(default_factory=dict)  # `prospects_phone`
    by_campaign: dict[int, list[ProspectRow]] = field(default_factory=dict)
    attempts: dict[tuple[int, int], AttemptRow] = field(default_factory=dict)
    numbers: dict[int, NumberRow] = field(default_factory=dict)
    suppressions: dict[tuple[int, str], Suppression] = field(default_factory=dict)
    contacts: dict[tuple[int, str], list[datetime]] = field(default_factory=dict)  # `person_contacts`
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    used: Counter[tuple[int, date, str]] = field(default_factory=Counter)
    callbacks: dict[int, CallbackRow] = field(default_factory=dict)
    callback_keys: set[tuple[date, int, str, str]] = field(default_factory=set)
    outbox: list[tuple[int, list[str]]] = field(default_factory=list)
    events: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    relay: str = ""
    last_prospect_id: int = 0
    last_callback_id: int = 0

    def add_campaign(self, plan: Plan) -> CampaignRow:
        account = self.accounts[plan.account_id]
        self.campaigns[plan.id] = row = CampaignRow(
            id=plan.id,
            account_id=plan.account_id,
            channel=plan.channel,
            purpose=plan.purpose,
            mode=orjson.dumps(plan.mode).decode(),
            schedule=None if plan.schedule is None else orjson.dumps(plan.schedule).decode(),
            calls_per_second=plan.calls_per_second,
            carrier=plan.carrier,
            agent=None if account.agent is None else orjson.dumps(account.agent).decode(),
            limits=None if account.limits is None else orjson.dumps(account.limits).decode(),
            name=f"account {plan.account_id}",
            created_at=self.clock.now(),
        )
        return row

    def add_prospect(
        self, campaign: CampaignRow, phone: str, data: Mapping[str, object] | None = None
    ) -> ProspectRow | None:
        """None when the campaign has the number."""
        self.last_prospect_id += 1
        row = ProspectRow(campaign.id, self.last_prospect_id, campaign.account_id, phone, data)
        return row if self.insert(row) is row else None

    def insert(self, row: ProspectRow) -> ProspectRow:
        """The row that the key (campaign, phone, one-off) then stands for: another one, if that was there before."""
        kept = self.by_phone.setdefault((row.campaign_id, row.phone, row.one_off), row)
        if kept is row:
            self.prospects[row.id] = row
            self.by_campaign.setdefault(row.campaign_id, []).append(row)
        return kept

    def of_campaign(self, campaign_id: int) -> list[ProspectRow]:
        return self.by_campaign.get(campaign_id, [])

    def count_added(self, campaign_id: int, added: int) -> None:
        delta = Delta()
        delta.add("total", added)
        delta.add("queued", added)
        self.count({campaign_id: delta} if added else {})

    def count(self, deltas: Mapping[int, Delta]) -> None:
        for campaign_id, delta in deltas.items():
            sums = self.counts.setdefault(campaign_id, dict.fromkeys(COUNTERS, 0))
            for name, amount in zip(COUNTERS, delta.values(), strict=True):
                sums[name] += amount

    def publish(self, events: Mapping[int, list[str]]) -> None:
        self.outbox += [(account_id, some) for account_id, some in events.items() if some]
