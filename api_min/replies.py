"""Answers as bytes: orjson straight to the socket, for the shapes are already what the reference documents."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from fastapi import Response

from engine import ids
from engine.clock import iso
from engine.errors import InvalidInput, NotFound

MOST_PER_PAGE = 1_000
DEFAULT_PER_PAGE = 100


def reply(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def parse_id(prefix: str, text: str, noun: str) -> int:
    """The number of a public id in a path. Raises NotFound for anything else: an unknown id is an unknown thing."""
    number = ids.decode(prefix, text)
    if number is None:
        raise NotFound(f"there is no such {noun}")
    return number


def moment(at: datetime | None) -> str | None:
    return iso(at) if at else None


class Page:
    """`?limit=&cursor=` of a list. Without either the list is whole, as the reference answers it.

    A cursor is the public id of the last row that the client has seen.
    """

    def __init__(self, prefix: str, limit: int | None, cursor: str | None) -> None:
        self.is_whole = limit is None and cursor is None
        self.size = DEFAULT_PER_PAGE if limit is None else limit
        self.after: int | None = None
        self._prefix = prefix
        if not 1 <= self.size <= MOST_PER_PAGE:
            fault = f"{self.size} is out of range; give 1 to {MOST_PER_PAGE}"
            raise InvalidInput(f"limit: {fault}", {"limit": fault})
        if cursor is not None:
            self.after = ids.decode(prefix, cursor)
            if self.after is None:
                fault = "is not a cursor of this list; give the nextCursor of the page before"
                raise InvalidInput(f"cursor: {fault}", {"cursor": fault})

    @property
    def fetch(self) -> int | None:
        """Rows to ask for: one more than shown, which tells whether there is a next page."""
        return None if self.is_whole else self.size + 1

    def reply(self, name: str, rows: Sequence[Any], shown: Sequence[Mapping[str, object]]) -> Response:
        """`{name: […], "nextCursor"}`; `rows` have an `id`."""
        if self.is_whole:
            return reply({name: shown})
        more = len(rows) > self.size
        cursor = ids.encode(self._prefix, rows[self.size - 1].id) if more else None
        return reply({name: shown[: self.size], "nextCursor": cursor})
