"""Which registries bind whom, how old a copy may be, and every form in which numbers come."""

from array import array
from collections.abc import Iterable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.registry import (
    BLOCK_LINES,
    MOST_LINES,
    Block,
    RegistryReader,
    binding,
    check_copy,
    code_of,
    name_of,
    unfit,
)
from engine.rules.whereabouts import whereabouts
from engine.rules.window import use_rows

TODAY = date(2026, 3, 11)


@pytest.mark.parametrize(
    ("name", "code", "shown"),
    [("national", "US", "national"), (" National ", "US", "national"), ("pa", "US-PA", "PA"), ("US-TX", "US-TX", "TX")],
)
def test_registries_by_name(name: str, code: str, shown: str) -> None:
    assert code_of(name) == code
    assert name_of(code) == shown


@pytest.mark.parametrize("name", ["", "Texas", "US", "CA-ON", "ZZ"])
def test_an_unknown_registry_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="neither national nor a state"):
        code_of(name)


@pytest.mark.parametrize(
    ("phone", "data", "loaded", "expected"),
    [
        ("+12125550123", None, (), ["US"]),
        ("+12155550123", None, (), ["US", "US-PA"]),  # Pennsylvania has a list of its own, loaded or not
        ("+12125550123", {"state": "TX"}, (), ["US", "US-TX"]),
        ("+12125550123", None, ("US", "US-NY"), ["US", "US-NY"]),  # loaded: somebody wants it asked
        ("+14165550123", None, ("US",), []),  # Canada has another
        ("+442079460018", None, ("US",), []),
        ("+17875550123", None, (), ["US"]),  # Puerto Rico
    ],
)
def test_whom_a_registry_binds(
    phone: str, data: dict[str, str] | None, loaded: tuple[str, ...], expected: list[str]
) -> None:
    assert sorted(binding(whereabouts(phone, data).regions, loaded)) == expected


def test_an_unreadable_state_is_bound_by_every_list() -> None:
    found = binding(whereabouts("+12125550123", {"state": "Atlantis"}).regions, ("US", "US-OH"))
    assert {"US", "US-IN", "US-LA", "US-OH", "US-PA", "US-TX"} <= set(found)


def test_an_operators_row_tells_of_a_states_list() -> None:
    regions = whereabouts("+12125550123").regions
    assert binding(regions, ("US",)) == ("US",)
    use_rows("region,mon_fri,sat,sun,flags\nUS-NY,08-21,08-21,08-21,state_dnc\n")
    try:
        assert binding(regions, ("US",)) == ("US", "US-NY")
    finally:
        use_rows("")


@pytest.mark.parametrize(
    ("as_of", "wrong"),
    [
        (date(2026, 3, 11), ""),
        (date(2026, 2, 8), ""),  # 31 days
        (date(2026, 2, 7), "stale"),
        (date(2026, 3, 12), ""),  # already tomorrow where it comes from
        (None, "missing"),
    ],
)
def test_a_copy_serves_for_31_days(as_of: date | None, wrong: str) -> None:
    copies = {"US": as_of} if as_of else {}
    assert unfit("US", copies, TODAY) == wrong
    if wrong:
        with pytest.raises(InvalidInput, match=r"carillon dnc load FILE --registry national"):
            check_copy(copies, "US", TODAY)
    else:
        check_copy(copies, "US", TODAY)


def read(*chunks: bytes) -> RegistryReader:
    reader = RegistryReader()
    for chunk in chunks:
        reader.feed(chunk)
    reader.close()
    return reader


def numbers_of(reader: RegistryReader) -> set[int]:
    return {block * BLOCK_LINES + line for block, each in reader.blocks.items() for line in lines_of(each)}


def lines_of(block: Block) -> list[int]:
    if isinstance(block, array):
        return block.tolist()
    return [line for line in range(BLOCK_LINES) if block[line >> 3] & 1 << (line & 7)]


@pytest.mark.parametrize(
    "text",
    [
        b"2125550123\n2125550124\n",
        b"2125550123\r\n2125550124",
        b"212,5550123\n212,5550124\n",
        b"12125550123\n+12125550124\n",
        b"(212) 555-0123\n212-555-0124\n\n",
        b"phone\n2125550123\n212.555.0124\n",
        b"\xef\xbb\xbf2125550123\n2125550124\n",
        b"2125550123\n2125550124\n2125550123\n",  # twice is once
    ],
)
def test_numbers_in_the_forms_of_registries(text: bytes) -> None:
    reader = read(text)
    assert numbers_of(reader) == {12125550123, 12125550124}
    assert reader.numbers == 2
    assert numbers_of(read(*(text[n : n + 1] for n in range(len(text))))) == {12125550123, 12125550124}


@pytest.mark.parametrize("line", [b"212555012", b"hello", b"+442079460018", b"0125550123,x"])
def test_a_line_without_a_number_refuses_the_file(line: bytes) -> None:
    """Of a registry every line counts: a number that was skipped would be called."""
    with pytest.raises(InvalidInput, match="line 2"):
        read(b"2125550123\n" + line + b"\n2125550124\n")


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize(
    ("lines", "form"),
    [
        ([7], array),
        ([9_999, 0, 7], array),
        (range(0, 10_000, 20), array),  # as many as a list may have
        (range(0, 10_000, 19), bytearray),
        (range(10_000), bytearray),
        ([*range(9_999, 9_999 - MOST_LINES, -1)] * 3, array),  # no more for being told three times
        ([*range(0, 10_000, 19), 1, 3, 1], bytearray),  # some that come when it is bits already
    ],
)
def test_few_lines_of_an_exchange_are_a_list_and_many_are_bits(lines: Iterable[int], form: type, is_cut: bool) -> None:
    given_lines = [f"212555{line:04}\n".encode() for line in lines]
    other = b"2125560000\n"  # an exchange in between, as in a file that is not sorted
    chunks = [*given_lines, other] if is_cut else [b"".join(given_lines), other, *given_lines[-3:]]
    reader = read(*chunks)
    block = reader.blocks[1_212_555]
    assert lines_of(block) == sorted(set(lines))
    assert isinstance(block, form)
    assert reader.numbers == len(set(lines)) + 1


@settings(deadline=None)
@given(st.sets(st.tuples(st.integers(200, 999), st.integers(2_000_000, 9_999_999)), min_size=1, max_size=50))
def test_nothing_is_lost_or_added(pairs: set[tuple[int, int]]) -> None:
    given_numbers = {int(f"1{area}{rest}") for area, rest in pairs}
    reader = read("".join(f"{number - 10**10}\n" for number in given_numbers).encode())
    assert numbers_of(reader) == given_numbers
    assert reader.numbers == len(given_numbers)
