"""The shortest script that still fails: entries are taken away, first in halves, then one by one, while it does.

Every entry of a script names its own occasion, so what is left means what it meant before.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from engine.simulation.script import Script

Fails = Callable[[Script], Awaitable[bool]]

_PARTS = ("faults", "deeds", "contacts", "one_offs")


async def shrink(script: Script, fails: Fails, most_tries: int = 500) -> Script:
    """`fails` must hold for `script`. Returns a script for which it holds as well, after at most so many tries."""
    tries = 0
    is_shorter = True
    while is_shorter and tries < most_tries:
        is_shorter = False
        for part in _PARTS:
            size = max(1, len(getattr(script, part)) // 2)
            while size and tries < most_tries:
                script, used, removed = await _without_runs(script, part, size, fails)
                tries += used
                is_shorter = is_shorter or removed
                size //= 2
    return script


async def _without_runs(script: Script, part: str, size: int, fails: Fails) -> tuple[Script, int, bool]:
    """Tries to do without each run of `size` entries."""
    start, tries, removed = 0, 0, False
    while start < len(getattr(script, part)):
        entries = getattr(script, part)
        change: dict[str, Any] = {part: entries[:start] + entries[start + size :]}
        shorter = replace(script, **change)
        tries += 1
        if await fails(shorter):
            script, removed = shorter, True
        else:
            start += size
    return script, tries, removed
