"""The in-memory twin of the store: rows in dictionaries, every step one function, decided by the engine's own rules."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

from engine.clock import Clock, real_now
from engine.coordinator.claim import LOOK_BACK_S
from engine.coordinator.shard import Claim, Due, Position, Queued, Walk
from engine.coordinator.windows import Closed
from engine.dispatch.campaigns import CampaignFacts, facts_of
from engine.dispatch.facts import AttemptKey
from engine.errors import Conflict
from engine.rules import content, template
from engine.rules.account_limits import parse_limits
from engine.rules.campaign import ACCEPTS_PROSPECTS, Action, CampaignStatus, after, allowed_actions
from engine.rules.campaign_config import SmsMode, parse_mode
from engine.rules.csv_rows import RowReader
from engine.rules.prospect import ProspectState
from engine.rules.telephony import Channel
from engine.simulation.memory_intents import Intents
from engine.simulation.memory_one_off import OneOffs
from engine.simulation.memory_settling import Settling
from engine.simulation.port import Account, Direct, Imported, Number, Person, Plan, Snapshot, Usable
from engine.simulation.rows import NEVER, SINCE_EVER, CallbackRow, CampaignRow, NumberRow, ProspectRow, Suppression
from engine.store import campaigns, imports
from engine.store.callbacks import Report as Callback
from engine.store.campaigns import Campaign

T = TypeVar("T")

_QUEUED = ProspectState.QUEUED


class MemorySteps(Intents, OneOffs, Settling):
    def __init__(self, clock: Clock, seed: int = 0) -> None:
        super().__init__(clock)
        self.random = Random(seed)

    async def prepare(self, accounts: Sequence[Account], numbers: Sequence[Number], campaigns: Sequence[Plan]) -> None:
        self.accounts = {account.id: account for account in accounts}
        self.numbers = {number.id: NumberRow(number) for number in numbers}
        for plan in campaigns:
            self.add_campaign(plan)

    # clients

    async def add_prospects(self, campaign_id: int, phones: Sequence[str]) -> int:
        campaign = self._open(campaign_id)
        added = sum(self.add_prospect(campaign, phone) is not None for phone in phones)
        self.count_added(campaign_id, added)
        return added

    async def import_csv(self, campaign_id: int, body: bytes) -> Imported:
        campaign = self._open(campaign_id)
        reader = RowReader("US")
        batches = [reader.feed(body), reader.close()]
        rows = [row for batch in batches for row in batch.rows]
        invalid = sum(len(batch.bad) for batch in batches)
        mode = parse_mode(campaign.channel, campaign.campaign().mode)
        said = mode.template if isinstance(mode, SmsMode) else template.Template(())
        again_at = self.clock.now() + imports.HELD_FOR
        added, held = 0, 0
        released: set[int] = set()
        for _, phone, data in rows:
            missing = said.missing(template.values_of(data))
            person = self.add_prospect(campaign, phone, data)
            if person is not None:
                added += 1
                if missing:
                    held += 1
                    person.reason, person.next_at = template.hold_reason(missing), again_at
            elif said.needs and not missing:
                released |= self._release(campaign_id, phone, data)
        self.count_added(campaign_id, added)
        return Imported(added, held, len(released), len(rows) - added - len(released), invalid)

    async def move(self, campaign_id: int, action: Action) -> str:
        row = self.campaigns[campaign_id]
        if after(CampaignStatus(row.status), action) is None:
            raise campaigns.refusal(row.campaign(), action)
        if action is Action.START:
            self._check_start(row)
        self._set_status(row, action)
        if action is Action.CANCEL:
            self._cancel_queued(campaign_id)
        return row.status

    async def opt_out(self, account_id: int, phone: str) -> int:
        is_new = (account_id, phone) not in self.suppressions
        self.suppressions.setdefault((account_id, phone), Suppression("api", self.clock.now()))
        return int(is_new)

    # coordinators

    async def active(self) -> list[Campaign]:
        live = (CampaignStatus.DIALING, CampaignStatus.CANCELLED)
        return [row.campaign() for row in sorted(self.campaigns.values(), key=lambda row: row.id) if row.status in live]

    async def facts(self, campaign_ids: Collection[int]) -> dict[int, CampaignFacts]:
        return {each: facts_of(self.campaigns[each], "") for each in campaign_ids}

    async def claim(self, wanted: Sequence[tuple[Walk, int]]) -> list[Claim]:
        return [self._claim(walk, count) for walk, count in wanted]

    async def queued_behind(self, walks: Sequence[Walk]) -> dict[int, dict[int, Queued]]:
        found: dict[int, dict[int, Queued]] = {}
        for walk in walks:
            cursor = _key_of(walk.cursor)
            queued = [row for row in self.of_campaign(walk.campaign.id) if row.state == _QUEUED]
            queued = sorted((row for row in queued if (row.next_at, row.id) <= cursor), key=_order)
            found[walk.campaign.id] = {row.id: Queued(row.attempt, self._due(row).due_s) for row in queued}
        return found

    async def read_due(self, campaign: Campaign, prospect_ids: Sequence[int]) -> list[Due]:
        wanted = set(prospect_ids)
        rows = sorted(self.of_campaign(campaign.id), key=lambda row: row.id)
        now = self.clock.now()
        return [self._due(row) for row in rows if row.id in wanted and row.state == _QUEUED and row.next_at <= now]

    async def put_off(self, closed: Sequence[Closed], now: datetime) -> None:
        for each in closed:
            row = self.prospects[each.due.prospect_id]
            if self.may_put_off(row, each.due, now):
                row.reason, row.next_at = str(each.reason), each.next_at

    async def usable(self, campaign: Campaign) -> list[Usable]:
        rows = sorted(self.numbers.values(), key=lambda row: row.number.id)
        return [
            Usable(row.number.id, row.number.e164, _epoch(row.free_at))
            for row in rows
            if row.number.account_id == campaign.account_id
        ]

    async def sweep(self, campaign_id: int) -> int:
        if self.campaigns[campaign_id].status != CampaignStatus.CANCELLED:
            return 0
        rows = [row for row in self.of_campaign(campaign_id) if row.state == _QUEUED and row.next_at < NEVER]
        for row in rows:
            row.state, row.next_at = ProspectState.CANCELLED, NEVER
        return len(rows)

    async def complete(self, campaign_id: int) -> bool:
        sums = self.counts.get(campaign_id)
        if sums is not None and sums["completed"] + sums["cancelled"] < sums["total"]:
            return False
        row = self.campaigns[campaign_id]
        if any(person.next_at < NEVER for person in self.of_campaign(campaign_id)):
            return False
        return self._set_status(row, Action.COMPLETE)

    async def overdue(self) -> list[AttemptKey]:
        now = real_now()
        due = [
            (view.check_at, AttemptKey(view.campaign_id, view.prospect_id, view.attempt))
            for view in (row.view for row in self.attempts.values())
            if view.check_at is not None and view.check_at <= now
        ]
        return [key for _, key in sorted(due)]

    async def unsettled(self) -> list[int]:
        before = real_now() - timedelta(seconds=1)
        return [row.id for row in self.callbacks.values() if not row.is_settled and row.received_at < before]

    # api, relay

    async def receive(self, callbacks: Sequence[Callback]) -> list[int]:
        now = real_now()
        stored = []
        for callback in callbacks:
            self.last_callback_id += 1
            ids = callback.attempt_ids
            key = (now.date(), ids[1], callback.carrier, callback.key)
            if key in self.callback_keys:
                continue
            self.callback_keys.add(key)
            row = CallbackRow(self.last_callback_id, *ids, callback, now, is_settled=not ids[1])
            self.callbacks[row.id] = row
            if ids[1]:
                stored.append(row.id)
        return stored

    async def number(self, relay: str) -> int | None:
        if not self.outbox:
            return 0
        if self.relay not in ("", relay):
            return None
        self.relay = relay
        count = 0
        for account_id, bodies in self.outbox:
            log = self.events.setdefault(account_id, [])
            log += [(len(log) + place, body) for place, body in enumerate(bodies, 1)]
            count += len(bodies)
        self.outbox.clear()
        return count

    async def depose(self) -> None:
        self.relay = ""

    async def snapshot(self) -> Snapshot:
        rows = _by_id(self.campaigns)
        return Snapshot(
            campaigns=[(row.id, str(row.status), row.status_reason) for row in rows if not row.is_direct],
            directs=[
                Direct(row.id, row.account_id, Channel(row.channel), row.carrier, str(row.status))
                for row in rows
                if row.is_direct
            ],
            people=[_person(row) for row in _by_id(self.prospects)],
            attempts=[self.attempts[key].view for key in sorted(self.attempts)],
            counts={each: dict(self.counts[each]) for each in sorted(self.counts)},
            suppressed=[(*key, each.source, each.created_at) for key, each in sorted(self.suppressions.items())],
            free_s={row.number.id: _epoch(row.free_at) for row in self.numbers.values()},
            events={each: list(self.events[each]) for each in sorted(self.events)},
            used={(*key,): self.used[key] for key in sorted(self.used) if self.used[key]},
            unsettled=sum(not row.is_settled for row in self.callbacks.values()),
            unnumbered=sum(len(some) for _, some in self.outbox),
        )

    # what these steps share

    def may_put_off(self, row: ProspectRow, due: Due, now: datetime) -> bool:
        """The guard of the put-off: the row is as the claim read it."""
        return row.state == _QUEUED and row.attempt == due.attempt and row.next_at <= now

    def _open(self, campaign_id: int) -> CampaignRow:
        row = self.campaigns[campaign_id]
        if row.status not in ACCEPTS_PROSPECTS:
            allowed = [str(action) for action in allowed_actions(CampaignStatus(row.status))]
            raise Conflict(f"the campaign is {row.status}", {"status": str(row.status), "allowed": allowed})
        return row

    def _release(self, campaign_id: int, phone: str, data: Mapping[str, object] | None) -> set[int]:
        row = self.by_phone[campaign_id, phone, 0]
        if row.state != _QUEUED or not (row.reason or "").startswith(f"{template.MISSING}:"):
            return set()
        row.data, row.reason, row.next_at = data, None, SINCE_EVER
        return {row.id}

    def _check_start(self, row: CampaignRow) -> None:
        parse_limits(None)
        mode = parse_mode(row.channel, row.campaign().mode)
        if isinstance(mode, SmsMode):
            policy = content.policy_of(None, is_live=False)
            content.raise_if_blocked(content.scan(mode.template.sample(), policy), "mode.message")

    def _set_status(self, row: CampaignRow, action: Action) -> bool:
        status = after(CampaignStatus(row.status), action)
        if status is None or row.is_direct:
            return False
        now = self.clock.now()
        row.status, row.status_reason = status, ""
        if status is CampaignStatus.DIALING:
            row.started_at = row.started_at or now
        is_over = status in (CampaignStatus.COMPLETED, CampaignStatus.CANCELLED, CampaignStatus.FAILED)
        row.ended_at = now if is_over else None
        return True

    def _cancel_queued(self, campaign_id: int) -> None:
        if (sums := self.counts.get(campaign_id)) is not None:
            sums["cancelled"] += sums["queued"]
            sums["queued"] = sums["retrying"] = 0

    def _claim(self, walk: Walk, count: int) -> Claim:
        now = self.clock.now()
        cursor = self._begin(walk, now)
        rows = self.of_campaign(walk.campaign.id)
        queued = [row for row in rows if row.state == _QUEUED]
        due = sorted((row for row in queued if (row.next_at, row.id) > cursor and row.next_at <= now), key=_order)
        later = min((row.next_at for row in rows if now < row.next_at < NEVER), default=None)
        due = due[:count]
        next_due_s = later.timestamp() if later is not None and len(due) < count else None
        if not due:
            return Claim([], walk.cursor, next_due_s)
        return Claim([self._due(row) for row in due], _position(due[-1]), next_due_s)

    def _begin(self, walk: Walk, now: datetime) -> tuple[datetime, int]:
        """Behind which place a claim looks."""
        cursor = _key_of(walk.cursor)
        looks_back = walk.campaign.is_direct and walk.is_woken
        back_to = now - timedelta(seconds=LOOK_BACK_S * self.clock.speed)
        return (back_to, 0) if looks_back and back_to < cursor[0] else cursor

    def _due(self, row: ProspectRow) -> Due:
        last = self.attempts.get((row.id, row.attempt - 1)) if row.attempt > 1 else None
        last_did, outcome = (None, None) if last is None else (last.view.did_id, last.view.outcome)
        is_direct = self.campaigns[row.campaign_id].is_direct
        sender, data = (self.sender_of(row), None) if is_direct else (None, _as_jsonb(row.data))
        return Due(row.id, row.attempt, row.phone, sender, last_did, _epoch(row.next_at), data, outcome)


def _by_id(rows: Mapping[int, T]) -> list[T]:
    return [rows[each] for each in sorted(rows)]


def _as_jsonb(data: Mapping[str, object] | None) -> str | None:
    """As PostgreSQL writes it: short keys first."""
    if data is None:
        return None
    return json.dumps(dict(sorted(data.items(), key=lambda item: (len(item[0]), item[0]))), ensure_ascii=False)


def _order(row: ProspectRow) -> tuple[datetime, int]:
    return row.next_at, row.id


def _position(row: ProspectRow) -> Position:
    return Position("-infinity" if row.next_at == SINCE_EVER else row.next_at.isoformat(), row.id)


def _key_of(position: Position) -> tuple[datetime, int]:
    at = SINCE_EVER if position.at == "-infinity" else datetime.fromisoformat(position.at)
    return at, position.id


def _epoch(at: datetime) -> float:
    if at == SINCE_EVER:
        return float("-inf")
    return float("inf") if at == NEVER else at.timestamp()


def _person(row: ProspectRow) -> Person:
    at = _epoch(row.next_at)
    next_at = "infinity" if at == float("inf") else "" if at == float("-inf") else row.next_at.isoformat()
    return Person(
        row.campaign_id, row.id, row.account_id, row.phone, int(row.state), row.attempt,
        None if row.outcome is None else int(row.outcome), row.reason, next_at,
    )  # fmt: skip
