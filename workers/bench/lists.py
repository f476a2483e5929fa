"""Long lists to look numbers up in: suppressed ones, and a registry's, none of whom is to be called.

They lie among the numbers that are, in the same area codes and over all of their exchanges, as real lists do.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice

import psycopg

from engine.rules.registry import NATIONAL, RegistryReader, with_own_list
from engine.store import clock as clock_store
from engine.store import registries
from engine.store.database import connect
from engine.store.seed import DEV_ACCOUNT_ID

_FIRST_LINE, _LAST_LINE = 2_200_000, 9_980_000  # of an area code: what is called begins at the first
_STEP = 211  # lines from one listed number to the next, so that ten million reach every exchange
_MUST_ASK = """{"compliance": {"require_registry": true}}"""
_COPY = "copy suppressions (account_id, phone, reason, source, created_at) from stdin"


def numbers(codes: tuple[str, ...], called: int, count: int) -> Iterator[str]:
    """Different numbers (E.164 without its plus), none of the first `called` of `contacts.phones`."""
    first = _FIRST_LINE + called // len(codes) + 1
    room = _LAST_LINE - first
    for index in range(count):
        turn, code = divmod(index, len(codes))
        yield f"1{codes[code]}{first + turn * _STEP % room}"


def load(url: str, codes: tuple[str, ...], called: int, suppressions: int, registry: int) -> None:
    """Fills both lists; with a registry the account must ask it, and its copies are of today."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            for number in numbers(codes, called, suppressions):
                copy.write(f"{DEV_ACCOUNT_ID}\t+{number}\tasked\timport\tnow\n")
        if registry:
            connection.execute("update accounts set settings = settings || %s::jsonb", [_MUST_ASK])
    if registry:
        asyncio.run(_load_registry(url, codes, called, registry))


async def _load_registry(url: str, codes: tuple[str, ...], called: int, count: int) -> None:
    reader, lines = RegistryReader(), numbers(codes, called, count)
    while part := list(islice(lines, 100_000)):
        reader.feed(("\n".join(part) + "\n").encode())
    reader.close()
    engine = connect(url, pool_size=1)
    try:
        async with engine.connect() as conn:
            now = (await clock_store.read(conn)).now()
        await registries.replace(engine, NATIONAL, now.date(), reader.blocks, reader.numbers, now)
        for state in with_own_list():
            await registries.replace(engine, state, now.date(), {}, 0, now)
    finally:
        await engine.dispose()
