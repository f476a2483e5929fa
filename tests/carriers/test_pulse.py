"""The journal's own error: small while the loop turns, and never less than it stood still."""

import asyncio
import socket
import time

import pytest
from aiohttp import web

from engine.carriers.network.pulse import BEAT_S, ECHO_BEATS, Pulse, earliest_arrival
from engine.carriers.network.waited import waited_s

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


async def test_the_kernel_tells_how_long_a_request_has_waited() -> None:
    told: asyncio.Queue[float] = asyncio.Queue()

    async def serve(request: web.Request) -> web.Response:
        told.put_nowait(waited_s(request.transport))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", serve)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with socket.create_connection(runner.addresses[0]) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(STOOD_STILL_S)  # noqa: ASYNC251 - it is not even accepted yet
            assert await told.get() >= STOOD_STILL_S
    finally:
        await runner.cleanup()
    assert waited_s(None) == 0.0


STILL = [0.0, 0.01, 0.91]
QUICK = [0.92 + BEAT_S * n for n in range(ECHO_BEATS)]
SLOW = [0.95 + 0.08 * n for n in range(ECHO_BEATS)]  # after the same rest, on a machine that has little time


@pytest.mark.parametrize(
    ("beats", "earliest"),
    [
        ([0.0], 0.0),
        ([0.0, 0.01, 0.02, 0.03, 0.04, 0.05], 0.02),  # four turns
        ([*STILL, *QUICK[:5]], 0.01),  # it stood still, and still handles what came
        ([*STILL, *SLOW[:5]], 0.01),  # as many turns, though seconds later
        ([*STILL, *QUICK], QUICK[-4]),  # that was long ago
        ([*STILL, *SLOW], SLOW[-4]),
        ([0.0, 0.01, 0.91, 0.92, 1.62, 1.63, 1.64, 1.65, 1.66], 0.01),  # twice in a row
        ([0.0, 0.05, 0.1, 0.15, 0.2, 0.25], 0.1),  # busy, but never still
    ],
)
def test_what_came_while_nothing_was_read_is_handled_in_some_turns(beats: list[float], earliest: float) -> None:
    assert earliest_arrival(beats) == earliest
