import tracemalloc
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.csv_rows import LONGEST, BadRow, Row, RowReader, read_rows

A, B = "+14155550100", "+14155550101"


def read(data: bytes, size: int = 1 << 20, region: str = "US") -> tuple[list[Row], list[BadRow]]:
    rows: list[Row] = []
    bad: list[BadRow] = []
    for batch in read_rows((data[at : at + size] for at in range(0, len(data), size)), region):
        rows += batch.rows
        bad += batch.bad
    return rows, bad


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize(
    ("data", "rows", "bad_lines"),
    [
        # A quote that never closes costs its own line, at the end of the file and before it.
        (b'phone,name\n4155550100,"Ann\n4155550101,Bob\n', [(3, B, {"name": "Bob"})], [2]),
        (b'phone,name\n4155550100,Ann\n4155550101,"Bob', [(2, A, {"name": "Ann"})], [3]),
        # Quoted fields hold commas, quotes and newlines; the row's number is that of its first line.
        (b'phone,name\n4155550100,"An""n\nLee, Jr"\n4155550101,Bob\n',
         [(2, A, {"name": 'An"n\nLee, Jr'}), (4, B, {"name": "Bob"})], []),
        # A quote inside an unquoted field is a character.
        (b'phone,size\n4155550100,5" pipe\n4155550101,x\n', [(2, A, {"size": '5" pipe'}), (3, B, {"size": "x"})], []),
        # What is not UTF-8 costs its own line, also inside a quoted field.
        (b"phone,name\n4155550100,Ren\xe9\n4155550101,Bob\n", [(3, B, {"name": "Bob"})], [2]),
        (b'phone,name\n4155550100,"a\nRen\xe9"\n4155550101,Bob\n', [(4, B, {"name": "Bob"})], [2, 3]),
        (b"phone,name\n4155550100,a\0b\n4155550101,Bob\n", [(3, B, {"name": "Bob"})], [2]),
        # Line ends: Windows, old Macintosh, none at the end, blank lines, a stray carriage return.
        (b"phone\r\n4155550100\r\n\r\n4155550101", [(2, A, None), (4, B, None)], []),
        (b"phone\r4155550100\r4155550101\r", [(2, A, None), (3, B, None)], []),
        (b"phone,n\n4155550100,a\rb\n4155550101,c\n", [(3, B, {"n": "c"})], [2]),
        # The byte order mark, the header's case and place, other columns, other separators.
        (b"\xef\xbb\xbfPhone\n4155550100\n", [(2, A, None)], []),
        (b"First, PHONE ,Last\nAnn,(415) 555-0100,Lee\n", [(2, A, {"First": "Ann", "Last": "Lee"})], []),
        (b"name;phone\nM\xc3\xbcller;415-555-0100\n", [(2, A, {"name": "Müller"})], []),
        (b"name\tphone\nAnn\t415-555-0100\n", [(2, A, {"name": "Ann"})], []),
        (b"phone,\n4155550100,x\n", [(2, A, {"column_2": "x"})], []),
        # One column needs no header, or one of any name.
        (b"4155550100\n4155550101\n", [(1, A, None), (2, B, None)], []),
        (b"Telefon\n4155550100\n", [(2, A, None)], []),
        (b"\n\nphone\n4155550100\n", [(4, A, None)], []),
        # Rows that do not fit the header.
        (b"a,phone\nx\n1,4155550100,z\n,\ny,4155550101\n", [(5, B, {"a": "y"})], [2, 3]),
        (b"phone,a,b\n4155550100,x\n", [(2, A, {"a": "x"})], []),
        # Numbers that are none.
        (b"phone\n555-0100\n4155550100\nn/a\n", [(3, A, None)], [2, 4]),
        (b"phone,name\n,Ann\n4155550100,Bob\n", [(3, A, {"name": "Bob"})], [2]),
        # Nothing at all.
        (b"", [], []),
        (b"\xef\xbb\xbf", [], []),
        (b"phone", [], []),
        (b"phone,name\n", [], []),
    ],
)  # fmt: skip
def test_rows(data: bytes, rows: list[Row], bad_lines: list[int], size: int) -> None:
    good, bad = read(data, size)
    assert good == rows
    assert [row.line for row in bad] == bad_lines
    assert all(row.reason for row in bad)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"first,last\nAnn,Lee\n", "no column named 'phone'"),
        (b"4155550100,Ann\n4155550101,Bob\n", "no column named 'phone'"),
        (b"phone,Phone\n1,2\n", "more than one"),
        ("phone\n4155550100\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_files_that_cannot_be_read(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        read(data)
    assert "file" in caught.value.fields


def test_the_region_decides_about_numbers_without_a_country_code() -> None:
    assert read(b"phone\n020 7946 0018\n", region="GB")[0] == [(2, "+442079460018", None)]


def test_an_endless_line_is_skipped_without_being_held() -> None:
    reader = RowReader()
    assert reader.feed(b"phone,note\n4155550100,a\n4155550101,").rows
    block = b"x" * (1 << 20)
    tracemalloc.start()
    for chunk in repeat(block, 100):
        assert reader.feed(chunk).rows == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    end = reader.feed(b"\n4155550101,b\n")
    assert end.rows == [(4, B, {"note": "b"})]
    assert [(row.line, row.text[:10]) for row in end.bad] == [(3, "4155550101")]
    assert peak < 8 << 20


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_long_lines_whole_or_in_pieces(size: int) -> None:
    long = b"4155550100," + b"x" * LONGEST
    rows, bad = read(b"phone,note\n" + long + b"\n4155550101,b\n" + long, size)
    assert rows == [(3, B, {"note": "b"})]
    assert [row.line for row in bad] == [2, 4]
    assert all("64 KiB" in row.reason for row in bad)


def test_a_runaway_quote_gives_back_what_it_swallowed() -> None:
    lines = [b"phone,name", b'4155550100,"open'] + [b"4155550101,x"] * 20_000
    rows, bad = read(b"\n".join(lines), 5_000)
    assert len(rows) == 20_000
    assert rows[0][0] == 3
    assert [(row.line, "64 KiB" in row.reason) for row in bad] == [(2, True)]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@settings(max_examples=150)
@given(st.lists(st.tuples(cells, cells), max_size=20), st.integers(1, 40))
def test_what_a_spreadsheet_writes_is_read_back(people: list[tuple[str, str]], size: int) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [f"{quoted(first)},4155550100,{quoted(last)}\r\n" for first, last in people]
    rows, bad = read(("first,phone,last\r\n" + "".join(lines)).encode(), size)
    assert bad == []
    assert [data for _, _, data in rows] == [{"first": first, "last": last} for first, last in people]


@settings(max_examples=150)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_read_the_same_in_any_pieces(noise: bytes, size: int) -> None:
    data = b"phone,name\n" + noise
    assert read(data, size) == read(data)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("size", range(1, 16))
def test_a_lone_cr_in_the_first_line_reads_the_same_wherever_the_file_is_cut(end: str, size: int) -> None:
    data = f'phone,"a\rb"{end}{A},x{end}{B},y{end}'.encode()
    assert read(data, size) == read(data)
    assert [phone for _, phone, _ in read(data, size)[0]] == [A, B]
