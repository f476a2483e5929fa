"""The Lua scripts beside this file."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

Script = Callable[[list[str], list[str]], Awaitable[Any]]  # keys, arguments → reply


class Scripting(Protocol):
    """What runs scripts: `redis.asyncio.Redis`, or its twin in a simulation."""

    def register_script(self, script: str) -> Script: ...


def source(*names: str) -> str:
    """The named files, one after the other, as one script."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text() for name in names)
