"""Settling outlives a database that cannot be asked for a moment."""

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.dispatch import settling
from engine.dispatch.settle import SettleResult


@pytest.mark.parametrize("fault", [PoolTimeout("no connection is free"), OperationalError("", None, Exception("away"))])
async def test_a_settle_that_could_not_be_written_is_tried_again(fault: Exception) -> None:
    tries: list[int] = []

    async def attempt() -> SettleResult:
        tries.append(len(tries))
        if len(tries) < 2:
            raise fault
        return SettleResult()

    assert await settling._persist(attempt) == SettleResult()
    assert len(tries) == 2
