"""How far the journal's times may be behind the truth: what arrives while this process is busy is stamped late.

The kernel tells how long a request has waited (`waited`), but not of a connection that its client has given up.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence

BEAT_S = 0.01
STILL_S = 0.1  # between two beats: the process, or the machine, stood still
ECHO_BEATS = 30  # for so long those that came meanwhile are handled: a hundred take some turns to be accepted, and on
# a machine that has little time for them a turn takes many milliseconds
_TURNS = 4  # an arrival is read, parsed and handled in some turns of the loop, each with a beat of its own
_REMEMBERED = 40  # beats: those of an echo, and the ones before it


class Pulse:
    """Beats while the loop turns. Between two late beats nothing was read."""

    def __init__(self) -> None:
        self._beats = deque([time.monotonic()], maxlen=_REMEMBERED)
        self._beat = asyncio.create_task(self._keep_beating())

    def lag_s(self) -> float:
        """What is handled now did not arrive earlier than this many seconds ago. Some 40 ms when all is well."""
        return time.monotonic() - earliest_arrival(self._beats)

    def stop(self) -> None:
        self._beat.cancel()

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._beats.append(time.monotonic())


def earliest_arrival(beats: Sequence[float]) -> float:
    """When the oldest of what is handled now can have come, by the times of the latest beats, ascending."""
    last = len(beats) - 1
    stills = (at for at in range(max(0, last - ECHO_BEATS), last) if beats[at + 1] - beats[at] >= STILL_S)
    return beats[min([*stills, max(0, last + 1 - _TURNS)])]
