"""The Lua scripts beside this file."""

from pathlib import Path


def source(*names: str) -> str:
    """The named files, one after the other, as one script."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text() for name in names)
