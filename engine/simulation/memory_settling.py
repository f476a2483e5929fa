"""Settling in memory: reports folded by the engine's flows, written under the same guards, told in the same events."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson

from engine.clock import real_now, real_s
from engine.dispatch import facts, opening, orders, record
from engine.dispatch.facts import AttemptKey, lock_order
from engine.dispatch.record import Move, Settled
from engine.dispatch.settle import SettleResult, collect, fold, may_suppress
from engine.dispatch.watch import Watched, with_plan
from engine.ids import parse_attempt_ref
from engine.rules import reports
from engine.rules.campaign import Action, CampaignStatus, after
from engine.rules.decision import AttemptView, CallPlan, Decision, SmsPlan
from engine.rules.prospect import ProspectState
from engine.rules.reports import Report
from engine.rules.telephony import Channel, Command
from engine.simulation.port import DOCUMENT_CARRIER, SETTINGS
from engine.simulation.rows import NEVER, Rows, Suppression
from engine.store.callbacks import Report as Callback
from engine.store.callbacks import decode_event, encode_event

_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Settling(Rows):
    """`dispatch.settle` and what it writes (`dispatch.record`)."""

    random: Random

    def may_write(self, decision: Decision) -> bool:
        """The guard of the attempt's update: it is as the decision found it."""
        view = decision.view
        row = self.attempts.get((view.prospect_id, view.attempt))
        return row is not None and (row.view.try_no, row.view.state) == (view.try_no, view.state)

    def read(self, key: AttemptKey) -> AttemptView | None:
        row = self.attempts.get((key.prospect_id, key.attempt))
        return row.view if row is not None and row.view.campaign_id == key.campaign_id else None

    async def settle(
        self,
        learned: Mapping[AttemptKey, Sequence[Report]],
        known: Mapping[AttemptKey, AttemptView] | None = None,
    ) -> SettleResult:
        result = SettleResult()
        rest = dict(learned)
        if known:
            mine = [key for key in learned if key in known and not may_suppress(learned[key])]
            mine.sort(key=lock_order)
            settled = self._fold([known[key] for key in mine], learned)
            kept = self._write(settled)
            self._collect(kept, result)
            for _, decision in kept:
                del rest[record.key_of(decision)]
        if rest:
            self._settle_read(rest, result)
        self._pause(result)
        return result

    async def settle_callbacks(self, ids: Collection[int]) -> SettleResult:
        return self._settle_callbacks(ids, renders=False)

    async def answer(self, callback: Callback) -> Command | None:
        """As `settle_inline`."""
        rows = [row for row in self.callbacks.values() if row.callback.key == callback.key and not row.is_settled]
        if ids := [row.id for row in rows if row.callback.carrier == callback.carrier]:
            self._settle_callbacks(ids, renders=True)
        _, prospect_id, attempt = parse_attempt_ref(callback.event.ref) or (0, 0, 0)
        row = self.attempts.get((prospect_id, attempt))
        command = None if row is None else row.view.command
        if row is None or command is None or not self.may_render(command, callback):
            return None
        return orders.build(orders.order_of(row.view, row.view.carrier_id or "", command), SETTINGS)

    def may_render(self, command: Mapping[str, Any], callback: Callback) -> bool:
        """The guard of an answer: a plan is that of the report which caused it."""
        return bool(command["rendered"] and command["cause"] == callback.key)

    def _settle_callbacks(self, ids: Collection[int], *, renders: bool) -> SettleResult:
        result = SettleResult()
        told: dict[AttemptKey, list[Report]] = {}
        rows = [self.callbacks[each] for each in sorted(set(ids)) if not self.callbacks[each].is_settled]
        for row in rows:
            attempt = self.attempts.get((row.prospect_id, row.attempt))
            if attempt is None or attempt.view.carrier == row.callback.carrier:
                event = decode_event(orjson.loads(orjson.dumps({**encode_event(row.callback.event), "raw": {}})))
                key = AttemptKey(row.campaign_id, row.prospect_id, row.attempt)
                told.setdefault(key, []).append(reports.carrier(event))
        if told:
            self._settle_read(told, result, renders=renders)
        for row in rows:
            row.is_settled = True
        self._pause(result)
        return result

    async def due_attempts(self, keys: Collection[AttemptKey]) -> list[Watched]:
        views = [view for key in sorted(keys, key=lock_order) if (view := self.read(key)) is not None]
        now = real_now()
        due = [view for view in views if view.check_at is not None and view.check_at <= now]
        found = [(view, self._campaign(view.campaign_id)) for view in due]
        return [(view, with_plan(campaign, self._one_off_plan(campaign, view))) for view, campaign in found]

    def _settle_read(
        self, told: Mapping[AttemptKey, Sequence[Report]], result: SettleResult, *, renders: bool = False
    ) -> None:
        views = [view for key in sorted(told, key=lock_order) if (view := self.read(key)) is not None]
        settled = self._fold(views, told, renders=renders)
        if len(views) < len(told):
            result.unmatched += told.keys() - {record.key_of(decision) for _, decision in settled}
        self._write([each for each in settled if each[1].is_changed])
        self._collect(settled, result)

    def _fold(
        self, views: Sequence[AttemptView], told: Mapping[AttemptKey, Sequence[Report]], *, renders: bool = False
    ) -> list[Settled]:
        now, now_real_s = self.clock.now(), real_s()
        settled: list[Settled] = []
        for view in views:
            campaign = self._campaign(view.campaign_id)
            found = told[AttemptKey(view.campaign_id, view.prospect_id, view.attempt)]
            plan = self._one_off_plan(campaign, view)
            settled.append((campaign, fold(view, found, campaign, plan, now, now_real_s, renders=renders)))
        return settled

    def _one_off_plan(self, campaign: facts.Campaign, view: AttemptView) -> CallPlan | SmsPlan | None:
        data = self.prospects[view.prospect_id].data or {}
        return facts.one_off_plan(campaign.plan, data) if campaign.is_direct else None

    def _campaign(self, campaign_id: int) -> facts.Campaign:
        limits = facts.limits_of(SETTINGS, self.clock.speed)
        return facts.campaign_of(
            self.campaigns[campaign_id], limits, (DOCUMENT_CARRIER,), opening.takes(SETTINGS.ticket_s, self.clock)
        )

    def _collect(self, settled: Sequence[Settled], result: SettleResult) -> None:
        for campaign, decision in settled:
            collect(decision, campaign, result)

    def _write(self, settled: Sequence[Settled]) -> list[Settled]:
        kept = [each for each in settled if self.may_write(each[1])]
        for _, decision in kept:
            self._write_attempt(decision)
        moves = [move for campaign, decision in kept if (move := record.move_of(campaign, decision)) is not None]
        moves = [move for move in moves if self._write_prospect(move)]
        self._free_senders(kept)
        self._suppress(kept)
        self.count(record.deltas_of(moves))
        self.used.update(record.used_of(kept))
        events: dict[int, list[str]] = {}
        for _, decision in kept:
            if decision.events:
                events.setdefault(decision.view.account_id, []).extend(event.encode() for event in decision.events)
        self.publish(events)
        return kept

    def _write_attempt(self, decision: Decision) -> None:
        view = decision.view
        row = self.attempts[view.prospect_id, view.attempt]
        row.view = row.view._replace(
            state=int(decision.state),
            agent_state=int(decision.agent_state),
            amd=decision.amd,
            outcome=None if decision.outcome is None else int(decision.outcome),
            reason=None if decision.reason is None else str(decision.reason),
            carrier_id=decision.carrier_id,
            answered_at=decision.answered_at,
            greeting_ended_at=decision.greeting_ended_at,
            ended_at=decision.ended_at,
            duration_s=decision.duration_s,
            check_at=_timestamp(decision.check_at_s),
            command=_jsonb(decision.command),
            command_no=decision.command_no,
        )
        row.error_code = decision.error_code or row.error_code

    def _write_prospect(self, move: Move) -> bool:
        view = move.decision.view
        row = self.prospects[view.prospect_id]
        if (row.state, row.attempt) != (move.before, view.attempt):
            return False
        row.state, row.attempt = move.after, move.next_attempt
        row.outcome = None if move.outcome is None else int(move.outcome)
        row.reason = None if move.reason is None else str(move.reason)
        if move.after is not ProspectState.SENT:
            row.next_at = (move.open_at if row.data is None else None) or move.next_at or NEVER
        return True

    def _free_senders(self, settled: Sequence[Settled]) -> None:
        for campaign, decision in settled:
            if campaign.channel is Channel.SMS and not campaign.is_direct and decision.frees_sender:
                gap_s = 0.0
                if not decision.was_not_sent:
                    gap_s = SETTINGS.sms_gap_s + self.random.uniform(0, SETTINGS.sms_jitter_s)
                number = self.numbers[decision.view.did_id]
                if number.free_at == NEVER:
                    number.free_at = decision.now + timedelta(seconds=gap_s)

    def _suppress(self, settled: Sequence[Settled]) -> None:
        for _, decision in settled:
            if decision.suppresses:
                key = decision.view.account_id, decision.view.phone
                known = self.suppressions.get(key)
                self.suppressions[key] = Suppression("carrier", known.created_at if known else decision.now)

    def _pause(self, result: SettleResult) -> None:
        for campaign_id, reason in result.paused.items():
            row = self.campaigns[campaign_id]
            status = after(CampaignStatus(row.status), Action.PAUSE)
            if status is not None:
                row.status, row.status_reason = status, reason


def _timestamp(at_s: float | None) -> datetime | None:
    """To the microsecond, rounded as PostgreSQL's `to_timestamp` does: from the seconds since its own epoch."""
    if at_s is None:
        return None
    return _POSTGRES_EPOCH + timedelta(microseconds=round((at_s - _POSTGRES_EPOCH.timestamp()) * 1e6))


def _jsonb(value: dict[str, Any] | None) -> Any:
    return None if value is None else orjson.loads(orjson.dumps(value))
