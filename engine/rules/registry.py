"""Do-not-call registries: whose lists bind which numbers, how old a copy may be, and how a file of numbers is read.

The national registry binds every number of the United States. A state's list binds numbers that may be of that state:
where the state is known to keep one (flag `state_dnc` of its rows), and wherever a copy of one has been loaded. A copy
serves for 31 days from its date (47 CFR 64.1200(c)(2)(i)(D)); without a fresh one nobody can say who is listed.

A file has a number per line, in any of the forms in which registries hand them out: `2125550123`, `212,5550123`,
`(212) 555-0123`. Numbers are kept by exchange, ten thousand lines to a block: as a list of the lines where few of them
are listed, two bytes each, and as a bit for every line where many are.
"""

import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import TypeAlias

from engine.errors import InvalidInput
from engine.rules.phone import normalise
from engine.rules.regions import region_codes
from engine.rules.states import rules

NATIONAL = "US"
NATIONAL_NAME = "national"
MOST_AGE = timedelta(days=31)
BLOCK_LINES = 10_000
BLOCK_BYTES = BLOCK_LINES // 8
MOST_LINES = 500  # in a list, which is searched from its beginning, 2 ns each; one of 625 is as long as the bits

Block: TypeAlias = "array[int] | bytearray"
"""The lines, ascending and each once; or a bit for every line, the lowest of a byte first."""

OWN_LIST = "state_dnc"
_PLAIN = re.compile(rb"1?[2-9]\d{2}[2-9]\d{6}")
_MOST_SHOWN = 20
_MASKS = tuple(1 << bit for bit in range(8))


def code_of(name: str) -> str:
    """`national`, or a state as `PA` or `US-PA`, to how it is stored: `US`, `US-PA`. Raises InvalidInput."""
    text = name.strip()
    if text.lower() == NATIONAL_NAME:
        return NATIONAL
    code = text.upper() if text.upper().startswith("US-") else f"US-{text.upper()}"
    if code in region_codes():
        return code
    fault = f"'{name[:40]}' is neither national nor a state such as PA"
    raise InvalidInput(f"registry: {fault}", {"registry": fault})


def name_of(code: str) -> str:
    """How people write it."""
    return NATIONAL_NAME if code == NATIONAL else code.removeprefix("US-")


def binding(regions: Collection[str], loaded: Collection[str]) -> tuple[str, ...]:
    """The registries whose lists bind a person who may be in any of these regions; `loaded` have a copy."""
    return _binding(tuple(regions), frozenset(loaded), rules().version)


@lru_cache(maxsize=4096)
def _binding(
    regions: tuple[str, ...],
    loaded: frozenset[str],
    version: str,  # noqa: ARG001 - of the rows, part of what the cache goes by
) -> tuple[str, ...]:
    found = [NATIONAL] if any(region.startswith(NATIONAL) for region in regions) else []
    if "US-?" in regions:
        return (*found, *sorted({*with_own_list(), *(code for code in loaded if code != NATIONAL)}))
    return (*found, *(region for region in regions if region in loaded or _has_own_list(region)))


def unfit(registry: str, copies: Mapping[str, date], today: date) -> str:
    """`missing`, `stale`, or empty when its copy may be used. `copies`: the date of each."""
    as_of = copies.get(registry)
    if as_of is None:
        return "missing"
    return "stale" if today - as_of > MOST_AGE else ""


def fault_of(copies: Mapping[str, date], registry: str, today: date) -> str:
    """What is wrong with the registry's copy and how to mend it; empty when it may be used."""
    if not (wrong := unfit(registry, copies, today)):
        return ""
    name = name_of(registry)
    found = "was never loaded" if wrong == "missing" else f"is of {copies[registry]}, older than {MOST_AGE.days} days"
    load = f"carillon dnc load FILE --registry {name} --as-of DATE"
    return f"the copy of the {name} do-not-call registry {found}; load one: {load}"


def check_copy(copies: Mapping[str, date], registry: str, today: date) -> None:
    """Raises InvalidInput that says how to mend it, unless the registry's copy may be used."""
    if fault := fault_of(copies, registry, today):
        raise InvalidInput(fault, {"registry": fault})


class RegistryReader:
    """Push a file's chunks through `feed`, then call `close`; `blocks` then has the numbers, each once.

    Raises InvalidInput naming the first lines that hold no number: of a registry every line counts, so none is skipped.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.numbers = 0  # in them
        self._few: dict[int, array[int]] = {}  # lines as they came; of an exchange with many, those that came last
        self._many: dict[int, bytearray] = {}
        self._open = 0  # the block that was added to last
        self._rest = b""
        self._lines = 0

    def feed(self, chunk: bytes) -> None:
        data = self._rest + chunk
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        self._read(data[:cut])

    def close(self) -> None:
        self._read(self._rest)
        self._rest = b""
        for block in self._few:
            self._settle(block)
        self.blocks = {**{block: lines for block, lines in self._few.items() if lines}, **self._many}
        self.numbers = sum(map(len, self._few.values()))
        self.numbers += sum(int.from_bytes(bits).bit_count() for bits in self._many.values())

    def _read(self, data: bytes) -> None:
        words = data.replace(b",", b"").split()
        lines = data.count(b"\n")
        # The usual file is read without looking at its lines: as many plain numbers as lines.
        if len(words) == lines and all(map(_PLAIN.fullmatch, words)):
            self._add(map(int, words))
        else:
            self._add(self._each(data))
        self._lines += lines

    def _each(self, data: bytes) -> Iterator[int]:
        faults: dict[str, str] = {}
        for index, line in enumerate(data.decode("utf-8", "replace").lstrip("\ufeff").splitlines()):
            text = line.strip()
            if not text or (self._lines + index == 0 and not any(char.isdigit() for char in text)):
                continue  # a blank line, or a header
            phone = normalise(text.replace(",", ""), "US")
            if isinstance(phone, str) and phone.startswith("+1"):
                yield int(phone[1:])
            elif len(faults) < _MOST_SHOWN:
                faults[f"line {self._lines + index + 1}"] = f"'{text[:40]}' is no number of North America"
        if faults:
            raise InvalidInput("the file: " + "; ".join(f"{at}: {why}" for at, why in faults.items()), faults)

    def _add(self, numbers: Iterable[int]) -> None:
        first = end = 0
        for number in sorted(numbers):  # so that each exchange is looked up once
            if number >= end:
                exchange = number // BLOCK_LINES
                first, end = exchange * BLOCK_LINES, (exchange + 1) * BLOCK_LINES
                append = self._turn_to(exchange if exchange > 999_999 else exchange + 1_000_000).append
            append(number - first)

    def _turn_to(self, block: int) -> "array[int]":
        """The lines to append to. Those of the block before become bits as soon as they are many."""
        if len(self._few.get(self._open, ())) > MOST_LINES:
            self._settle(self._open)
        self._open = block
        if (lines := self._few.get(block)) is None:
            lines = self._few[block] = array("H")
        return lines

    def _settle(self, block: int) -> None:
        """Whether as a list or as bits: each line once."""
        lines = sorted(set(self._few[block]))
        if len(lines) > MOST_LINES or block in self._many:
            bits = self._many.setdefault(block, bytearray(BLOCK_BYTES))
            for line in lines:
                bits[line >> 3] |= _MASKS[line & 7]
            lines = []
        self._few[block] = array("H", lines)


def _has_own_list(region: str) -> bool:
    return any(OWN_LIST in row.flags for row in rules().rows.get(region, ()))


def with_own_list() -> list[str]:
    """The states that are known to keep a list of their own."""
    return [region for region in rules().rows if _has_own_list(region)]
