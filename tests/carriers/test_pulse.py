"""The journal's own error: small while the loop turns, and never less than it stood still."""

import asyncio
import time

import pytest

from engine.carriers.network.pulse import BEAT_S, ECHO_S, Pulse, earliest_arrival

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


@pytest.mark.parametrize(
    ("beats", "now", "earliest"),
    [
        ([0.0], 0.005, 0.0),
        ([0.0, 0.01, 0.02, 0.03, 0.04, 0.05], 0.055, 0.02),  # four turns
        ([0.0, 0.01, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96], 0.965, 0.01),  # it stood still, and still handles what came
        ([0.0, 0.01, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96], 0.92 + ECHO_S, 0.93),  # that was long ago
        ([0.0, 0.05, 0.1, 0.15, 0.2, 0.25], 0.25, 0.1),  # busy, but never still
    ],
)
def test_what_came_while_nothing_was_read_is_handled_in_some_turns(
    beats: list[float], now: float, earliest: float
) -> None:
    assert earliest_arrival(beats, now) == earliest
