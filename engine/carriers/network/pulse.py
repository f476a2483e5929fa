"""How far the journal's times may be behind the truth: what arrives while this process is busy is stamped late."""

import asyncio
import time
from collections import deque

BEAT_S = 0.01
_REMEMBERED = 4  # an arrival is read, parsed and handled in some turns of the loop, each with a beat of its own


class Pulse:
    """Beats while the loop turns. Between two late beats nothing was read."""

    def __init__(self) -> None:
        self._beats = deque([time.monotonic()], maxlen=_REMEMBERED)
        self._beat = asyncio.create_task(self._keep_beating())

    def lag_s(self) -> float:
        """What is handled now did not arrive earlier than this many seconds ago. Some 40 ms when all is well."""
        return time.monotonic() - self._beats[0]

    def stop(self) -> None:
        self._beat.cancel()

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._beats.append(time.monotonic())
