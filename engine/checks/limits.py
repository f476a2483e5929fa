"""P4: the limit is the limit, by the carrier's own clock."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from sqlalchemy import text

from engine.checks.evidence import Create, Evidence
from engine.ids import encode, parse_attempt_ref
from engine.rules.telephony import Channel

SMS_PER_HOUR = 4
_HOUR_S = 3_600.0
_SHORTEST_WINDOW_S = 1.0

_EXEMPT = text("select id from campaigns where id = any(cast(:ids as bigint[])) and is_direct")
_RATES = text("select id, calls_per_second from campaigns where id = any(cast(:ids as bigint[]))")


async def sms_spacing(evidence: Evidence) -> list[str]:
    """No DID sent two campaign messages closer than the gap, or more than four in any hour (engine time)."""
    sent: dict[str, list[float]] = defaultdict(list)
    for create in await _paced(evidence):
        sent[create.from_].append(evidence.clock.engine_at(create.at).timestamp())
    return crowded(sent, evidence.sms_gap_s, evidence.arrival_jitter_s * evidence.clock.speed)


def crowded(sent: Mapping[str, Sequence[float]], gap_s: float, slack_s: float) -> list[str]:
    """What is wrong with the times (engine seconds, ascending) at which each number sent campaign messages."""
    problems = []
    for number, times in sent.items():
        closest = min((later - earlier for earlier, later in pairwise(times)), default=gap_s)
        if closest < gap_s - slack_s:
            problems.append(f"{number}: two messages only {closest:.1f} s apart")
        fullest = min((times[n + SMS_PER_HOUR] - times[n] for n in range(len(times) - SMS_PER_HOUR)), default=_HOUR_S)
        if fullest < _HOUR_S - slack_s:
            problems.append(f"{number}: {SMS_PER_HOUR + 1} messages within {fullest:.1f} s")
    return problems


async def _paced(evidence: Evidence) -> list[Create]:
    """The texts that keep their sender's gap: not one-off messages and answers, which have the carrier's rates."""
    texts = [(create, parse_attempt_ref(create.ref)) for create in evidence.accepted if create.channel is Channel.SMS]
    ids = sorted({parsed[0] for _, parsed in texts if parsed})
    if not ids:
        return [create for create, _ in texts]
    async with evidence.engine.connect() as conn:
        exempt = set((await conn.execute(_EXEMPT, {"ids": ids})).scalars())
    return [create for create, parsed in texts if parsed is None or parsed[0] not in exempt]


async def call_rate(evidence: Evidence) -> list[str]:
    """No campaign's calls exceeded `calls_per_second` × window + 1 in any window of a second or more (real time)."""
    placed: dict[int, list[Create]] = defaultdict(list)
    for create in evidence.accepted:
        parsed = parse_attempt_ref(create.ref)
        if parsed is not None and create.channel is Channel.VOICE:
            placed[parsed[0]].append(create)
    async with evidence.engine.connect() as conn:
        rates = {row.id: row.calls_per_second for row in await conn.execute(_RATES, {"ids": list(placed)})}
    problems = []
    for campaign_id, creates in placed.items():
        times = [create.at for create in creates]
        lags = [create.lag_s for create in creates]
        excess = excess_over(times, rates.get(campaign_id, 0.0), evidence.arrival_jitter_s, lags)
        if excess > 0:
            name = encode("camp", campaign_id)
            problems.append(f"{name}: {excess:.1f} calls too many for {rates.get(campaign_id, 0.0):g} a second")
    return problems


def excess_over(times: Sequence[float], rate: float, jitter_s: float, lags: Sequence[float] = ()) -> float:
    """By how many the fullest window of ≥ 1 s exceeds `rate × (window + jitter_s) + 1`; ≤ 0 when none does.

    `times` ascend; call i came up to `lags[i]` earlier. A window from call i to call j holds j − i + 1 calls, so over
    all windows that end at j the worst is the one with the smallest `i − rate × begin(i)`; windows shorter than a
    second count as one second.
    """
    begins = _earliest(times, lags or [0.0] * len(times))
    worst = float("-inf")
    smallest = float("inf")
    first = 0  # of those within the last second
    for last, time in enumerate(times):
        while first < last and time - begins[first] >= _SHORTEST_WINDOW_S:
            smallest = min(smallest, first - rate * begins[first])
            first += 1
        worst = max(worst, last - first + 1 - rate * _SHORTEST_WINDOW_S, last + 1 - rate * time - smallest)
    return worst - rate * jitter_s - 1


def _earliest(times: Sequence[float], lags: Sequence[float]) -> list[float]:
    """When each call came at the earliest, ascending: none came later than one that was read after it."""
    begins: list[float] = []
    for time, lag in zip(reversed(times), reversed(lags), strict=True):
        begins.append(min(time - lag, begins[-1] if begins else time))
    return begins[::-1]
