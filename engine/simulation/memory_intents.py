"""The intent transaction in memory: the facts, the rules' verdicts, and what is written of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from engine.clock import add, boottime, real_now
from engine.dispatch import ceilings, opening
from engine.dispatch.callers import NOT_READY_FOR, Sender
from engine.dispatch.campaigns import CampaignFacts, facts_of
from engine.dispatch.compose import SUPPRESSED, Message
from engine.dispatch.held import Held, event_of, leave_queue
from engine.dispatch.hints import Hint
from engine.dispatch.intent import Intent, IntentBatch, IntentContext
from engine.dispatch.judge import Fact, is_counted, is_due, judge
from engine.dispatch.refusal import Refusal
from engine.dispatch.settling import view_of
from engine.rules.attempt import AttemptState
from engine.rules.decision import UNANSWERED
from engine.rules.did_pool import DidState
from engine.rules.prospect import ProspectState
from engine.rules.stats import Delta
from engine.rules.telephony import Channel
from engine.rules.whom import Person
from engine.simulation.port import SETTINGS
from engine.simulation.rows import NEVER, AttemptRow, Rows
from engine.store import people
from engine.store.tickets import Ticket

_ANSWER_S = SETTINGS.carrier_timeout_s + SETTINGS.reconcile_after_s


class Intents(Rows):
    """`dispatch.intent.commit_intents`. The small methods are the fences that negative controls take away."""

    def attempt_state(self, hint: Hint) -> int | None:
        """Of the attempt's row: the key (prospect, attempt) is given once."""
        row = self.attempts.get((hint.prospect_id, hint.attempt))
        return None if row is None else row.view.state

    def prospect_state(self, hint: Hint) -> int | None:
        row = self.prospects.get(hint.prospect_id)
        return None if row is None else row.state

    def is_free(self, did_id: int) -> bool:
        """Whether a campaign's text may leave from the number: the last one was answered, and its gap is over."""
        return self.numbers[did_id].free_at <= self.clock.now()

    def is_suppressed(self, account_id: int, phone: str) -> bool:
        return (account_id, phone) in self.suppressions

    async def commit_intents(self, hints: Sequence[Hint], channel: Channel) -> IntentBatch:
        deadline = boottime() + SETTINGS.ticket_s
        check_at = add(real_now(), SETTINGS.ticket_s + _ANSWER_S)
        batch, held, deltas = IntentBatch(), Held(), dict[int, Delta]()
        now = self.clock.now()
        campaigns = {each: facts_of(self.campaigns[each], "") for each in sorted({h.campaign_id for h in hints})}
        takes = IntentContext(channel, self.clock, SETTINGS.ticket_s, _ANSWER_S, 0).takes
        allowed: list[Hint] = []
        messages: dict[int, Message] = {}
        for hint in hints:
            verdict = judge(
                hint, self._fact(hint), campaigns[hint.campaign_id], self._sender(hint), channel, now, takes
            )
            if verdict.refusal is None:
                allowed.append(hint)
                if verdict.message is not None:
                    messages[hint.prospect_id] = verdict.message
            else:
                batch.refused.append((hint, verdict.refusal))
                held.add(hint, verdict.written, verdict.again_at)
        if channel is Channel.SMS:
            allowed = self._take_senders(allowed, batch, held)
        else:
            allowed = self._within_ceilings(allowed, campaigns, batch, held)
        self._count_contacts(allowed, campaigns)
        for hint in allowed:
            data = self.prospects[hint.prospect_id].data
            campaign = campaigns[hint.campaign_id]
            until = opening.not_after(campaign, hint.phone, data, now, self.clock)
            message = messages.get(hint.prospect_id)
            intent = Intent(hint, 0, campaign, deadline, now, check_at, data, until, message)
            batch.granted.append(self._reserve(intent, channel))
        leave_queue(deltas, allowed, _in_progress(channel))
        self._write_held(held, campaigns, deltas)
        self.count(deltas)
        return batch

    def _fact(self, hint: Hint) -> Fact:
        row = self.prospects.get(hint.prospect_id)
        attempt, phone = (None, None) if row is None else (row.attempt, row.phone)
        due = is_due(hint, self.prospect_state(hint), attempt, phone, self.attempt_state(hint))
        return Fact(
            due,
            self.is_suppressed(hint.account_id, hint.phone),
            row.data if row else None,
            Person(contacts=self.contacts_of(hint.account_id, hint.phone)),
            self._released_at(hint),
        )

    def contacts_of(self, account_id: int, phone: str) -> tuple[datetime, ...]:
        """The marketing contacts of a person that may count against a cap."""
        since = people.since(self.clock.now())
        return tuple(at for at in self.contacts.get((account_id, phone), ()) if at > since)

    def _released_at(self, hint: Hint) -> datetime | None:
        row = self.attempts.get((hint.prospect_id, hint.attempt))
        return row.view.intent_at if row is not None and row.view.state == AttemptState.RELEASED else None

    def _count_contacts(self, allowed: Sequence[Hint], campaigns: Mapping[int, CampaignFacts]) -> None:
        now = self.clock.now()
        for hint in allowed:
            if is_counted(hint, self._fact(hint), campaigns[hint.campaign_id], now):
                made = self.contacts.setdefault((hint.account_id, hint.phone), [])
                made[:] = [*(at for at in made if at != self._released_at(hint)), now]

    def _sender(self, hint: Hint) -> Sender | None:
        row = self.numbers.get(hint.did_id)
        if row is None:
            return None
        number, is_free = row.number, self.is_free(hint.did_id)
        return Sender(
            number.id, number.account_id, number.e164, ("voice", "sms"), DidState.ACTIVE, "", 0, None, is_free, None
        )

    def _take_senders(self, allowed: list[Hint], batch: IntentBatch, held: Held) -> list[Hint]:
        """A one-off text takes none."""
        free = {hint.did_id for hint in allowed if not hint.is_one_off_text and self.is_free(hint.did_id)}
        for did_id in free:
            self.numbers[did_id].free_at = NEVER
        for hint in allowed:
            if not hint.is_one_off_text and hint.did_id not in free:
                batch.refused.append((hint, Refusal.SENDER_NOT_READY))
                held.later.append((hint, Refusal.SENDER_NOT_READY, self.clock.now() + NOT_READY_FOR))
        return [hint for hint in allowed if hint.is_one_off_text or hint.did_id in free]

    def _within_ceilings(
        self, allowed: list[Hint], campaigns: Mapping[int, CampaignFacts], batch: IntentBatch, held: Held
    ) -> list[Hint]:
        limits = {each: ceilings.ceilings_of(campaigns[each], 0) for each in {hint.campaign_id for hint in allowed}}
        rooms: ceilings.Rooms = {
            each.key: each.most - self.counts[each.campaign.id]["dialing"] for some in limits.values() for each in some
        }
        kept = []
        again_at = add(self.clock.now(), ceilings.AGAIN_S * self.clock.speed)
        for hint in allowed:
            if ceilings.take(rooms, limits[hint.campaign_id]) == 1:
                kept.append(hint)
            else:
                batch.refused.append((hint, Refusal.TOO_MANY_CALLS))
                held.later.append((hint, Refusal.TOO_MANY_CALLS, again_at))
        return kept

    def _reserve(self, intent: Intent, channel: Channel) -> Intent:
        key = (intent.hint.prospect_id, intent.hint.attempt)
        before = self.attempts.get(key)
        granted = Intent(
            intent.hint, 1 if before is None else before.view.try_no + 1, intent.campaign, intent.deadline,
            intent.intent_at, intent.check_at, intent.data, intent.not_after, intent.message,
        )  # fmt: skip
        view = view_of(granted)._replace(state=int(AttemptState.RESERVED))
        if before is None:
            self.attempts[key] = AttemptRow(view)
        else:
            old = before.view
            self.attempts[key] = AttemptRow(
                view._replace(
                    agent_state=old.agent_state, amd=old.amd, outcome=old.outcome, answered_at=old.answered_at,
                    greeting_ended_at=old.greeting_ended_at, ended_at=old.ended_at, duration_s=old.duration_s,
                    command=old.command, command_no=old.command_no,
                )
            )  # fmt: skip
        person = self.prospects[intent.hint.prospect_id]
        person.state, person.reason = _in_progress(channel), None
        return granted

    def _write_held(self, held: Held, campaigns: Mapping[int, CampaignFacts], deltas: dict[int, Delta]) -> None:
        for hint, reason, at in held.later:
            person = self.prospects[hint.prospect_id]
            if person.state == ProspectState.QUEUED:
                person.reason, person.next_at = str(reason), at
        if not held.cancelled:
            return
        events: dict[int, list[str]] = {}
        for hint, reason in held.cancelled:
            person = self.prospects[hint.prospect_id]
            person.state, person.reason, person.next_at = ProspectState.CANCELLED, reason, NEVER
            event = event_of(hint, reason, campaigns[hint.campaign_id].is_direct, self.clock.now())
            events.setdefault(hint.account_id, []).append(event.encode())
        leave_queue(deltas, [hint for hint, _ in held.cancelled], ProspectState.CANCELLED)
        for hint, reason in held.cancelled:
            if reason == SUPPRESSED:
                deltas[hint.campaign_id].add("suppressed", 1)
        self.publish(events)

    async def open_tickets(self, campaign_id: int) -> list[Ticket]:
        now = real_now()
        views = (row.view for row in self.attempts.values())
        return sorted(
            Ticket(view.prospect_id, view.attempt, view.try_no)
            for view in views
            if view.campaign_id == campaign_id
            and view.state in UNANSWERED
            and view.check_at is not None
            and view.check_at < now + timedelta(minutes=15)
        )

    async def are_open(self, tickets: Sequence[Ticket]) -> bool:
        views = [self.attempts[each.prospect_id, each.attempt].view for each in tickets]
        return any(
            view.try_no == each.try_no and view.state in UNANSWERED for view, each in zip(views, tickets, strict=True)
        )


def _in_progress(channel: Channel) -> ProspectState:
    return ProspectState.DIALING if channel is Channel.VOICE else ProspectState.SENDING
