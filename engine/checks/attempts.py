"""P2: nobody is contacted twice for one attempt."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import text

from engine.checks.evidence import Create, Evidence
from engine.ids import encode, parse_attempt_ref
from engine.rules.attempt import AttemptState

_BATCH = 10_000

_GAPS = text("""
    select prospect_id, count(*) as n, min(attempt) as first, max(attempt) as last from attempts
     group by prospect_id having min(attempt) <> 1 or max(attempt) <> count(*) order by prospect_id limit 1000
""")
_OPEN = text(f"""
    select prospect_id, count(*) as n from attempts where state <> {AttemptState.ENDED:d}
     group by prospect_id having count(*) > 1 order by prospect_id limit 1000
""")
_MISSING = text("""
    select n from unnest(cast(:campaigns as bigint[]), cast(:prospects as bigint[]), cast(:attempts as smallint[]),
                         cast(:phones as text[])) with ordinality as c(campaign_id, prospect_id, attempt, phone, n)
     where not exists (select from attempts a where a.prospect_id = c.prospect_id and a.attempt = c.attempt
                        and a.campaign_id = c.campaign_id and a.phone = c.phone)
     order by n
""")


async def attempts_contiguous(evidence: Evidence) -> list[str]:
    """A prospect's attempts are numbered 1, 2, 3, … and at most one of them is open."""
    async with evidence.engine.connect() as conn:
        gaps = (await conn.execute(_GAPS)).all()
        open_ = (await conn.execute(_OPEN)).all()
    return [
        f"{encode('pros', row.prospect_id)}: {row.n} attempts, numbered {row.first} to {row.last}" for row in gaps
    ] + [f"{encode('pros', row.prospect_id)}: {row.n} attempts are open at once" for row in open_]


async def accepted_once(evidence: Evidence) -> list[str]:
    """The carrier accepted no attempt twice."""
    return twice(create.ref for create in evidence.accepted)


def twice(refs: Iterable[str]) -> list[str]:
    """What is wrong with the refs of the creates that a carrier accepted."""
    return [f"{ref}: accepted {n} times" for ref, n in Counter(refs).items() if n > 1]


async def creates_were_intended(evidence: Evidence) -> list[str]:
    """Every accepted create has its committed attempt, to the same number."""
    problems = []
    known = []
    for create in evidence.accepted:
        if (parsed := parse_attempt_ref(create.ref)) is None:
            problems.append(f"{create.ref}: not a name that we give")
        else:
            known.append((create, parsed))
    async with evidence.engine.connect() as conn:
        for start in range(0, len(known), _BATCH):
            part = known[start : start + _BATCH]
            missing = (await conn.execute(_MISSING, _columns(part))).scalars()
            problems += [
                f"{part[n - 1][0].ref}: accepted by the carrier, but there is no such attempt" for n in missing
            ]
    return problems


def _columns(part: list[tuple[Create, tuple[int, int, int]]]) -> dict[str, list[object]]:
    return {
        "campaigns": [parsed[0] for _, parsed in part],
        "prospects": [parsed[1] for _, parsed in part],
        "attempts": [parsed[2] for _, parsed in part],
        "phones": [create.to for create, _ in part],
    }
