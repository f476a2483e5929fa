"""Overlays: area codes that serve the same place, so that a number of one is as local as a number of another.

From the same list of NANPA as the area codes themselves (`data/nanpa.csv`, where a slash joins an overlay complex). A
code may belong to two: 470 serves the places of 404 and of 770.
"""

import csv
from functools import cache
from importlib.resources import files


def overlays_of(code: str) -> tuple[str, ...]:
    """The complexes of an area code, each as its codes joined by slashes; none for a code that stands alone."""
    return _complexes().get(code, ())


@cache
def _complexes() -> dict[str, tuple[str, ...]]:
    lines = files("engine.rules.data").joinpath("nanpa.csv").read_text("utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    found: dict[str, list[str]] = {}
    for row in rows:
        for complex_ in row["codes"].split():
            codes = complex_.split("/")
            for code in codes if len(codes) > 1 else ():
                found.setdefault(code, []).append(complex_)
    return {code: tuple(complexes) for code, complexes in found.items()}
