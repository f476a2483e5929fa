"""What was seen of a history, and whether the promises held: the named checkers of P1–P7 over it.

`engine.checks` asks the same of rows in PostgreSQL, under the same names and, where it does not judge in SQL, by the
same functions. Here nothing has to be inferred from rows: the order in which things happened is known.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from engine.checks.attempts import twice
from engine.checks.events import Numbers, disorder, gaps
from engine.checks.limits import crowded, excess_over
from engine.clock import Clock
from engine.dispatch.intent import Intent, IntentBatch
from engine.ids import attempt_ref
from engine.limits.slots import HORIZON_S, LATE_S, USE
from engine.rules.account_limits import parse_limits
from engine.rules.attempt import AttemptState
from engine.rules.campaign import Action
from engine.rules.campaign_config import VoiceMode
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.stats import COUNTERS, imbalance
from engine.rules.telephony import Channel
from engine.rules.usage import billed, day_of, meter_of
from engine.rules.whereabouts import whereabouts
from engine.simulation.port import CARRIER, DOCUMENT_CARRIER, SETTINGS, Account, Person, Snapshot
from engine.simulation.witness_one_off import OneOffWitness

if TYPE_CHECKING:
    from engine.simulation.world import World

_OVER = (ProspectState.COMPLETED, ProspectState.CANCELLED)
# Why somebody may wait for ever, if nobody changes the campaign or brings what is missing.
_GOOD_REASONS = ("missing_value", "outside_window", "no_timezone", "no_rule_for_country", "attempt_cap")
_LAST_WORDS = ("voice.completed", "voice.ai.completed", "voice.failed", "sms.delivered", "sms.failed")


class Witness:
    """Told by the world of what happens; `judge` looks at the end of it. `problems` name promise and checker."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.one_offs = OneOffWitness(world)
        self.problems: list[str] = []
        # After a jump a call seems to have lasted for longer than any call may, and a text to have been sent long ago.
        self._jumps_s = sum(abs(each.amount) for each in world.script.faults if each.kind.startswith("clock."))
        jumps = sorted(
            float(each.where) for each in world.script.faults if each.kind == "clock.real" and each.amount > 0
        )
        self._steady = list(zip([0.0, *(at + HORIZON_S + LATE_S for at in jumps)], [*jumps, math.inf], strict=True))
        self._still: set[int] = set()  # campaigns whose pause or cancel was answered
        self._moves: Counter[int] = Counter()
        self._stopped: set[tuple[int, str]] = set()
        self._intended: Counter[tuple[int, int, int]] = Counter()  # prospect, attempt, try
        self._begun: dict[object, list[float]] = defaultdict(list)  # by what has a rate, real time that truly passed

    def problem(self, promise: str, what: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(f"{promise} {what}")

    # while it happens

    def moved(self, campaign_id: int, action: Action) -> None:
        self._moves[campaign_id] += 1
        if action is Action.RESUME:
            self._still.discard(campaign_id)

    def moves(self, campaign_id: int) -> int:
        """How often the campaign was moved by a client."""
        return self._moves[campaign_id]

    def answered(self, campaign_id: int, moves: int) -> None:
        """A pause or cancel was answered. It says nothing when somebody has resumed the campaign meanwhile."""
        if self._moves[campaign_id] == moves:
            self._still.add(campaign_id)

    def stopped(self, account_id: int, phone: str) -> None:
        self._stopped.add((account_id, phone))

    def intended(self, batch: IntentBatch) -> None:
        for intent in batch.granted:
            hint, data = intent.hint, intent.data
            name = attempt_ref(hint.campaign_id, hint.prospect_id, hint.attempt)
            key = (hint.prospect_id, hint.attempt, intent.try_no)
            self._intended[key] += 1
            if self._intended[key] > 1:
                self.problem("P2", f"intended_once: {name} try {intent.try_no} was intended twice")
            if (hint.account_id, hint.phone) in self._stopped:
                self.problem("P5", f"suppressed_left_alone: {name} was intended after {hint.phone} had opted out")
            if not intent.campaign.hours.holds(whereabouts(hint.phone, data), intent.intent_at):
                self.problem("P5", f"inside_window: {name} was intended at {intent.intent_at.isoformat()}, outside")

    def begun(self, intent: Intent) -> None:
        if intent.hint.campaign_id in self._still:
            self.problem("P3", f"still_when_answered: a create of campaign {intent.hint.campaign_id} began after it")
        campaign, now_s = intent.campaign, self._world.time.now_us / 1e6
        self._begun[campaign.account_id, campaign.carrier, campaign.channel].append(now_s)
        if campaign.channel is Channel.VOICE:
            self._begun[campaign.id].append(now_s)
        elif intent.hint.is_one_off_text:
            self._begun[intent.hint.from_number].append(now_s)
        mode = campaign.mode
        most = mode.concurrent_calls if isinstance(mode, VoiceMode) and not self._jumps_s else None
        if most is not None and self._world.carrier.up(intent.campaign.id) >= most:
            self.problem("P4", f"calls_at_once: campaign {intent.campaign.id} has more than {most} calls up")

    def left_waiting(self, seen: Snapshot, live: Collection[int]) -> None:
        """An operator gives up on these campaigns, all of them started: whoever waits must do so for a good reason, or
        for a later hour into which a retry was moved."""
        clock = self._world.steps.clock
        for person in seen.people:
            is_waiting = person.campaign_id in live and person.state == ProspectState.QUEUED
            has_a_reason = (person.reason or "").startswith(_GOOD_REASONS)
            if is_waiting and not has_a_reason and not _is_later(person, clock.now()) and not _is_kept(person, clock):
                self.problem("P1", f"nobody_forgotten: {person} waits without a reason")

    # at its end

    def judge(self, end: Snapshot) -> None:
        checks: tuple[tuple[str, Callable[[Snapshot], list[str]]], ...] = (
            ("P1", self.counts_add_up), ("P1", self.counts_equal_rows), ("P1", self.all_are_over),
            ("P1", self.usage_equals_attempts), ("P1", self.one_offs.requests_kept_once),
            ("P1", self.one_offs.kept_where_asked), ("P1", self.one_offs.ends_are_explained),
            ("P2", self.accepted_once), ("P2", self.creates_were_intended), ("P2", self.attempts_contiguous),
            ("P2", self.documents_once), ("P2", self.one_offs.asked_once_made_once),
            ("P2", self.one_offs.comes_from_its_number), ("P4", self.sms_spacing), ("P4", self.call_rate),
            ("P4", self.carrier_rate), ("P4", self.number_rate),
            ("P6", self.gapless), ("P6", self.causes_come_first), ("P6", self.told_once),
            ("P7", self.accounts_agree),
        )  # fmt: skip
        for promise, check in checks:
            for found in check(end):
                self.problem(promise, f"{check.__name__}: {found}")

    def counts_add_up(self, end: Snapshot) -> list[str]:
        return [f"{each}: {fault}" for each, sums in end.counts.items() for fault in imbalance(sums)]

    def counts_equal_rows(self, end: Snapshot) -> list[str]:
        found: dict[int, Counter[str]] = defaultdict(Counter)
        for person in end.people:
            found[person.campaign_id].update(_counters_of(person))
        return [
            f"{each}: {name} is counted as {end.counts[each][name]}, the rows say {found[each][name]}"
            for each in end.counts
            for name in COUNTERS
            if end.counts[each][name] != found[each][name]
        ]

    def all_are_over(self, end: Snapshot) -> list[str]:
        left = [
            f"{person} is not over"
            for person in end.people
            if person.state not in _OVER or person.next_at != "infinity"
        ]
        live = [
            f"campaign {id_} is {status}"
            for id_, status, _ in end.campaigns
            if status not in ("completed", "cancelled")
        ]
        live += [f"{each} is not dialing" for each in end.directs if each.status != "dialing"]
        waiting = [f"{end.unsettled} callbacks, {end.unnumbered} events"] if end.unsettled or end.unnumbered else []
        return left + live + waiting

    def usage_equals_attempts(self, end: Snapshot) -> list[str]:
        plans = {plan.id: plan for plan in self._world.script.campaigns}
        channels = {each.id: each.channel for each in end.directs} | {plan.id: plan.channel for plan in plans.values()}
        found: Counter[tuple[int, object, str]] = Counter()
        for view in end.attempts:
            channel, plan = channels[view.campaign_id], plans.get(view.campaign_id)
            quantity = billed(channel, view.carrier_id, view.segments, view.duration_s)
            is_ai = plan.mode.get("ai") is True if plan else self.one_offs.is_ai(view.prospect_id)
            meter = meter_of(channel, is_ai=is_ai)
            found[view.account_id, day_of(view.intent_at), meter] += quantity
        counted = {key: amount for key, amount in found.items() if amount}
        return [] if counted == end.used else [f"{end.used} counted, the attempts say {counted}"]

    def accepted_once(self, _end: Snapshot) -> list[str]:
        return twice(line.ref for line in self._world.carrier.log)

    def creates_were_intended(self, end: Snapshot) -> list[str]:
        known = {attempt_ref(view.campaign_id, view.prospect_id, view.attempt): view.phone for view in end.attempts}
        return [f"{line.ref} has no attempt" for line in self._world.carrier.log if known.get(line.ref) != line.to]

    def documents_once(self, _end: Snapshot) -> list[str]:
        """What a call is told in an answer it is told once, and in no request besides."""
        return [
            f"{line.ref} was told #{number} {n} times"
            for line in self._world.carrier.log
            for number, n in Counter([*line.documents, *line.commands]).items()
            if n > 1
        ]

    def attempts_contiguous(self, end: Snapshot) -> list[str]:
        numbers: dict[int, list[int]] = defaultdict(list)
        for view in end.attempts:
            numbers[view.prospect_id].append(view.attempt)
        open_ = [f"{view.prospect_id}-{view.attempt} is open" for view in end.attempts if view.check_at is not None]
        return open_ + [f"{id_}: {some}" for id_, some in numbers.items() if some != list(range(1, len(some) + 1))]

    def sms_spacing(self, end: Snapshot) -> list[str]:
        """Of campaigns' texts. By the clock that the limits are judged by, and by the time that truly passed: one of
        them has the gap."""
        speed, exempt = self._world.script.speed, {each.id for each in end.directs}
        sent: dict[str, list[float]] = defaultdict(list)
        for line in sorted(self._world.carrier.log, key=lambda line: line.begun_us):
            if line.channel is Channel.SMS and line.campaign_id not in exempt:
                sent[line.from_].append(speed * line.begun_us / 1e6)
        return crowded(sent, SETTINGS.sms_gap_s, speed * (SETTINGS.ticket_s + self._jumps_s))

    def call_rate(self, _end: Snapshot) -> list[str]:
        plans = [plan for plan in self._world.script.campaigns if plan.channel is Channel.VOICE]
        return [
            f"campaign {plan.id}: {excess:.1f} calls too many for {plan.calls_per_second:g} a second"
            for plan in plans
            if (excess := self._excess(plan.id, plan.calls_per_second)) > 0
        ]

    def carrier_rate(self, _end: Snapshot) -> list[str]:
        return [
            f"account {account.id} at {carrier}: {excess:.1f} {channel} creates too many for {rate:g} a second"
            for account in self._world.script.accounts
            for carrier in (CARRIER, DOCUMENT_CARRIER)
            for channel, rate in zip(Channel, _rates_of(account), strict=True)
            if rate is not None and (excess := self._excess((account.id, carrier, channel), rate)) > 0
        ]

    def number_rate(self, _end: Snapshot) -> list[str]:
        """One-off texts keep no gap, but the rate of their number."""
        rate = SETTINGS.sms_per_second
        return [
            f"{number.e164}: {excess:.1f} one-off texts too many for {rate:g} a second"
            for number in self._world.script.numbers
            if (excess := self._excess(number.e164, rate)) > 0
        ]

    def _excess(self, what: object, rate: float) -> float:
        """By what the slots' spacing allows. Between clocks set forward: for a second, slots are then given twice."""
        begun = self._begun[what]
        spans = [[at for at in begun if span[0] <= at < span[1]] for span in self._steady]
        return max(round(excess_over(span, USE * rate, LATE_S), 3) for span in spans)  # slots are whole microseconds

    def gapless(self, end: Snapshot) -> list[str]:
        problems = []
        for each, log in end.events.items():
            numbers = [n for n, _ in log]
            found = Numbers(len(numbers), len(set(numbers)), min(numbers), max(numbers))
            problems += [f"account {each}: {gap}" for gap in gaps(found, 1, len(numbers))]
        return problems

    def causes_come_first(self, end: Snapshot) -> list[str]:
        problems = []
        for log in end.events.values():
            seen: dict[str, dict[str, int]] = defaultdict(dict)
            for number, body in log:
                event = orjson.loads(body)
                if event["trackingId"]:
                    seen[event["trackingId"]].setdefault(event["type"], number)
            for tracking_id, types in seen.items():
                problems += [f"{tracking_id}: {fault}" for fault in disorder(types, is_complete=True)]
        return problems

    def told_once(self, end: Snapshot) -> list[str]:
        """Every ended attempt has one last word, and every other event of it once."""
        told: Counter[tuple[str, str]] = Counter()
        last: Counter[str] = Counter()
        for log in end.events.values():
            for _, body in log:
                event = orjson.loads(body)
                if event["trackingId"]:
                    told[event["trackingId"], event["type"]] += 1
                    last[event["trackingId"]] += event["type"] in _LAST_WORDS
        ended = [view for view in end.attempts if view.state == AttemptState.ENDED]
        names = [attempt_ref(view.campaign_id, view.prospect_id, view.attempt) for view in ended]
        twice = [
            f"{name}: {type_} told {n} times" for (name, type_), n in told.items() if n > 1 and type_ != "voice.amd"
        ]
        return twice + [f"{name}: {last[name]} last words" for name in names if last[name] != 1]

    def accounts_agree(self, end: Snapshot) -> list[str]:
        owners = {each.id: each.account_id for each in end.directs}
        owners |= {plan.id: plan.account_id for plan in self._world.script.campaigns}
        numbers = {number.id: number.account_id for number in self._world.script.numbers}
        people = [f"{person}" for person in end.people if owners[person.campaign_id] != person.account_id]
        attempts = [
            f"{view}"
            for view in end.attempts
            if not owners[view.campaign_id] == view.account_id == numbers[view.did_id]
        ]
        return people + attempts


def _counters_of(person: Person) -> dict[str, int]:
    """Which counters one row stands for, as `checks.prospects` recounts them."""
    found = {"total": 1, ProspectState(person.state).label: 1}
    if person.state == ProspectState.COMPLETED and person.outcome is not None:
        found[Outcome(person.outcome).label] = 1
    if person.state == ProspectState.QUEUED and person.attempt > 1:
        found["retrying"] = 1
    if person.state == ProspectState.CANCELLED and person.reason in ("suppressed", "opted_out"):
        found["suppressed"] = 1
    return found


def _rates_of(account: Account) -> tuple[float | None, float | None]:
    """What its carrier allows a second, in the order of `Channel`."""
    limits = parse_limits(account.limits)
    return limits.calls_per_second, limits.messages_per_second


def _is_kept(person: Person, clock: Clock) -> bool:
    """By a number that sends nothing while nobody knows whether its last text was sent; and then keeps its gap."""
    doubt_s = 2 * (SETTINGS.ticket_s + SETTINGS.carrier_timeout_s + SETTINGS.reconcile_after_s)
    most_s = clock.speed * doubt_s + SETTINGS.sms_gap_s + SETTINGS.sms_jitter_s
    asked = datetime.fromisoformat(person.next_at) if person.reason == "sender_not_ready" and person.next_at else None
    return asked is not None and clock.now() - asked < timedelta(seconds=most_s)


def _is_later(person: Person, now: datetime) -> bool:
    return person.attempt > 1 and bool(person.next_at) and datetime.fromisoformat(person.next_at) > now
