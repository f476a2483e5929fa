"""What will happen in one history, as data: who is contacted, what clients do, and what goes wrong.

A script is written from a seed and nothing else. Every entry names its own occasion ("the third create for this
number", "worker-1 after its second intent"), so that removing one leaves the others as they are: that is what makes a
failing script shrink.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

from engine.rules.telephony import Channel
from engine.simulation.port import CARRIER, DOCUMENT_CARRIER, Account, Number, Plan, Request

VOICE_ENDS = (
    "human", "human", "machine", "machine_late", "no_answer", "busy", "failed", "invalid", "hangup", "screened", "mute",
)  # fmt: skip
SMS_ENDS = ("delivered", "delivered", "delivered", "failed", "filtered", "opted_out", "silent", "mute")
AGENTS = ("bridges", "bridges", "late", "fails", "never")
CREATE_FAULTS = (
    "rate_limited", "unavailable", "error_before", "error_after", "hang", "hang_lost", "slow", "unread", "dropped",
    "no_connection", "refused", "invalid", "opted_out",
)  # fmt: skip
CALLBACK_FAULTS = ("lost", "twice", "late", "very_late")
LOOKUP_FAULTS = ("unknown", "raises")
COMMAND_FAULTS = ("lost", "refused", "unanswered")
QUEUE_FAULTS = ("lost", "twice", "late")
WORKER_STEPS = ("slots", "commit_intents", "send", "settle", "settle_callbacks", "due_attempts", "lookup", "command")
OTHER_STEPS = {
    "coordinator": ("claim", "put_off", "push", "complete", "sweep", "overdue", "unsettled", "queued_behind"),
    "api": ("receive", "answer", "move", "open_tickets", "add_prospects", "import_csv", "opt_out"),
    "relay": ("number",),
}

ONE_OFF_STEPS = ("asked", "direct", "create_call", "queue_text")  # of the api

# Wednesdays inside and at the edges of the legal day, and the nights on which clocks change in 2026.
STARTS = (
    datetime(2026, 3, 11, 18, 0, tzinfo=UTC),
    datetime(2026, 3, 11, 18, 0, tzinfo=UTC),
    datetime(2026, 3, 11, 23, 58, tzinfo=UTC),
    datetime(2026, 3, 12, 14, 59, tzinfo=UTC),
    datetime(2026, 3, 8, 9, 50, tzinfo=UTC),
    datetime(2026, 11, 1, 7, 50, tzinfo=UTC),
    datetime(2026, 10, 31, 23, 55, tzinfo=UTC),
)
SPEEDS = (1.0, 1.0, 60.0)

_OCCASIONS = (1, 1, 1, 2, 3, 5)  # of a step: some come once or twice in a history
_ONE_OFFS = (0, 0, 0, 0, 0, 0, 1, 1, 2, 4)  # of one history
_LIMITS: tuple[Mapping[str, object] | None, ...] = (None, None, {"callsPerSecond": 2, "messagesPerSecond": 1})
_AREAS = ("213", "212", "312", "303", "808")
_MESSAGES = ("Your order is ready.", "Hi {{name|there}}, it is ready.", "{{name}}, your order is ready.")
_SCHEDULES: tuple[Mapping[str, object] | None, ...] = (
    None,
    None,
    {"startHour": 9, "endHour": 20},
    {"timezone": "America/Los_Angeles", "startHour": 1, "endHour": 3},  # meets no clock's jump, or just one
)


class Contact(NamedTuple):
    """A person of a campaign, and what becomes of the first, second, … contact with them."""

    campaign_id: int
    phone: str
    ends: tuple[str, ...]
    agent: str = "bridges"
    column: str | None = None  # imported with this value of `name`; else added as a number
    added_s: float = 0.0


class OneOff(NamedTuple):
    """A call or text that a client asks for by itself, when, and what becomes of it."""

    at_s: float
    asked: Request
    ends: tuple[str, ...]
    agent: str = "bridges"
    again_s: tuple[float, ...] = ()  # when the same request comes again, as if its answer had been lost
    moved_to: str | None = None  # the carrier that its account has by then

    def __str__(self) -> str:
        again = "".join(f", again at {at_s:.3f} s" for at_s in self.again_s)
        moved = f" over {self.moved_to}" if again and self.moved_to else ""
        return f"{self.at_s:9.3f} s  one-off {tuple(self.asked)} {self.ends} {self.agent}{again}{moved}"


class Deed(NamedTuple):
    """What a client does, and when: start, pause, resume, cancel (a campaign), stop (a phone)."""

    at_s: float
    verb: str
    subject: str


class Fault(NamedTuple):
    """`kind` on the `n`-th occasion (from 1) at `where`; `amount`: for how long, or by how much."""

    kind: str
    where: str
    n: int
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    seed: int
    start: datetime  # engine time
    speed: float
    is_authoritative: bool  # the carrier's look-ups
    accounts: tuple[Account, ...]
    numbers: tuple[Number, ...]
    campaigns: tuple[Plan, ...]
    contacts: tuple[Contact, ...]
    deeds: tuple[Deed, ...] = ()
    faults: tuple[Fault, ...] = ()
    one_offs: tuple[OneOff, ...] = ()
    faults_at: Mapping[tuple[str, int], Fault] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        found = {(f"{fault.kind.split('.')[0]}@{fault.where}", fault.n): fault for fault in self.faults}
        object.__setattr__(self, "faults_at", found)

    def fault(self, group: str, where: str, n: int) -> Fault | None:
        """What goes wrong on the n-th occasion there; the kinds of a group begin with its name and a dot."""
        return self.faults_at.get((f"{group}@{where}", n))

    def lines(self) -> list[str]:
        """The script in words, one line per entry."""
        head = f"seed {self.seed}: from {self.start.isoformat()} at speed {self.speed:g}"
        told = "look-ups are authoritative" if self.is_authoritative else "look-ups are not authoritative"
        plans = [
            f"campaign {p.id}: {p.channel} at {p.carrier} {dict(p.mode)} {p.purpose} {p.schedule or ''}"
            for p in self.campaigns
        ]
        people = [f"contact {tuple(contact)}" for contact in self.contacts]
        deeds = [f"{deed.at_s:9.3f} s  {deed.verb} {deed.subject}" for deed in self.deeds]
        faults = [f"fault {f.kind} at {f.where} #{f.n} ({f.amount:g})" for f in self.faults]
        return [f"{head}, {told}", *plans, *people, *map(str, self.one_offs), *deeds, *faults]


def write(seed: int, *, is_short: bool = False) -> Script:
    """The script of a seed. A short one has three people and no waits of hours: for stores that take their time."""
    drawn = Random(seed)
    accounts = tuple(
        Account(each, {"kind": "sip", "uri": "sip:desk@example.com"}, drawn.choice(_LIMITS))
        for each in (1, 2)[: _one_or_two(drawn)]
    )
    numbers = tuple(
        Number(10 * account.id + each, account.id, f"+1714555{1000 + 10 * account.id + each}")
        for account in accounts
        for each in range(_one_or_two(drawn))
    )
    plans = tuple(_plan(drawn, 100 + each, drawn.choice(accounts)) for each in range(_one_or_two(drawn)))
    contacts = _contacts(drawn, plans)
    span_s = drawn.choice((30.0, 120.0, 900.0))
    if is_short:
        contacts, span_s = contacts[:3], 30.0
        plans = tuple(replace(plan, schedule=None, mode={**plan.mode, "retry_delay": "1s"}) for plan in plans)
    deeds = _deeds(drawn, plans, contacts, span_s)
    script = Script(
        seed=seed,
        start=drawn.choice(STARTS),
        speed=drawn.choice(SPEEDS),
        is_authoritative=drawn.random() < 0.7,
        accounts=accounts,
        numbers=numbers,
        campaigns=plans,
        contacts=contacts,
        deeds=deeds,
        faults=tuple(_faults(drawn, contacts, span_s)),
    )
    return _with_one_offs(script, span_s)


def _one_or_two(drawn: Random) -> int:
    return drawn.choice((1, 1, 2))


def _plan(drawn: Random, id_: int, account: Account) -> Plan:
    retries = {"max_retries": drawn.choice((0, 1, 2)), "retry_delay": drawn.choice(("1s", "1m", "4h"))}
    purpose = drawn.choice(("marketing", "informational", "emergency"))
    schedule = drawn.choice(_SCHEDULES)
    rate = drawn.choice((1.0, 5.0, 50.0))
    carrier = drawn.choice((CARRIER, CARRIER, DOCUMENT_CARRIER))
    if drawn.random() < 0.5:
        mode: dict[str, object] = {"message": drawn.choice(_MESSAGES), **retries}
        return Plan(id_, account.id, Channel.SMS, mode, schedule, purpose, rate, carrier)
    mode = dict(retries)
    if drawn.random() < 0.6:
        mode["ai"] = True
    if drawn.random() < 0.6:
        mode["voicemailAudioUrl"] = "https://example.com/recording.wav"
    if drawn.random() < 0.3:
        mode |= {"concurrentCalls": drawn.choice((1, 2)), "maxDuration": 60}
    if drawn.random() < 0.3:
        mode["retry"] = {"voicemail": {"max": 1, "delay": "30s"}, "busy": {"delay": "10s"}}
    return Plan(id_, account.id, Channel.VOICE, mode, schedule, purpose, rate, carrier)


def _contacts(drawn: Random, plans: tuple[Plan, ...]) -> tuple[Contact, ...]:
    """Three to ten; campaigns of one account may share a person."""
    contacts: list[Contact] = []
    for number in range(drawn.randint(3, 10)):
        plan = drawn.choice(plans)
        ends = VOICE_ENDS if plan.channel is Channel.VOICE else SMS_ENDS
        phone = f"+1{drawn.choice(_AREAS)}55501{number % 8:02d}"
        contacts.append(
            Contact(
                plan.id,
                phone,
                tuple(drawn.choice(ends) for _ in range(3)),
                drawn.choice(AGENTS),
                drawn.choice((None, "", "Ann")) if plan.channel is Channel.SMS else None,
                drawn.choice((0.0, 0.0, 0.0, drawn.uniform(0.2, 60.0))),
            )
        )
    return tuple(contacts)


def _deeds(drawn: Random, plans: tuple[Plan, ...], contacts: tuple[Contact, ...], span_s: float) -> tuple[Deed, ...]:
    deeds = [Deed(round(drawn.uniform(0.1, 1.0), 3), "start", str(plan.id)) for plan in plans]
    for plan in plans:
        at = 1.0
        for _ in range(drawn.choice((0, 0, 1, 2))):
            at += drawn.uniform(0.05, span_s / 4)
            deeds.append(Deed(round(at, 3), "pause", str(plan.id)))
            at += drawn.uniform(0.05, span_s / 4)
            deeds.append(Deed(round(at, 3), "resume", str(plan.id)))
        if drawn.random() < 0.15:
            deeds.append(Deed(round(drawn.uniform(0.5, span_s), 3), "cancel", str(plan.id)))
    accounts = {plan.id: plan.account_id for plan in plans}
    for _ in range(drawn.choice((0, 1, 1, 2))):
        contact = drawn.choice(contacts)
        subject = f"{accounts[contact.campaign_id]}:{contact.phone}"
        deeds.append(Deed(round(drawn.uniform(0.2, span_s / 2), 3), "stop", subject))
    return tuple(sorted(deeds))


def _faults(drawn: Random, contacts: tuple[Contact, ...], span_s: float) -> list[Fault]:
    """Between none and some twenty: quiet histories find what loud ones drown."""
    faults: list[Fault] = []
    phones = sorted({contact.phone for contact in contacts})

    def some(most: int) -> range:
        return range(drawn.randint(0, most) if drawn.random() < 0.8 else 0)

    for _ in some(5):
        process, step = _occasion(drawn)
        faults.append(
            Fault("crash", f"{process}/{step}", drawn.choice(_OCCASIONS), drawn.choice((0.05, 1.0, 8.0, 40.0)))
        )
    for _ in some(3):
        process, step = _occasion(drawn)
        faults.append(Fault("stall", f"{process}/{step}", drawn.choice(_OCCASIONS), drawn.choice((0.3, 2.5, 12.0))))
    for _ in some(4):
        kind, where = drawn.choice(QUEUE_FAULTS), drawn.choice(("hint", "settle", "watch"))
        faults.append(Fault(f"queue.{kind}", where, drawn.randint(1, 12), drawn.choice((0.01, 3.0, 20.0))))
    faults += [
        Fault(f"create.{drawn.choice(CREATE_FAULTS)}", drawn.choice(phones), drawn.randint(1, 3)) for _ in some(6)
    ]
    for _ in some(6):
        kind = drawn.choice(CALLBACK_FAULTS)
        faults.append(Fault(f"callback.{kind}", drawn.choice(phones), drawn.randint(1, 6), drawn.choice((1.0, 30.0))))
    for group, kinds in (("lookup", LOOKUP_FAULTS), ("command", COMMAND_FAULTS)):
        faults += [Fault(f"{group}.{drawn.choice(kinds)}", drawn.choice(phones), drawn.randint(1, 2)) for _ in some(3)]
    jumps = [drawn.choice((("real", 3_600.0), ("real", 15.0), ("real", -20.0), ("engine", 7_200.0))) for _ in some(2)]
    faults += [
        Fault(f"clock.{kind}", f"{drawn.uniform(0.8, drawn.choice((6.0, span_s))):.3f}", 1, amount)
        for kind, amount in jumps
    ]
    faults += [Fault("flush", f"{drawn.uniform(0.5, drawn.choice((6.0, span_s / 2))):.3f}", 1) for _ in some(1)]
    return [_with_steady_clock(each, jumps) for each in faults]


def _with_steady_clock(fault: Fault, jumps: Sequence[tuple[str, float]]) -> Fault:
    """Only time tells a request that the carrier has yet to read from one that it never got: no clock that is set
    forward just then may be asked."""
    is_unsteady = any(kind == "real" and amount > 0 for kind, amount in jumps)
    return fault._replace(kind="create.slow") if is_unsteady and fault.kind == "create.unread" else fault


def _occasion(drawn: Random) -> tuple[str, str]:
    if drawn.random() < 0.6:
        return f"worker-{drawn.randint(0, 1)}", drawn.choice(WORKER_STEPS)
    kind = drawn.choice(tuple(OTHER_STEPS))
    name = kind if kind == "api" else f"{kind}-{drawn.randint(0, 1)}"
    return name, drawn.choice(OTHER_STEPS[kind])


def _with_one_offs(script: Script, span_s: float) -> Script:
    """They and what goes wrong with them are drawn apart, so that the rest of a script is what it is without them."""
    drawn = Random(f"one-off {script.seed}")
    carriers = {account.id: drawn.choice((CARRIER, DOCUMENT_CARRIER)) for account in script.accounts}
    made = tuple(_one_off(drawn, script, carriers, n, min(span_s, 120.0)) for n in range(drawn.choice(_ONE_OFFS)))
    faults = {(fault.kind.partition(".")[0], fault.where, fault.n): fault for fault in script.faults}
    deeds = list(script.deeds)
    for each in made:
        if drawn.random() < 0.25:
            at_s = max(0.1, each.at_s + drawn.uniform(-2.0, 4.0))
            deeds.append(Deed(round(at_s, 3), "stop", f"{each.asked.account_id}:{each.asked.phone}"))
        for fault in _faults_of(drawn, each):
            faults.setdefault((fault.kind.partition(".")[0], fault.where, fault.n), fault)
    return replace(script, one_offs=made, deeds=tuple(sorted(deeds)), faults=tuple(faults.values()))


def _one_off(drawn: Random, script: Script, carriers: Mapping[int, str], n: int, span_s: float) -> OneOff:
    number = drawn.choice(script.numbers)
    channel = drawn.choice((Channel.VOICE, Channel.SMS))
    is_call = channel is Channel.VOICE
    of_a_campaign = drawn.choice(script.contacts).phone
    request = Request(
        number.account_id,
        channel,
        drawn.choice((of_a_campaign, f"+1{drawn.choice(_AREAS)}55502{n % 3:02d}")),
        number.e164,
        drawn.choice(("", f"order {n}", f"order {n}", f"order {n}")),
        carriers[number.account_id],
        drawn.choice(("", "", "marketing", "informational")),
        is_call and drawn.random() < 0.5,
        drawn.choice((None, 60)) if is_call else None,
    )
    at_s = round(drawn.uniform(0.05, drawn.choice((3.0, span_s))), 3)
    again = [round(at_s + drawn.uniform(0.001, 20.0), 3) for _ in range(drawn.choice((0, 0, 1, 2)))]
    ends = tuple(drawn.choice(VOICE_ENDS if is_call else SMS_ENDS) for _ in range(2))
    agent, moved_to = drawn.choice(AGENTS), drawn.choice((None, CARRIER, DOCUMENT_CARRIER))
    return OneOff(at_s, request, ends, agent, tuple(sorted(again)) if request.name else (), moved_to)


def _faults_of(drawn: Random, one_off: OneOff) -> list[Fault]:
    """What the others' faults, which name campaigns' people, would hardly meet."""
    faults: list[Fault] = []
    steps = ONE_OFF_STEPS[:3] if one_off.asked.channel is Channel.VOICE else (ONE_OFF_STEPS[0], ONE_OFF_STEPS[3])
    if drawn.random() < 0.3:
        kind, for_s = drawn.choice((("crash", 0.05), ("crash", 8.0), ("stall", 2.5), ("stall", 12.0)))
        faults.append(Fault(kind, f"api/{drawn.choice(steps)}", drawn.randint(1, 2), for_s))
    if drawn.random() < 0.3:
        faults.append(Fault(f"create.{drawn.choice(CREATE_FAULTS)}", one_off.asked.phone, drawn.randint(1, 2)))
    if drawn.random() < 0.3:
        kind = drawn.choice(CALLBACK_FAULTS)
        faults.append(Fault(f"callback.{kind}", one_off.asked.phone, drawn.randint(1, 6), drawn.choice((1.0, 30.0))))
    if drawn.random() < 0.3:
        faults.append(Fault(f"queue.{drawn.choice(QUEUE_FAULTS)}", "wake", drawn.randint(1, 3), 3.0))
    return faults
