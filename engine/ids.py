"""Public ids: a prefix and 13 characters of Crockford base32 over one 63-bit number, so text order is numeric order.

`new_id()` puts 42 bits of milliseconds over 21 random bits: sortable by creation, no round trip, no shared counter.
Rows that arrive by the million (prospects, events) take PostgreSQL identities instead and share the same text form.

The simulation puts its own numbers in place (`under`), so that a history has the same ids on every store.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_WIDTH = 13
_EPOCH_MS = 1_704_067_200_000  # 2024-01-01: 42 bits of milliseconds last until 2163

_draw: ContextVar[Callable[[], int] | None] = ContextVar("draw", default=None)  # None: the machine's time and chance


@contextmanager
def under(draw: Callable[[], int]) -> Iterator[None]:
    """What is called and started inside takes its new ids from `draw`."""
    token = _draw.set(draw)
    try:
        yield
    finally:
        _draw.reset(token)


def new_id() -> int:
    """A fresh 63-bit id, greater than any of an earlier millisecond."""
    if (draw := _draw.get()) is not None:
        return draw()
    return ((time.time_ns() // 1_000_000 - _EPOCH_MS) << 21) | secrets.randbits(21)


def id_at(moment: datetime) -> int:
    """The smallest id that `new_id` gives at that moment (real time)."""
    return (int(moment.timestamp() * 1000) - _EPOCH_MS) << 21


def encode(prefix: str, number: int) -> str:
    """`encode("camp", 5)` is `camp_0000000000005`."""
    return f"{prefix}_{_digits(number)}"


def _digits(n: int) -> str:
    p = _PAIRS  # ten bits at a time: every event and create has three of these
    return (
        f"{_ALPHABET[n >> 60 & 31]}{p[n >> 50 & 1023]}{p[n >> 40 & 1023]}{p[n >> 30 & 1023]}"
        f"{p[n >> 20 & 1023]}{p[n >> 10 & 1023]}{p[n & 1023]}"
    )


_campaign_digits = lru_cache(maxsize=4096)(_digits)  # of the two in an attempt's name, the one that comes again


def public(prefix: str, number: int | None) -> str:
    """The public id, or an empty text for no number."""
    return "" if number is None else encode(prefix, number)


def decode(prefix: str, text: str) -> int | None:
    """The number behind a public id, or None when it is not one of this prefix (callers answer 404)."""
    head, _, body = text.partition("_")
    if head != prefix or len(body) != _WIDTH:
        return None
    number = 0
    for char in body:
        value = _VALUES.get(char)
        if value is None:
            return None
        number = number << 5 | value
    return number if number < 1 << 63 else None


def attempt_ref(campaign_id: int, prospect_id: int, attempt: int) -> str:
    """The attempt's name at the carrier: its idempotency key and the join key of every callback; ≤ 30 characters."""
    return f"{_campaign_digits(campaign_id)}-{_digits(prospect_id)}-{attempt}"


def parse_attempt_ref(ref: str) -> tuple[int, int, int] | None:
    """(campaign_id, prospect_id, attempt), or None for anything that `attempt_ref` did not write."""
    parts = ref.split("-")
    if len(parts) != 3 or not parts[2].isascii() or not parts[2].isdigit() or len(parts[2]) > 4:
        return None
    campaign_id, prospect_id = decode("", f"_{parts[0]}"), decode("", f"_{parts[1]}")
    if campaign_id is None or prospect_id is None:
        return None
    return campaign_id, prospect_id, int(parts[2])
