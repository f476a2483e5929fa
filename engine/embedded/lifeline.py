"""What a supervised process owes its supervisor: to say when it is ready, and to end when the supervisor is gone.

Both work over inherited pipes named by the environment, and do nothing in a process that nobody supervises.
"""

import json
import os
import signal
import threading

LIFELINE_FD = "CARILLON_LIFELINE_FD"
READY_FD = "CARILLON_READY_FD"
GRACE_S = 5.0


def watch_parent() -> None:
    """Ends this process when its supervisor does, by `kill -9` too: SIGTERM to itself, SIGKILL `GRACE_S` later.

    Called first by every `main()`. The supervisor alone holds the pipe's other end, so reading it blocks until then.
    """
    descriptor = _take(LIFELINE_FD)
    if descriptor is not None:
        threading.Thread(target=_end_with, args=(descriptor,), name="lifeline", daemon=True).start()


def report_ready(**facts: object) -> None:
    """Tells the supervisor that this process does its work now; `facts` are what it chose itself, such as `port`."""
    descriptor = _take(READY_FD)
    if descriptor is not None:
        with os.fdopen(descriptor, "w") as pipe:
            pipe.write(json.dumps(facts) + "\n")


def _take(variable: str) -> int | None:
    """The descriptor, once: children of this process inherit neither it nor its name."""
    value = os.environ.pop(variable, None)
    if value is None:
        return None
    os.set_inheritable(int(value), False)
    return int(value)


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
