"""Imports: a CSV of any size into a campaign, all of it or nothing.

Rows are staged in a temporary table by bounded COPY statements, each its own short transaction: however slowly a client
sends, nothing is held but a connection. One last transaction takes the campaign's key, checks its state again and moves
the staged rows over, so an import that commits after the campaign was started or cancelled cannot be.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
from psycopg import AsyncConnection as Psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.rules.csv_rows import BadRow, Batch, Row, RowReader
from engine.store import campaigns, prospects
from engine.store.campaigns import Campaign

MOST_ERRORS = 1_000  # kept for the report; the others are counted
_PIECE_BYTES = 512 * 1024  # of the file; parsed and staged together: some 10,000 rows, 50 ms

_STAGE = text("create temporary table import_rows (phone text not null, data jsonb) on commit preserve rows")
_UNSTAGE = text("drop table import_rows")
_COPY = "copy import_rows (phone, data) from stdin"
# A temporary table is read in the order it was written, so that the first of two equal numbers wins and ids follow the
# file. The conflict target takes equal numbers within the file as well as those already there.
_MOVE = text("""
    insert into prospects (campaign_id, account_id, phone, data)
    select :campaign_id, :account_id, phone, data from import_rows
    on conflict (campaign_id, phone, one_off) do nothing
""")


@dataclass(slots=True)
class ImportReport:
    """What became of the lines. Empty lines and the header count nowhere."""

    added: int = 0
    duplicates: int = 0  # repeated in the file, or in the campaign before
    invalid: int = 0
    errors: list[BadRow] = field(default_factory=list)  # the first `MOST_ERRORS` invalid lines


async def run_import(
    engine: AsyncEngine, campaign: Campaign, chunks: AsyncIterator[bytes], region: str = "US"
) -> ImportReport:
    """Reads the file to its end and adds its numbers; `region` (ISO 3166) reads numbers without a country code.

    Raises Conflict when the campaign takes no prospects, before the body is read and again at the end; InvalidInput for
    a file that is no contact list; Unavailable as `campaigns.locked`. Nothing is then added. Each import holds one
    connection of `engine` until the file ends: give it an engine of its own, or bound the number of imports.
    """
    async with engine.connect() as conn:
        await prospects.check_open(conn, campaign)
        await conn.commit()
        try:
            await conn.execute(_STAGE)
            await conn.commit()
            report, staged = await _stage(conn, chunks, region)
            report.added = await _move(conn, campaign) if staged else 0
            report.duplicates = staged - report.added
            await conn.execute(_UNSTAGE)
            await conn.commit()
        except BaseException:
            await conn.invalidate()  # in the middle of a COPY, or with a staging table, it goes to nobody else
            raise
    return report


async def _stage(conn: AsyncConnection, chunks: AsyncIterator[bytes], region: str) -> tuple[ImportReport, int]:
    """Parses and stages the file; the report so far, and how many rows are staged."""
    driver = (await conn.get_raw_connection()).driver_connection
    assert isinstance(driver, Psycopg)
    reader, report, staged = RowReader(region), ImportReport(), 0
    async for piece in _pieces(chunks):
        # A thread, so that the api goes on serving while a million rows are parsed.
        batch, block = await asyncio.to_thread(_parse, reader, piece)
        _note(report, batch)
        staged += len(batch.rows)
        async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            await copy.write(block)
        await driver.commit()
    return report, staged


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
    """The chunks, joined to pieces worth a COPY; None at the end of the file."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
    yield None


def _parse(reader: RowReader, piece: bytes | None) -> tuple[Batch, str]:
    batch = reader.close() if piece is None else reader.feed(piece)
    return batch, "".join(map(_copy_line, batch.rows))


def _copy_line(row: Row) -> str:
    """One line of COPY's text format: JSON has neither tabs nor line ends, and backslashes are doubled."""
    _, phone, data = row
    if data is None:
        return f"{phone}\t\\N\n"
    json = orjson.dumps(data).decode()
    if "\\" in json:
        json = json.replace("\\", "\\\\")
    return f"{phone}\t{json}\n"


def _note(report: ImportReport, batch: Batch) -> None:
    report.invalid += len(batch.bad)
    report.errors += batch.bad[: MOST_ERRORS - len(report.errors)]


async def _move(conn: AsyncConnection, campaign: Campaign) -> int:
    """The one transaction that adds. It lasts as long as the rows need: some 10 s for a million."""
    async with conn.begin():
        await conn.execute(text("set local statement_timeout = 0"))
        await campaigns.take(conn, campaign.id)
        await prospects.check_open(conn, campaign)
        params = {"campaign_id": campaign.id, "account_id": campaign.account_id}
        added = (await conn.execute(_MOVE, params)).rowcount
        await prospects.count_added(conn, campaign.id, added)
    return added
