"""Whether and why one person would be contacted now, from which number, and when next.

In the order in which the engine decides: what the coordinator looks at, the rules of the intent one by one
(`engine.dispatch.judge.RULES`), then its limits, read without their locks. The first refusal is the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch import callers, ceilings, opening, ten_dlc
from engine.dispatch.callers import Sender
from engine.dispatch.campaigns import CampaignFacts, load_campaign
from engine.dispatch.hints import Hint
from engine.dispatch.intent import asks_registries, read_facts
from engine.dispatch.judge import NO_COPIES, RULES, Case, Verdict
from engine.outlook import words
from engine.outlook.choice import Choice, choose
from engine.outlook.words import Check, Subject
from engine.rules.campaign import CampaignStatus
from engine.rules.did_caps import DAY_S, HOUR_S, free_at, room, used
from engine.rules.prospect import ProspectState
from engine.rules.states import rules
from engine.rules.telephony import Channel
from engine.rules.whereabouts import whereabouts
from engine.runtime import Runtime
from engine.store import did_caps, registries
from engine.store.campaigns import Campaign
from engine.store.prospects import Prospect


@dataclass(frozen=True, slots=True)
class Explanation:
    """`answer` and `next` are plain words; `next_at` is None when nobody can say, or never."""

    at: datetime  # engine time, as all times here
    would_contact: bool
    answer: str
    checks: tuple[Check, ...]
    sender: Choice
    next_at: datetime | None
    next: str
    rules_version: str


async def explain(runtime: Runtime, campaign: Campaign, prospect: Prospect) -> Explanation:
    """Reads, judges and says. Raises what PostgreSQL raises."""
    settings, clock = runtime.settings, runtime.clock
    now = clock.now()
    async with runtime.reader.connect() as conn:
        facts = await load_campaign(conn, campaign.id, settings.did_policy)
        choice = await choose(conn, campaign, prospect, now, settings.did_caps)
        case = await _case(conn, facts, prospect, choice, now, opening.takes(settings.ticket_s, clock))
        subject = Subject(campaign, prospect, case, choice)
        verdicts = {name: rule(case) for name, rule in RULES.items()}
        checks = [words.queue(subject)] if _is_early(prospect, now) else []
        checks += [words.rule(name, verdict, subject) for name, verdict in verdicts.items()]
        checks += await _limits(conn, runtime, subject, verdicts.get("content"))
    refused = next((check for check in checks if not check.passed), None)
    next_at, said = _next(subject, checks, refused)
    return Explanation(
        at=now,
        would_contact=refused is None,
        answer=words.answer(subject, refused),
        checks=tuple(checks),
        sender=choice,
        next_at=next_at,
        next=said,
        rules_version=rules().version,
    )


async def _case(
    conn: AsyncConnection,
    facts: CampaignFacts,
    prospect: Prospect,
    choice: Choice,
    now: datetime,
    takes: timedelta,
) -> Case:
    """The contact as its hint would bring it before the rules."""
    did_id, number = (choice.did.id, choice.did.number) if choice.did else (0, "")
    hint = Hint(facts.account_id, facts.id, prospect.id, prospect.attempt, prospect.phone, did_id, number)
    sender: Mapping[int, Sender] = await callers.load(conn, [did_id], now)
    copies = await registries.dates(conn) if asks_registries(facts) else NO_COPIES
    (fact,) = await read_facts(conn, [hint], {facts.id: facts}, facts.channel, now)
    return Case(hint, fact, facts, sender.get(did_id), facts.channel, now, takes, copies)


def _is_early(prospect: Prospect, now: datetime) -> bool:
    due_at = prospect.next_attempt_at
    return prospect.state is ProspectState.QUEUED and due_at is not None and due_at > now


async def _limits(conn: AsyncConnection, runtime: Runtime, subject: Subject, content: Verdict | None) -> list[Check]:
    case = subject.case
    if case.channel is Channel.SMS:
        return await _message_caps(conn, subject, content)
    settings, clock = runtime.settings, runtime.clock
    checks = []
    if limits := ceilings.ceilings_of(case.campaign, settings.carrier_concurrent_calls):
        rooms = await ceilings.rooms(conn, limits, case.now, clock.speed)
        checks += [words.ceiling(each, rooms[each.key]) for each in limits]
    if case.sender is not None and (settings.did_caps == "all" or case.campaign.is_live):
        caps = case.sender.caps(case.campaign.did_policy, case.now)
        usage, now_s = await did_caps.read(conn, case.sender.id), case.now.timestamp()
        free = datetime.fromtimestamp(free_at(usage, caps, now_s), UTC)
        counted = used(usage.hour, HOUR_S, now_s), used(usage.day, DAY_S, now_s)
        checks.append(words.number_caps(case.sender.number, caps, counted, room(usage, caps, now_s), free))
    return checks


async def _message_caps(conn: AsyncConnection, subject: Subject, content: Verdict | None) -> list[Check]:
    case = subject.case
    if case.campaign.limits.ten_dlc is None or content is None or content.message is None:
        return []
    wanted = [ten_dlc.Wanted(case.hint, content.message.segments)]
    verdict = await ten_dlc.look(conn, wanted, {case.campaign.id: case.campaign}, case.now)
    return [words.ten_dlc(case.campaign.limits.ten_dlc, content.message.segments, [at for _, at in verdict.later])]


def _next(subject: Subject, checks: list[Check], refused: Check | None) -> tuple[datetime | None, str]:
    """When the person will next be contacted, as far as what is known now decides it."""
    case, prospect = subject.case, subject.prospect
    if refused is None:
        return case.now, "now: within seconds, as soon as its place in the campaign's pace comes"
    if prospect.state is not ProspectState.QUEUED:
        return None, words.not_queued(prospect)
    if case.campaign.status is not CampaignStatus.DIALING:
        return None, words.not_live(case.campaign.status)
    if final := next((check for check in checks if check.is_final), None):
        return None, f"never: {final.says}"
    if held := next((check for check in checks if check.is_held), None):
        return None, f"not before that changes: {held.says}"
    at = max([case.now, *(check.again_at for check in checks if check.again_at is not None)])
    found = case.campaign.hours.next_chance(whereabouts(prospect.phone, case.fact.data), at, case.takes)
    if found is None:
        return None, "not within 30 days: nothing opens before"
    return found, words.at_next(found, subject)
