"""One wrong row holds up no other: what fails together is done by halves, until what is wrong stands alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def in_halves(
    events: tuple[str, str],
    items: Sequence[T],
    act: Callable[[Sequence[T]], Awaitable[None]],
    name: Callable[[T], Mapping[str, object]],
    *,
    split: Callable[[Sequence[T]], Sequence[T]] = lambda items: items,
    spared: tuple[type[Exception], ...] = (),
) -> list[T]:
    """Awaits `act(items)`; when that raises, the same for each half of what `split` makes of them.

    Returns the items that failed alone. `events` are the names of the log's lines: of a halving, and of such an item,
    with what `name` says of it. Raises what is `spared`, at once: an outage is no item's fault.
    """
    halved, impossible = events
    try:
        await act(items)
    except spared:
        raise
    except Exception as error:
        parts = split(items)
        if len(parts) < 2:
            log.exception(impossible, **name(items[0]))
            return list(items)
        log.warning(halved, size=len(parts), error=repr(error))
    else:
        return []
    middle, wrong = len(parts) // 2, list[T]()
    for half in (parts[:middle], parts[middle:]):
        wrong += await in_halves(events, half, act, name, split=split, spared=spared)
    return wrong
