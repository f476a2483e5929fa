import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import Conflict, InvalidInput
from engine.store import counts, imports, prospects
from engine.store.campaigns import Campaign
from tests.conftest import LEGAL_HOUR

Act = Callable[..., Awaitable[Campaign]]

CRM = (
    b'name,Phone,note\n"Lovelace, Ada",(415) 555-0100,"said ""hi"""\nBob,415.555.0101,\nAda again,+14155550100,x\n'
    b"Nobody,12,\nTab\tand \\ slash,415-555-0102,\xc3\xa9\n"
)


async def _chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _count(db: AsyncEngine) -> int:
    async with db.connect() as conn:
        return int((await conn.execute(text("select count(*) from prospects"))).scalar_one())


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_file_as_a_crm_writes_it(db: AsyncEngine, campaign: Campaign, size: int) -> None:
    report = await imports.run_import(
        db, campaign, LEGAL_HOUR, _chunks(*(CRM[n : n + size] for n in range(0, len(CRM), size)))
    )
    assert (report.added, report.duplicates, report.invalid) == (3, 1, 1)
    assert [(row.line, row.text) for row in report.errors] == [(5, "12")]
    async with db.connect() as conn:
        found = await prospects.page(conn, campaign)
        stats = await counts.read(conn, campaign.id)
    assert [(each.phone, each.data) for each in found] == [
        ("+14155550100", {"name": "Lovelace, Ada", "note": 'said "hi"'}),
        ("+14155550101", {"name": "Bob", "note": ""}),
        ("+14155550102", {"name": "Tab\tand \\ slash", "note": "é"}),
    ]
    assert (stats["total"], stats["queued"]) == (3, 3)


async def test_a_second_import_adds_only_what_is_new(db: AsyncEngine, campaign: Campaign) -> None:
    await prospects.add(db, campaign, ["+14155550101"])
    first = await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(CRM))
    second = await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(CRM))
    assert (first.added, first.duplicates) == (2, 2)
    assert (second.added, second.duplicates, second.invalid) == (0, 4, 1)
    assert await _count(db) == 3


async def test_one_column_without_a_header_and_another_region(db: AsyncEngine, campaign: Campaign) -> None:
    report = await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(b"020 7946 0018\n"), "GB")
    assert report.added == 1
    async with db.connect() as conn:
        (found,) = await prospects.page(conn, campaign)
    assert (found.phone, found.data) == ("+442079460018", None)


async def test_an_empty_file(db: AsyncEngine, campaign: Campaign) -> None:
    report = await imports.run_import(db, campaign, LEGAL_HOUR, _chunks())
    assert (report.added, report.duplicates, report.invalid) == (0, 0, 0)


async def test_characters_that_jsonb_and_copy_dislike(db: AsyncEngine, campaign: Campaign) -> None:
    cells = rb"\u0000 and \n and \N and \\."
    nul = b"4155550101,a \x00\n"  # jsonb has no such character
    report = await imports.run_import(
        db, campaign, LEGAL_HOUR, _chunks(b"phone,note\n4155550100," + cells + b"\n" + nul)
    )
    assert (report.added, report.invalid) == (1, 1)
    async with db.connect() as conn:
        (found,) = await prospects.page(conn, campaign)
    assert found.data == {"note": cells.decode()}


async def test_thousands_of_faults_are_counted_and_the_first_kept(db: AsyncEngine, campaign: Campaign) -> None:
    report = await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(b"phone\n" + b"12\n" * 1500 + b"4155550100\n"))
    assert (report.added, report.invalid, len(report.errors)) == (1, 1500, imports.MOST_ERRORS)
    assert report.errors[-1].line == 1001


async def test_many_pieces_and_ids_in_file_order(db: AsyncEngine, campaign: Campaign) -> None:
    lines = [b"415555%04d,%s\n" % (n * 7919 % 10_000, b"x" * 200) for n in range(10_000)]
    report = await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(b"phone,pad\n", *lines))
    assert report.added == 10_000
    async with db.connect() as conn:
        found = [each.phone for each in await prospects.page(conn, campaign)]
    assert found == [f"+1{line[:10].decode()}" for line in lines]


async def test_a_file_that_is_no_list_adds_nothing_and_leaves_the_connection_usable(
    db: AsyncEngine, campaign: Campaign
) -> None:
    for _ in range(12):  # more than the pool has
        with pytest.raises(InvalidInput):
            await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(b"a,b\n1,2\n"))
    assert (await imports.run_import(db, campaign, LEGAL_HOUR, _chunks(CRM))).added == 3


async def test_a_client_that_breaks_off_adds_nothing(db: AsyncEngine, campaign: Campaign) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield CRM
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await imports.run_import(db, campaign, LEGAL_HOUR, broken())
    assert await _count(db) == 0


async def test_a_cancelled_import_adds_nothing(db: AsyncEngine, campaign: Campaign) -> None:
    half = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"4155550100\n" * 100_000
        half.set()
        await asyncio.Event().wait()

    importing = asyncio.create_task(imports.run_import(db, campaign, LEGAL_HOUR, endless()))
    await half.wait()
    importing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert await _count(db) == 0


async def test_no_transaction_is_open_while_the_client_is_slow(db: AsyncEngine, campaign: Campaign) -> None:
    idle: list[str] = []

    async def slow() -> AsyncIterator[bytes]:
        yield b"4155550100\n" * 100_000
        async with db.connect() as conn:
            rows = await conn.execute(
                text(
                    "select state from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                )
            )
            idle.extend(rows.scalars())
        yield b"4155550101\n"

    await imports.run_import(db, campaign, LEGAL_HOUR, slow())
    assert set(idle) == {"idle"}


async def test_a_dialing_campaign_refuses_before_the_body_is_read(
    db: AsyncEngine, campaign: Campaign, act: Act
) -> None:
    read: list[bool] = []

    async def unread() -> AsyncIterator[bytes]:
        read.append(True)
        yield b""

    await act("start")
    with pytest.raises(Conflict, match="dialing"):
        await imports.run_import(db, campaign, LEGAL_HOUR, unread())
    assert not read
