"""The journal's own error: small while the loop turns, and never less than it stood still."""

import asyncio
import time

from engine.carriers.network.pulse import BEAT_S, Pulse

STOOD_STILL_S = 0.2


async def test_the_lag_covers_what_blocked_the_loop() -> None:
    pulse = Pulse()
    try:
        await asyncio.sleep(BEAT_S)
        time.sleep(STOOD_STILL_S)  # noqa: ASYNC251 - the very thing to be noticed
        await asyncio.sleep(0)
        assert pulse.lag_s() >= STOOD_STILL_S
    finally:
        pulse.stop()
