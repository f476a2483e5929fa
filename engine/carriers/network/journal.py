"""The immutable log: one JSON object per line, appended and never rewritten. What it does not hold did not happen."""

import os
import time
from pathlib import Path
from typing import Any

import orjson


class Journal:
    """Written synchronously: a create is on disk's way before its answer is, so `kill -9` cannot hide one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, **fields: Any) -> None:
        """One line: `type`, `at` (real epoch seconds) and the fields."""
        os.write(self._fd, orjson.dumps({"type": kind, "at": time.time(), **fields}) + b"\n")

    def read(self, since: int) -> tuple[list[Any], int]:
        """The lines from byte offset `since` on, and the offset to go on from."""
        with self._path.open("rb") as file:
            file.seek(since)
            whole, _, _ = file.read().rpartition(b"\n")  # a line half written by a killed process is none
        return [orjson.loads(line) for line in whole.splitlines()], since + len(whole) + bool(whole)

    def end(self) -> int:
        """The byte offset at which the next line begins."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)
