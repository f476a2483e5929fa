"""One stack per data folder: a lock that the guardian inherits, so it lasts until the servers have stopped."""

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from engine.embedded.processes import POLL_S, Process, note
from engine.errors import Misconfigured

LOCK = "lock"


def lock_folder(folder: Path, timeout_s: float = 40.0) -> int:
    """An open descriptor that holds the folder's lock; closing the last copy of it releases the lock.

    While the owner lives it raises Misconfigured at once. A dead owner's guardian may still be stopping its servers:
    for that it waits `timeout_s`, a little more than a server is given to stop.
    """
    deadline = time.monotonic() + timeout_s
    while (descriptor := _try_lock(folder / LOCK)) is None:
        owner = _read_owner(folder / LOCK)
        if owner and (owner.is_alive or time.monotonic() > deadline):
            raise Misconfigured(
                f"the data folder {folder} is in use by process {owner.pid}: stop that one, or name another folder"
            )
        time.sleep(POLL_S)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(note("owner", os.getpid()))).encode(), 0)
    return descriptor


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as failed:
        raise Misconfigured(f"the data folder {path.parent} belongs to another user: name another folder") from failed
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a guardian that deletes its folder takes the file away from under those who wait for it
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    os.close(descriptor)
    return None


def _read_owner(path: Path) -> Process | None:
    """None in the moment between taking the lock and writing into it."""
    try:
        return Process(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return None
