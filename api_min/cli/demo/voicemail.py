"""The recording that machines hear, served over loopback: a real WAV file, which the network really fetches."""

import io
import math
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

_PATH = "/voicemail.wav"
_RATE_HZ, _SECONDS, _TONE_HZ, _LOUDNESS = 8_000, 1, 440, 60


def recording() -> bytes:
    """One second of a tone, 8 kHz, 8 bit, mono."""
    samples = (
        128 + round(_LOUDNESS * math.sin(2 * math.pi * _TONE_HZ * n / _RATE_HZ)) for n in range(_RATE_HZ * _SECONDS)
    )
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(_RATE_HZ)
        sound.writeframes(bytes(samples))
    return buffer.getvalue()


@asynccontextmanager
async def serving(host: str) -> AsyncIterator[str]:
    """The recording's URL, on a free port, until the block ends."""
    sound = recording()

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=sound, content_type="audio/wav")

    app = web.Application()
    app.add_routes([web.get(_PATH, answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        yield f"http://{host}:{runner.addresses[0][1]}{_PATH}"
    finally:
        await runner.cleanup()
