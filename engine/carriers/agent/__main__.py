"""`CARILLON_AGENT_SECRET=… python -m engine.carriers.agent --log FILE [--port 0] [--hang-up-after-frames N]`."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from engine.carriers.agent.app import running
from engine.embedded import lifeline

SECRET_VARIABLE = "CARILLON_AGENT_SECRET"


def main() -> None:
    lifeline.watch_parent()
    arguments = _arguments()
    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        sys.exit(f"{SECRET_VARIABLE} is not set: the agent cannot tell a real stream from a forged one without it")
    uvloop.run(_serve(secret, arguments))


async def _serve(secret: str, arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running(secret, arguments.log, arguments.host, arguments.port, arguments.hang_up_after_frames) as agent:
        lifeline.report_ready(port=agent.port, url=agent.url)
        await stopped.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine.carriers.agent", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, appended")
    parser.add_argument("--hang-up-after-frames", type=int, default=0, help="0: stay until the caller's side ends")
    return parser.parse_args()


if __name__ == "__main__":
    main()
