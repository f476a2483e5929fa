"""Writes `area_codes.csv` from its sources. Run by hand after one of them changes, then review the diff:

    python -m engine.rules.data.build_area_codes

Zones of a code = the union, over its whole overlay complex, of
  * NANPA's time zone letters (`nanpa.csv`),
  * the zone of every ZIP code that PyPI `zipcodes` lists under it (US only: its Canadian rows are spill),
  * the zones that PyPI `phonenumbers` gives its prefixes (not for 689, see WRONG_PREFIXES),
  * hand rows (`HAND`).
More zones mean a narrower window, so a doubtful zone stays in; only what is provably wrong is left out.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import zipcodes
from phonenumbers.tzdata import TIMEZONE_DATA

HERE = Path(__file__).parent
REVISED = "2026-11-20"
NANPA_DATE = "2025-11-26"

LETTERS = {
    "US": {
        "E": "America/New_York",
        "C": "America/Chicago",
        "M": "America/Denver",
        "P": "America/Los_Angeles",
        "A": "America/Puerto_Rico",
        "AK": "America/Anchorage",
        "UTC-10": "Pacific/Honolulu",
        "UTC-11": "Pacific/Pago_Pago",
        "UTC+10": "Pacific/Guam",
    },
    "CA": {
        "E": "America/Toronto",
        "C": "America/Winnipeg",
        "M": "America/Edmonton",
        "P": "America/Vancouver",
        "A": "America/Halifax",
        "N": "America/St_Johns",
    },
}
# A letter that stands for another zone in this region: Arizona and Saskatchewan keep standard time all year.
REGION_LETTERS = {("AZ", "M"): "America/Phoenix", ("SK", "C"): "America/Regina", ("MP", "UTC+10"): "Pacific/Saipan"}
HAND = {
    "928": "America/Denver",  # Navajo Nation keeps daylight time inside Arizona
    "907": "America/Adak",  # Aleutians west of 169°30′
    "250": "America/Creston America/Dawson_Creek America/Fort_Nelson America/Edmonton",
    "306": "America/Edmonton",  # Lloydminster
    "418": "America/Halifax America/Blanc-Sablon",  # Magdalen Islands, Lower North Shore
    "506": "America/Moncton",
    "709": "America/Goose_Bay",  # Labrador
    "807": "America/Atikokan",
    "867": "America/Whitehorse America/Iqaluit America/Rankin_Inlet America/Resolute America/Cambridge_Bay "
    "America/Inuvik",
}
WRONG_PREFIXES = {
    "1689",  # Orlando, given as Chicago: NANPA and every ZIP say Eastern
    "1907",  # Adak given as Honolulu, which keeps no daylight time; the hand row has America/Adak
}
WRONG_ZIPS = {"73946"}  # Kenton OK carries Denver's area codes with the zone of Oklahoma; it keeps Mountain time
ZIP_SPELLING = {"Napakiak": "America/Anchorage"}  # a town in the zone column of `zipcodes` 3.0.0
CANADIAN_SPELLING = {"America/Puerto_Rico": "America/Blanc-Sablon"}  # the same rules; Canada has hours of its own


def nanpa_rows() -> Iterator[dict[str, str]]:
    with (HERE / "nanpa.csv").open(encoding="utf-8") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))


def zip_zones() -> dict[str, set[str]]:
    zones: dict[str, set[str]] = defaultdict(set)
    for row in zipcodes.list_all():  # type: ignore[no-untyped-call]
        if row["timezone"] and row["zip_code"] not in WRONG_ZIPS:
            for code in row["area_codes"]:
                zones[code].add(ZIP_SPELLING.get(row["timezone"], row["timezone"]))
    return zones


def prefix_zones() -> dict[str, set[str]]:
    zones: dict[str, set[str]] = defaultdict(set)
    for prefix, names in TIMEZONE_DATA.items():
        if prefix[0] == "1" and len(prefix) >= 4 and prefix[:4] not in WRONG_PREFIXES:
            zones[prefix[1:4]].update(names)
    return zones


def letter_zones(country: str, region: str, letters: str) -> set[str]:
    """Zones of NANPA's letters: `EC` is two of them, `AK` and `UTC-10` are one."""
    names = [letters] if letters in LETTERS[country] else list(letters)
    return {REGION_LETTERS.get((region, name), LETTERS[country][name]) for name in names}


def build() -> dict[str, tuple[str, str, str, set[str]]]:
    """`{"415": ("US", "CA", "geographic", {"America/Los_Angeles"}), …}`; only the US and Canada get zones."""
    by_zip, by_prefix = zip_zones(), prefix_zones()
    built: dict[str, tuple[str, str, str, set[str]]] = {}
    for row in nanpa_rows():
        country, region = row["country"], row["region"]
        for overlay in row["codes"].split():
            zones: set[str] = set()
            if country in LETTERS and region:
                zones |= letter_zones(country, region, row["letters"])
                for code in overlay.split("/"):
                    zones |= by_zip[code] if country == "US" else set()
                    zones |= by_prefix[code] | set(HAND.get(code, "").split())
            if country == "CA":
                zones = {CANADIAN_SPELLING.get(zone, zone) for zone in zones}
            for code in overlay.split("/"):
                known = built.setdefault(code, (country, region, row["kind"], set()))
                known[3].update(zones)
    return built


def main() -> None:
    versions = ", ".join(f"{name} {version(name)}" for name in ("zipcodes", "phonenumbers"))
    sources = f"NANPA report of {NANPA_DATE}, {versions}, hand rows"
    with (HERE / "area_codes.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(f"# version {REVISED}: {sources}; made by build_area_codes.py\n")
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["code", "country", "region", "kind", "zones"])
        for code, (country, region, kind, zones) in sorted(build().items()):
            out.writerow([code, country, region, kind, " ".join(sorted(zones))])


if __name__ == "__main__":
    main()
