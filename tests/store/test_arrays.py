"""Array literals against PostgreSQL itself: what goes in comes out, whatever it is made of."""

from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.store import arrays

NOW = datetime(2026, 3, 11, 18, 0, 0, 123_456, tzinfo=UTC)


class Code(IntEnum):
    SEVEN = 7


async def back(conn: AsyncConnection, literal: str, kind: str) -> list[Any]:
    found = await conn.scalar(text(f"select cast(:literal as {kind}[])"), {"literal": literal})
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("literal", "kind", "expected"),
    [
        (arrays.numbers([]), "bigint", []),
        (arrays.numbers([1, None, -(1 << 62), Code.SEVEN]), "bigint", [1, None, -(1 << 62), 7]),
        (arrays.numbers([1.5, None, float("inf"), 1e-9]), "float8", [1.5, None, float("inf"), 1e-9]),
        (arrays.flags([]), "boolean", []),
        (arrays.flags([True, False]), "boolean", [True, False]),
        (arrays.texts([]), "text", []),
        (arrays.texts([None, "", "null", "NULL", " "]), "text", [None, "", "null", "NULL", " "]),
        (arrays.texts(["+12125550100", "a-1", "ünï"]), "text", ["+12125550100", "a-1", "ünï"]),
        (arrays.texts(["a,b", "{c}", "it's", "d e\n"]), "text", ["a,b", "{c}", "it's", "d e\n"]),
        (arrays.texts(['{"a": "b\\n"}', None, "plain"]), "text", ['{"a": "b\\n"}', None, "plain"]),
        (arrays.texts(["\\", '"', "a\0b"]), "text", ["\\", '"', "a\ufffdb"]),
        (arrays.times([NOW, None, NOW]), "timestamptz", [NOW, None, NOW]),
        (arrays.times([NOW.astimezone(timezone(timedelta(hours=-8)))]), "timestamptz", [NOW]),
    ],
)
async def test_what_goes_in_comes_out(db: AsyncEngine, literal: str, kind: str, expected: list[object]) -> None:
    async with db.connect() as conn:
        assert await back(conn, literal, kind) == expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.none() | st.text(st.characters(codec="utf-8")), max_size=8))
async def test_any_text(db: AsyncEngine, values: list[str | None]) -> None:
    async with db.connect() as conn:
        found = await back(conn, arrays.texts(values), "text")
    assert found == [value and value.replace("\0", "\ufffd") for value in values]
