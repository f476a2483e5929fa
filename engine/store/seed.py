"""What a developer finds in a new database: an account, a key, numbers, an agent, and a time inside legal hours."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, real_now, starting_at
from engine.rules.holidays_by_state import is_holiday
from engine.rules.states import rules
from engine.rules.zones import zone
from engine.store import accounts, clock, dids, keys
from engine.store.dids import NewDid

DEV_ACCOUNT_ID = 1
DEV_RATE_LIMIT = 600_000
# The numbers that the public documents 000–004 send and call from, and the one that 002 receives on.
DEV_NUMBERS = ("+14155559876", "+14155559999", "+17145551000", "+19495551000")

# 11:00 in Los Angeles is 14:00 in New York and 8:00 or 9:00 in Honolulu: legal in every state. The first to close is
# Maine, at 14:00 in Los Angeles: an hour or more is still to go.
_ZONE = "America/Los_Angeles"
_OPENS, _CLOSES = 11, 13
_CLOSES_AT_SPEED = 12  # sped up, an hour is a minute or less: what begins then must still have most of the day
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class SeedResult:
    account_id: int
    key: str
    clock: Clock


async def seed_dev(
    engine: AsyncEngine,
    *,
    secret: str | None = None,
    agent: Mapping[str, object] | None = None,
    numbers: tuple[str, ...] = DEV_NUMBERS,
    speed: float = 1.0,
) -> SeedResult:
    """Makes sure of all of it; doing it again with the same `secret` changes nothing but the clock and the agent.

    `secret` is the text of the `tk_test_…` key to have (the caller keeps it between runs); None makes a new one.
    `agent` is the account's default agent target. Raises Misconfigured when the database has live keys.
    """
    engine_clock = await set_legal_hour(engine, speed)
    now = engine_clock.now()
    async with engine.begin() as conn:
        if await accounts.get(conn, DEV_ACCOUNT_ID) is None:
            await accounts.create(conn, "Development", now, account_id=DEV_ACCOUNT_ID)
        await accounts.set_agent(conn, DEV_ACCOUNT_ID, agent)
        if secret is None or await keys.find_key(conn, secret) is None:
            _, secret = await keys.create_key(
                conn, DEV_ACCOUNT_ID, "development", ["*"], DEV_RATE_LIMIT, None, False, secret=secret
            )
        owned = {did.number for did in await dids.list_dids(conn, DEV_ACCOUNT_ID)}
        await dids.add(conn, DEV_ACCOUNT_ID, [NewDid(number) for number in numbers if number not in owned], now)
    return SeedResult(DEV_ACCOUNT_ID, secret, engine_clock)


async def set_legal_hour(engine: AsyncEngine, speed: float = 1.0) -> Clock:
    """Moves engine time forward to a legal hour, never back: what was sent must stay past. Returns the saved clock."""
    async with engine.connect() as conn:
        moment = max((await clock.read(conn)).now(), real_now())
    legal = starting_at(next_legal_hour(moment, _CLOSES if speed == 1 else _CLOSES_AT_SPEED), speed)
    await clock.save(engine, legal)
    return legal


def next_legal_hour(moment: datetime, closes: int = _CLOSES) -> datetime:
    """`moment` itself on an ordinary day from 11:00 to `closes` in Los Angeles, else the next one's 11:00 there."""
    local = moment.astimezone(zone(_ZONE))
    if is_ordinary(local.date()) and _OPENS <= local.hour < closes:
        return moment
    opening = local.replace(hour=_OPENS, minute=0, second=0, microsecond=0)
    while opening <= local or not is_ordinary(opening.date()):
        opening = (opening + timedelta(days=1)).replace(hour=_OPENS)
    return opening.astimezone(UTC)


def is_ordinary(day: date) -> bool:
    """A weekday that is no holiday in any state where the law closes on holidays."""
    rows = (row for some in rules().rows.values() for row in some if row.holidays is not None)
    return day.weekday() < _SATURDAY and not any(is_holiday(row.region, day) for row in rows)
