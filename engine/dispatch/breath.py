"""Long loops that let the event loop run between their steps.

Send slots are met to within 15 ms. Folding five hundred attempts at once holds the loop for longer than that, so the
hot loops give way after every few dozen rows.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")

STEPS = 50  # at some 50 µs each: 2.5 ms


async def breathing(items: Sequence[T]) -> AsyncIterator[T]:
    """The items in order, with a turn of the loop after every `STEPS`."""
    for number, item in enumerate(items, 1):
        yield item
        if number % STEPS == 0:
            await asyncio.sleep(0)
