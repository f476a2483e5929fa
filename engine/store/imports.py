"""Imports: a CSV of any size into a campaign, all of it or nothing.

Rows are staged in a temporary table by bounded COPY statements, each its own short transaction: however slowly a client
sends, nothing is held but a connection. One last transaction takes the campaign's intake, checks its state again and
moves the staged rows over, so an import that commits after the campaign was started or cancelled cannot be.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson
from psycopg import AsyncConnection as Psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import Forbidden
from engine.rules import consent_columns, template
from engine.rules.campaign_config import SmsMode, parse_mode
from engine.rules.csv_rows import BadRow, Batch, Row, RowReader
from engine.rules.prospect import ProspectState
from engine.rules.template import Template
from engine.store import campaigns, consents, prospects
from engine.store.campaigns import Campaign

HELD_FOR = timedelta(days=1)  # engine time; the intent then looks again, and holds again
MOST_ERRORS = 1_000  # kept for the report; the others are counted
_PIECE_BYTES = 512 * 1024  # of the file; parsed and staged together: some 10,000 rows, 50 ms

_STAGE = text(
    "create temporary table import_rows (phone text not null, data jsonb, reason text) on commit preserve rows"
)
_UNSTAGE = text("drop table import_rows")
_NO_CONSENTS = "the file's column consent would be recorded, which this key may not; import it without that column"
_COPY = "copy import_rows (phone, data, reason) from stdin"
# A temporary table is read in the order it was written, so that the first of two equal numbers wins and ids follow the
# file. The conflict target takes equal numbers within the file as well as those already there.
_MOVE = text("""
    insert into prospects (campaign_id, account_id, phone, data)
    select :campaign_id, :account_id, phone, data from import_rows
    on conflict (campaign_id, phone, one_off) do nothing
""")
_MOVE_AND_HOLD = text("""
    with added as (
        insert into prospects (campaign_id, account_id, phone, data, reason, next_attempt_at)
        select :campaign_id, :account_id, phone, data, reason,
               case when reason is null then '-infinity' else cast(:look_again_at as timestamptz) end
          from import_rows
        on conflict (campaign_id, phone, one_off) do nothing returning reason
    )
    select count(*) as added, count(reason) as held from added
""")
# People held for want of data who are in the file again, now with it. It comes last, for until the commit an opt-out
# of one of them waits; who opted out before has another state by then.
_RELEASE = text(f"""
    update prospects p set data = r.data, reason = null, next_attempt_at = '-infinity'
      from import_rows r
     where p.campaign_id = :campaign_id and p.phone = r.phone and p.one_off = 0 and r.reason is null
       and p.state = {ProspectState.QUEUED:d} and p.reason like '{template.MISSING}:%'
""")


@dataclass(slots=True)
class ImportReport:
    """What became of the lines. Empty lines and the header count nowhere."""

    added: int = 0
    held: int = 0  # of those added: the campaign's text needs data that they lack
    released: int = 0  # held before, and in this file with their data
    duplicates: int = 0  # repeated in the file, or in the campaign before
    invalid: int = 0
    errors: list[BadRow] = field(default_factory=list)  # the first `MOST_ERRORS` invalid lines
    lacking: list[BadRow] = field(default_factory=list)  # and so many lines that lack data
    consents: int = 0  # recorded from the file's columns


async def run_import(
    engine: AsyncEngine,
    campaign: Campaign,
    now: datetime,
    chunks: AsyncIterator[bytes],
    region: str = "US",
    *,
    may_consent: bool = True,
) -> ImportReport:
    """Reads the file to its end and adds its numbers; `region` (ISO 3166) reads numbers without a country code.

    People who lack a value that the campaign's text needs are added, but held with that reason; a later file that has
    the value releases them. `may_consent` false: a file in which somebody consents is refused.

    Raises Conflict when the campaign takes no prospects, before the body is read and again at the end; InvalidInput for
    a file that is no contact list; Forbidden as above; Unavailable as `campaigns.locked`. Nothing is then added. Each
    import holds one connection of `engine` until the file ends: give it an engine of its own, or bound the number of
    imports.
    """
    async with engine.connect() as conn:
        await prospects.check_open(conn, campaign)
        await conn.commit()
        try:
            await conn.execute(_STAGE)
            await conn.execute(consents.STAGE)
            await conn.commit()
            report, staged = await _stage(conn, chunks, RowReader(region), _text_of(campaign), now, may_consent)
            if staged:
                await _move(conn, campaign, now, report)
            report.duplicates = staged - report.added - report.released
            await conn.execute(_UNSTAGE)
            await conn.execute(consents.UNSTAGE)
            await conn.commit()
        except BaseException:
            await conn.invalidate()  # in the middle of a COPY, or with a staging table, it goes to nobody else
            raise
    return report


def _text_of(campaign: Campaign) -> Template:
    """What its people's data must fill; empty for calls."""
    mode = parse_mode(campaign.channel, campaign.mode)
    return mode.template if isinstance(mode, SmsMode) else Template(())


async def _stage(
    conn: AsyncConnection,
    chunks: AsyncIterator[bytes],
    reader: RowReader,
    said: Template,
    now: datetime,
    may_consent: bool,
) -> tuple[ImportReport, int]:
    """Parses and stages the file; the report so far, and how many rows are staged."""
    driver = (await conn.get_raw_connection()).driver_connection
    assert isinstance(driver, Psycopg)
    report, staged = ImportReport(), 0
    async for piece in _pieces(chunks):
        # A thread, so that the api goes on serving while a million rows are parsed.
        batch, block, lacking, allowed = await asyncio.to_thread(_parse, reader, piece, said, now)
        _note(report, batch, lacking)
        staged += len(batch.rows)
        async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            await copy.write(block)
        if allowed:
            if not may_consent:
                raise Forbidden(_NO_CONSENTS)
            async with driver.cursor() as cursor, cursor.copy(consents.COPY) as copy:
                await copy.write(allowed)
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


def _parse(
    reader: RowReader, piece: bytes | None, said: Template, now: datetime
) -> tuple[Batch, str, list[BadRow], str]:
    """The rows, their lines for COPY, the lines of those who lack data that `said` needs, and the consents as lines."""
    batch = reader.close() if piece is None else reader.feed(piece)
    allowed = _take_consents(batch, now) if consent_columns.has_consent(reader.columns) else ""
    if not said.needs:
        return batch, "".join([_copy_line(row, "\\N") for row in batch.rows]), [], allowed
    lines: list[str] = []
    lacking: list[BadRow] = []
    for row in batch.rows:
        number, phone, data = row
        missing = said.missing(template.values_of(data))
        reason = template.hold_reason(missing) if missing else "\\N"
        if missing:
            lacking.append(BadRow(number, reason, phone))
        lines.append(_copy_line(row, reason))
    return batch, "".join(lines), lacking, allowed


def _take_consents(batch: Batch, now: datetime) -> str:
    """Lines of COPY for what the rows say of consent. A row whose consent cannot be read adds nobody."""
    lines: list[str] = []
    readable: list[Row] = []
    for row in batch.rows:
        number, phone, data = row
        found = consent_columns.read(data or {}, now)
        if isinstance(found, str):
            batch.bad.append(BadRow(number, found, phone))
            continue
        readable.append(row)
        if found is not None:
            at = found.at.isoformat() if found.at else "\\N"
            lines.append(f"{phone}\t{found.consent:d}\t{at}\t{_escaped(found.source)}\t{_escaped(found.proof)}\n")
    batch.rows[:] = readable
    return "".join(lines)


def _escaped(text: str) -> str:
    """As COPY's text format wants it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _copy_line(row: Row, reason: str) -> str:
    """One line of COPY's text format: JSON has neither tabs nor line ends, and backslashes are doubled."""
    _, phone, data = row
    if data is None:
        return f"{phone}\t\\N\t{reason}\n"
    json = orjson.dumps(data).decode()
    if "\\" in json:
        json = json.replace("\\", "\\\\")
    return f"{phone}\t{json}\t{reason}\n"


def _note(report: ImportReport, batch: Batch, lacking: list[BadRow]) -> None:
    report.invalid += len(batch.bad)
    report.errors += batch.bad[: MOST_ERRORS - len(report.errors)]
    report.lacking += lacking[: MOST_ERRORS - len(report.lacking)]


async def _move(conn: AsyncConnection, campaign: Campaign, now: datetime, report: ImportReport) -> None:
    """The one transaction that adds and releases. It lasts as long as the rows need: some 10 s for a million."""
    async with conn.begin():
        await conn.execute(text("set local statement_timeout = 0"))
        await campaigns.take_intake(conn, campaign.id)
        await prospects.check_open(conn, campaign)
        params: dict[str, object] = {"campaign_id": campaign.id, "account_id": campaign.account_id}
        report.consents = await consents.move_staged(conn, campaign.account_id, now)
        if _text_of(campaign).needs:
            moved = (await conn.execute(_MOVE_AND_HOLD, params | {"look_again_at": now + HELD_FOR})).one()
            report.added, report.held = moved.added, moved.held
            report.released = (await conn.execute(_RELEASE, params)).rowcount
        else:
            report.added = (await conn.execute(_MOVE, params)).rowcount
        await prospects.count_added(conn, campaign.id, report.added)
