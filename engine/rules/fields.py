"""Reading a client's JSON object field by field, collecting every fault, so that one answer names them all.

Each reader returns a usable default when it finds a fault; only `Problems.raise_if_any` ends the matter. Faults name
the value and the remedy.
"""

import json
from collections.abc import Mapping
from typing import Final

from engine.errors import InvalidInput

ABSENT: Final = object()


class Problems:
    """Faults by field path: `{"schedule.startHour": "24 is not an hour; give a whole number from 0 to 23"}`."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def add(self, path: str, message: str) -> None:
        self.fields.setdefault(path, message)

    def raise_if_any(self, what: str) -> None:
        """Raises InvalidInput with all fields; the message repeats the first, for clients that show only that."""
        if self.fields:
            path, message = next(iter(self.fields.items()))
            more = f" (and {len(self.fields) - 1} more)" if len(self.fields) > 1 else ""
            raise InvalidInput(f"invalid {what}: {path}: {message}{more}", self.fields)


class Fields:
    """A JSON object at `path`. A value that is no object counts as one fault and reads as empty; null as absent."""

    def __init__(self, value: object, path: str, problems: Problems, known: frozenset[str]) -> None:
        self._path, self._problems = path, problems
        self._values: Mapping[str, object] = value if isinstance(value, Mapping) else {}
        if value is not None and not isinstance(value, Mapping):
            problems.add(path or "body", f"{shown(value)} is not an object; give {{…}}")
        for key in self._values:
            if key not in known:
                self.fault(_cut(str(key)), f"unknown field; the fields are {', '.join(sorted(known))}")

    def fault(self, key: str, message: str) -> None:
        self._problems.add(self.path(key), message)

    def path(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def get(self, key: str) -> object:
        """The value, or ABSENT when it is missing or null."""
        value = self._values.get(key)
        return ABSENT if value is None else value

    def boolean(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is ABSENT or isinstance(value, bool):
            return default if value is ABSENT else value is True
        self.fault(key, f"{shown(value)} is not a boolean; give true or false")
        return default

    def whole(self, key: str, low: int, high: int, what: str = "number") -> int | None:
        """A whole number from `low` to `high`; None when absent or at fault. Booleans are not numbers."""
        value = self.get(key)
        if value is ABSENT:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.fault(key, f"{shown(value)} is not a valid {what}; give a whole number from {low} to {high}")
        return None

    def text(self, key: str, low: int, high: int) -> str | None:
        """A string of `low` to `high` characters that is not blank; None when absent or at fault."""
        value = self.get(key)
        if value is ABSENT:
            return None
        if not isinstance(value, str):
            self.fault(key, f"{shown(value)} is not a string; give text in quotes")
        elif "\0" in value:
            self.fault(key, "contains a NUL character; remove it")
        elif not low <= len(value) <= high or not value.strip():
            self.fault(key, f"has {len(value)} characters; give {low} to {high}, not only blanks")
        else:
            return value
        return None

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of `choices`; the first when absent or at fault."""
        value = self.get(key)
        if isinstance(value, str) and value in choices:
            return value
        if value is not ABSENT:
            self.fault(key, f"{shown(value)} is not one of {', '.join(choices)}")
        return choices[0]

    def items(self, key: str, most: int) -> list[object]:
        """A list of at most `most` values; empty when absent or at fault."""
        value = self.get(key)
        if value is ABSENT:
            return []
        if not isinstance(value, list):
            self.fault(key, f"{shown(value)} is not a list; give […]")
        elif len(value) > most:
            self.fault(key, f"has {len(value)} values; give at most {most}")
        else:
            return value
        return []


def shown(value: object) -> str:
    """A value as the client wrote it, cut to 60 characters."""
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
