"""Durations as the campaign API writes them: `4h`, `30m`, `45s`, `1d`."""

import re

from engine.errors import InvalidInput

LONGEST_S = 30 * 86_400

_FORM = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(value: object, field: str) -> int:
    """Whole seconds, from 1 second to 30 days. Raises InvalidInput that names `field`."""
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        fault = f"{value!r:.60} is not a duration; give a number and a unit, such as 4h, 30m, 45s or 1d"
        raise InvalidInput(f"{field}: {fault}", {field: fault})
    seconds = int(match[1]) * _SECONDS[match[2]]
    if not 1 <= seconds <= LONGEST_S:
        fault = f"{value} is out of range; give 1s to 30d"
        raise InvalidInput(f"{field}: {fault}", {field: fault})
    return seconds
