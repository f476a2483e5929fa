"""Texts with a prospect's own data in them: `Hi {{first_name|there}}, your order is ready.`

A field names a column of the import; names are compared as `column` writes them, so that `First Name` of a file is
`first_name` of a text. What follows the bar is said when the value is missing. A field without it *needs* its value:
nobody is texted "Hi ,".
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from engine.errors import InvalidInput

LONGEST_VALUE = 320  # characters of one value: two parts of a text, and more than any name or address has

_FIELD = re.compile(r"\{\{([^{}|]*)(\|[^{}]*)?\}\}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ .-]{0,63}")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
# Control characters, and the invisible ones that turn a text around: neither belongs to a name or an address.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")


class Field(NamedTuple):
    name: str
    default: str | None  # None: the value is needed


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal pieces and fields, in order."""

    pieces: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Field))

    @property
    def needs(self) -> tuple[str, ...]:
        """The values without which nothing can be sent, each once, in order."""
        return tuple(dict.fromkeys(field.name for field in self.fields if field.default is None))

    def missing(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """What `needs` names and `values` (see `values_of`) lacks."""
        return tuple(name for name in self.needs if not values.get(name))

    def render(self, values: Mapping[str, str]) -> str:
        """The text for one person. A needed value that is missing leaves a gap: ask `missing` first."""
        return "".join(
            piece if isinstance(piece, str) else values.get(piece.name) or piece.default or "" for piece in self.pieces
        )

    def sample(self) -> str:
        """The text with its defaults, and a needed value as its name in capitals."""
        return self.render({field.name: field.default or field.name.upper() for field in self.fields})


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Raises InvalidInput (field `message`) that shows what cannot be read."""
    pieces: list[str | Field] = []
    end = 0
    for match in _FIELD.finditer(text):
        pieces += (_literal(text[end : match.start()]), _field(match))
        end = match.end()
    pieces.append(_literal(text[end:]))
    return Template(tuple(piece for piece in pieces if piece != ""))


@lru_cache(maxsize=65_536)
def column(name: str) -> str:
    """A column's or field's name as names are compared: `First Name ` is `first_name`."""
    return _SEPARATORS.sub("_", name.lower()).strip("_")


def values_of(data: Mapping[str, object] | None) -> dict[str, str]:
    """The values that texts may use, by `column`. Of two columns with one name the first that says anything counts."""
    values: dict[str, str] = {}
    for name, value in (data or {}).items():
        key = column(name)
        if not values.get(key) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            values[key] = clean(str(value))
    return values


def clean(value: str) -> str:
    """A value fit for a text: on one line, without characters that nobody sees, of a bearable length."""
    return " ".join(_INVISIBLE.sub(" ", value).split())[:LONGEST_VALUE].rstrip()


def hold_reason(missing: Iterable[str]) -> str:
    """Why a prospect is held: `missing_value: first_name`."""
    return f"{MISSING}: {', '.join(missing)}"


MISSING = "missing_value"


def _field(match: re.Match[str]) -> Field:
    name, default = match[1].strip(), match[2]
    if not _NAME.fullmatch(name):
        raise _unreadable(match[0], "name a column, as {{first_name}} or {{first_name|there}}")
    return Field(column(name), None if default is None else default[1:].strip())


def _literal(text: str) -> str:
    at = min((place for place in (text.find("{{"), text.find("}}")) if place >= 0), default=-1)
    if at >= 0:
        raise _unreadable(text[at : at + 30], "a field is written {{first_name}} or {{first_name|there}}")
    return text


def _unreadable(shown: str, remedy: str) -> InvalidInput:
    fault = f"cannot read '{shown}': {remedy}"
    return InvalidInput(f"message: {fault}", {"message": fault})
