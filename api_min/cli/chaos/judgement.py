"""From what was seen to the findings: the checkers of `carillon check`, and the arithmetic of `figures`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min.cli.chaos import doubts, figures
from api_min.cli.chaos.faults import Blow
from api_min.cli.chaos.figures import Late, Span, Step, Violations
from api_min.cli.chaos.findings import Recovery
from api_min.cli.chaos.load import Campaign, Load
from engine.checks.contacts import creates_followed_intents, late_creates
from engine.checks.evidence import Create, Evidence
from engine.checks.report import run_checks
from engine.ids import decode, parse_attempt_ref
from engine.store import clock

WINDOW_S = 10.0
_BACKLOG = 0.9  # of its people: a campaign that has placed as many calls may have nobody left but retries
_SETTLES_S = 1.0  # a resumed campaign is given this to be at its rate again
_FOLLOWED = f"P5 {creates_followed_intents.__name__}"
_HEAD = text("select coalesce(max(seq), 0) from event_heads")


async def run_checkers(
    engine: AsyncEngine, creates: tuple[Create, ...], stops: Sequence[Span]
) -> tuple[dict[str, list[str]], int]:
    """The problems of each checker that found some, as `P2 accepted_once`, and what `frozen_apart` counts."""
    async with engine.connect() as conn:
        engine_clock = await clock.read(conn)
    evidence = Evidence(engine, engine_clock, creates)
    results = await run_checks(evidence)
    found = {f"{each.check.promise} {each.check.name}": each.problems for each in results if each.problems}
    return await frozen_apart(evidence, found, stops)


async def frozen_apart(
    evidence: Evidence, found: Mapping[str, list[str]], stops: Sequence[Span]
) -> tuple[dict[str, list[str]], int]:
    """The problems without those of creates that a stop of their process made late, between its last look at the ticket
    and the write, and how many these are."""
    late = await late_creates(evidence) if _FOLLOWED in found else []
    spans = [
        Late(create.at - late_s - create.lag_s, create.at - late_s + evidence.ticket_s, create.at, create.lag_s)
        for create, late_s in late
    ]
    frozen = {create.ref for (create, _), was in zip(late, figures.frozen_by(stops, spans), strict=True) if was}
    rest = [each for each in found.get(_FOLLOWED, ()) if each.partition(":")[0] not in frozen]
    others = {name: problems for name, problems in found.items() if name != _FOLLOWED}
    return others | ({_FOLLOWED: rest} if rest else {}), len(frozen)


async def newest_event(engine: AsyncEngine) -> int:
    async with engine.connect() as conn:
        return int((await conn.execute(_HEAD)).scalar_one())


def doubled(creates: Iterable[Create]) -> list[str]:
    """Attempts that the carrier accepted twice."""
    times = Counter(create.ref for create in creates if create.accepted)
    return [f"{ref}: contacted {n} times" for ref, n in times.items() if n > 1]


class Arrivals:
    """Creates as they came to the carrier, by campaign."""

    def __init__(self, creates: Sequence[Create]) -> None:
        self._of: dict[int, list[Create]] = defaultdict(list)
        for create in sorted(creates, key=lambda create: create.at):
            if parsed := parse_attempt_ref(create.ref):
                self._of[parsed[0]].append(create)

    def of(self, campaign_id: str) -> list[Create]:
        return self._of.get(decode("camp", campaign_id) or 0, [])


def pauses(load: Load, arrivals: Arrivals, stops: Sequence[Span]) -> Violations:
    """Over all campaigns."""
    found = []
    for campaign in load.campaigns:
        creates = arrivals.of(campaign.id)
        times, lags = [create.at for create in creates], [create.lag_s for create in creates]
        found.append(figures.pause_violations(campaign.pauses, times, lags, stops))
    return Violations(sum(each.unexplained for each in found), sum(each.frozen for each in found))


def throughput(load: Load, arrivals: Arrivals, begun: float) -> tuple[list[Step], list[float]]:
    """What the voice campaigns might place over time, and the calls that came."""
    voice = [campaign for campaign in load.campaigns if campaign.rate]
    spans = [(span, campaign.rate) for campaign in voice for span in _busy(campaign, arrivals, begun)]
    return steps_of(spans), sorted(create.at for campaign in voice for create in arrivals.of(campaign.id))


def _busy(campaign: Campaign, arrivals: Arrivals, begun: float) -> list[Span]:
    """When the campaign ran with people left."""
    creates = arrivals.of(campaign.id)
    last = int(_BACKLOG * len(campaign.phones))
    end = creates[last].at if len(creates) > last else campaign.cancelled_at or begun
    spans, at = [], begun + _SETTLES_S
    for idle in campaign.idle:
        if idle.begin > at:
            spans.append(Span(at, min(idle.begin, end)))
        at = idle.end + _SETTLES_S
    spans.append(Span(at, end))
    return [span for span in spans if span.end > span.begin]


def steps_of(spans: Iterable[tuple[Span, float]]) -> list[Step]:
    """The sum of rates over time; each span adds its rate while it lasts."""
    changes: dict[float, float] = defaultdict(float)
    for span, rate in spans:
        changes[span.begin] += rate
        changes[span.end] -= rate
    steps, rate = [], 0.0
    for at in sorted(changes):
        rate += changes[at]
        steps.append(Step(at, max(0.0, rate)))
    return steps


def recovery(blows: Sequence[Blow], probes: Sequence[Span], steps: Sequence[Step], times: Sequence[float]) -> Recovery:
    """After every fault: until the API answers and calls flow again, whichever comes last."""
    found = []
    for blow in blows:
        seen = (figures.answered_after(blow.healed, probes), figures.flowing_after(blow.healed, steps, times))
        if known := [each for each in seen if each is not None]:
            found.append((max(known), blow.fault.name))
    seconds = [each for each, _ in found]
    slowest_s, slowest = max(found, default=(0.0, ""))
    by_fault: dict[str, list[float]] = defaultdict(list)
    for each, name in found:
        by_fault[name].append(round(each, 2))
    return Recovery(
        figures.percentile(seconds, 0.5), figures.percentile(seconds, 0.99), slowest_s, slowest, dict(by_fault)
    )


async def judge_doubts(watch: doubts.Doubts, log: Path) -> tuple[int, int, dict[str, int], list[str]]:
    """(doubtful, resolved, settled as unknown by reason, unexplained)."""
    unknown, still_open = await watch.unknown(), await watch.open()
    reasons, unexplained = doubts.explain(unknown, doubts.read_known(log, unknown))
    unexplained += [f"{ref}: still doubtful" for ref in sorted(still_open)]
    doubtful = watch.refs | still_open
    return len(doubtful), len(doubtful - unknown - still_open), reasons, unexplained
