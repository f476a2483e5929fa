"""Writes `zip_codes.csv` from PyPI `zipcodes`. Run by hand after it changes, then review the diff:

    python -m engine.rules.data.build_zip_codes

Neighbouring ZIP codes of one state and zone become one row; a code between two of them that the package does not list
belongs to that row as well, for the Post Office numbers by district. Military codes keep their region and have no zone.
"""

import csv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import zipcodes

HERE = Path(__file__).parent
REVISED = "2026-11-24"

SPELLING = {"Napakiak": "America/Anchorage"}  # a town in the zone column of `zipcodes` 3.0.0
# More than the package says: both clocks are kept there, or its one is wrong. More zones mean a narrower window.
BOTH = {
    "73946": "America/Denver",  # Kenton OK keeps Mountain time
    "89883": "America/Denver",  # West Wendover NV likewise
}
NAVAJO = ("AZ", "America/Denver", "America/Phoenix")  # daylight time on the Nation only, and Page AZ is none of it
COUNTRIES = frozenset({"FM", "MH", "PW"})  # in free association: their own ISO countries
MILITARY = frozenset({"AA", "AE", "AP"})


def known() -> Iterator[tuple[str, str, str]]:
    """(ZIP, region as `US-NY`, zones), in order."""
    rows = {row["zip_code"]: (row["state"], row["timezone"]) for row in zipcodes.list_all()}  # type: ignore[no-untyped-call]
    for code, (state, zone) in sorted(rows.items()):
        zones = {SPELLING.get(zone, zone), BOTH.get(code, "")} - {""}
        if (state, zone) == NAVAJO[:2]:
            zones.add(NAVAJO[2])
        region = state if state in COUNTRIES else "" if state in MILITARY else f"US-{state}"
        yield code, region, " ".join(sorted(zones))


def runs() -> list[tuple[str, str, str, str]]:
    """(first ZIP, last ZIP, region, zones)."""
    found: list[tuple[str, str, str, str]] = []
    for code, region, zones in known():
        if found and found[-1][2:] == (region, zones):
            found[-1] = (found[-1][0], code, region, zones)
        else:
            found.append((code, code, region, zones))
    return found


def main() -> None:
    with (HERE / "zip_codes.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(f"# version {REVISED}: zipcodes {version('zipcodes')}, hand rows; made by build_zip_codes.py\n")
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["first", "last", "region", "zones"])
        out.writerows(runs())


if __name__ == "__main__":
    main()
