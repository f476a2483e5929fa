"""Ctrl-C ends a run early."""

import asyncio
import signal
from contextlib import suppress


class Ending:
    """What was done until then is judged. A second Ctrl-C ends the run at once, and nothing is."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def listen(self) -> None:
        """From now on; in the main thread, under a running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._ask)

    async def sleep(self, seconds: float) -> None:
        """So long, or until it is asked."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    def _ask(self) -> None:
        self._asked.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
