"""Accounts, numbers and prospects to measure with, loaded in bulk."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import real_now
from engine.rules.area_codes import area_codes
from engine.store import accounts, campaigns, dids, keys, prospects
from engine.store.campaigns import NewCampaign
from engine.store.database import connect
from engine.store.dids import NewDid
from engine.store.seed import DEV_ACCOUNT_ID, DEV_RATE_LIMIT, set_legal_hour
from workers.bench import lists

_FIRST_LINE = 2_200_000  # below it are exchanges that no telephone has
_FAR_AWAY = ("AK", "AS", "GU", "HI", "MP", "PR", "VI")  # their legal hours are not those of the mainland
_DID_LINE = 9_990_000
_COPY = "copy prospects (campaign_id, account_id, phone, next_attempt_at) from stdin"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to load: one campaign per size, and numbers to call them from."""

    sizes: tuple[int, ...]
    due: str = "-infinity"  # PostgreSQL's text of when every prospect is due
    dids: int = 200
    carrier: str = "instant"
    calls_per_second: float = 1e6  # the benchmark measures the engine, not its limits; they are all asked
    suppressions: int = 0  # numbers on the account's list, of others than are called
    registry: int = 0  # numbers on the national registry, likewise; the account must then ask it

    @property
    def total(self) -> int:
        return sum(self.sizes)


def phones(count: int) -> Iterator[str]:
    """Different E.164 numbers on the US mainland, every area code in turn."""
    codes = mainland_codes()
    for index in range(count):
        line, code = divmod(index, len(codes))
        yield f"+1{codes[code]}{_FIRST_LINE + line}"


@cache
def mainland_codes() -> tuple[str, ...]:
    return tuple(
        area.code
        for area in area_codes().values()
        if area.country == "US" and area.kind == "geographic" and area.zones and area.region not in _FAR_AWAY
    )


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a database was filled with. The campaigns are all `created`."""

    campaign_ids: list[int]
    key: str


def load(url: str, plan: Plan) -> Loaded:
    """Fills a migrated, empty database."""
    loaded = asyncio.run(_in_engine(url, plan))
    numbers = phones(plan.total)
    with (
        psycopg.connect(url) as connection,
        connection.cursor() as cursor,
        cursor.copy(_COPY) as copy,
    ):
        for campaign_id, size in zip(loaded.campaign_ids, plan.sizes, strict=True):
            for phone in islice(numbers, size):
                copy.write(f"{campaign_id}\t{DEV_ACCOUNT_ID}\t{phone}\t{plan.due}\n")
    if plan.suppressions or plan.registry:
        lists.load(url, mainland_codes(), plan.total, plan.suppressions, plan.registry)
    return loaded


def fill(url: str, plan: Plan) -> None:
    """As `load`, for whoever needs no names."""
    load(url, plan)


async def _in_engine(url: str, plan: Plan) -> Loaded:
    engine = connect(url, pool_size=1)
    try:
        return await _load_nouns(engine, plan)
    finally:
        await engine.dispose()


async def _load_nouns(engine: AsyncEngine, plan: Plan) -> Loaded:
    clock = await set_legal_hour(engine)
    codes = mainland_codes()
    numbers = [f"+1{codes[n % len(codes)]}{_DID_LINE + n // len(codes)}" for n in range(plan.dids)]
    ids = []
    async with engine.begin() as conn:
        await accounts.create(conn, "Benchmark", clock.now(), account_id=DEV_ACCOUNT_ID)
        await dids.add(conn, DEV_ACCOUNT_ID, [NewDid(number) for number in numbers], clock.now())
        for size in plan.sizes:
            new = NewCampaign(
                f"Benchmark of {size}",
                "voice",
                is_live=False,
                carrier=plan.carrier,
                mode={"max_retries": 0},
                calls_per_second=plan.calls_per_second,
            )
            campaign = await campaigns.create(conn, DEV_ACCOUNT_ID, new, real_now())
            await prospects.count_added(conn, campaign.id, size)
            ids.append(campaign.id)
        _, key = await keys.create_key(conn, DEV_ACCOUNT_ID, "benchmark", ["*"], DEV_RATE_LIMIT, None, False)
    return Loaded(ids, key)
