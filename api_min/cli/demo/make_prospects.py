"""Writes the demo's contact list and its opt-outs: `python -m api_min.cli.demo.make_prospects`.

5,000 rows with a fixed seed: every US area code in service that has a place, numbers only from the range kept for
fiction (555-0100 … 555-0179; our own senders take 0180 … 0199), each written in one of the ways that people write them.
Some people are in it twice, in another format, and some rows hold no number at all.
"""

import csv
import random
from collections.abc import Iterator

from api_min.cli.demo.prospects import OPTED_OUT, PROSPECTS
from engine.rules.area_codes import AreaCode, area_codes

ROWS, DUPLICATES, BAD, OPT_OUTS = 5_000, 100, 50, 450
SEED = 20_250_101
LINES = 80  # per area code

HEADER = ("Record ID", "First Name", "Last Name", "Company", "Phone", "State", "Email", "Last Contacted", "Notes")
_FORMATS = ("({}) 555-{}", "{}-555-{}", "{}.555.{}", "+1 {} 555 {}", "1-{}-555-{}", "+1{}555{}", "{} 555 {}", "{}555{}")
_BAD = (
    "555-{1}",
    "",
    "call the office",
    "({0}) 555-{1} x204",
    "{0}-055-{1}",
    "(999) 555-{1}",
    "{0}555{1}77",
    "1.{0}E+09",
)
_FIRST = "Ana Ben Chloé Dmitri Elif Fátima Grace Hiro Íñigo Jamal Kyle Li-Mei Maya Noor Óscar Priya Quinn Renée Zoë"
_LAST = "Adams Brandão Castillo Dvořák Evans Fischer García Hughes Ivanov Jones Kowalski Lê Müller Nguyễn O'Brien Peña"
_COMPANY = ("", "", "Acme, Inc.", "Bell & Sons", 'The "Corner" Shop', "Café Ronda", "Miller, Ortiz & Co.", "Nordlys AS")
_NOTES = (
    "",
    "",
    "asked for a call after lunch",
    "met at the fair, wants the brochure",
    'said "maybe in spring"',
    "two children, one dog;\nprefers mornings",
    "señor, not señora",
    "gate code is on the door",
    "price?, delivery?, colour?",
    "left a message\nand another one",
)


def main() -> None:
    dice = random.Random(SEED)
    people = _people(dice)
    rows = [_row(dice, area, line) for area, line in people]
    rows += [_row(dice, area, line) for area, line in dice.sample(people, DUPLICATES)]
    rows += [_bad_row(dice, n, *dice.choice(people)) for n in range(BAD)]
    dice.shuffle(rows)
    with PROSPECTS.open("w", encoding="utf-8-sig", newline="") as file:  # a BOM and CRLF: Excel's "CSV UTF-8"
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([f"{100_000 + n}", *row] for n, row in enumerate(rows))
    opted_out = dice.sample(people, OPT_OUTS)
    OPTED_OUT.write_text("".join(f"+1{area.code}555{line:04d}\n" for area, line in opted_out))


def _people(dice: random.Random) -> list[tuple[AreaCode, int]]:
    """(area code, last four digits): every area code as often as any other, give or take one."""
    codes = [area for area in area_codes().values() if area.country == "US" and area.zones]
    lines = {area.code: dice.sample(range(100, 100 + LINES), LINES) for area in codes}
    wanted = ROWS - DUPLICATES - BAD
    return [(area, lines[area.code][turn]) for turn, area in _turns(codes, wanted)]


def _turns(codes: list[AreaCode], wanted: int) -> Iterator[tuple[int, AreaCode]]:
    for number in range(wanted):
        turn, place = divmod(number, len(codes))
        yield turn, codes[place]


def _row(dice: random.Random, area: AreaCode, line: int) -> list[str]:
    return _cells(dice, area, dice.choice(_FORMATS).format(area.code, f"{line:04d}"))


def _bad_row(dice: random.Random, number: int, area: AreaCode, line: int) -> list[str]:
    return _cells(dice, area, _BAD[number % len(_BAD)].format(area.code, f"{line:04d}"))


def _cells(dice: random.Random, area: AreaCode, phone: str) -> list[str]:
    first, last = dice.choice(_FIRST.split()), dice.choice(_LAST.split())
    email = f"contact{dice.randrange(10**6):06d}@example.com"
    contacted = f"2025-{dice.randint(1, 12):02d}-{dice.randint(1, 28):02d}"
    return [first, last, dice.choice(_COMPANY), phone, area.region, email, contacted, dice.choice(_NOTES)]


if __name__ == "__main__":
    main()
