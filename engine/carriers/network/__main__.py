"""`python -m engine.carriers.network --log FILE [--port 0] [--seed N] [--speed S] [--config JSON|FILE]`."""

import argparse
import asyncio
import signal
from pathlib import Path

import uvloop

from engine.carriers.network.app import running
from engine.carriers.network.config import Config, load
from engine.embedded import lifeline


def main() -> None:
    lifeline.watch_parent()
    arguments = _arguments()
    config = load(arguments.config)
    changes = {name: getattr(arguments, name) for name in ("seed", "speed") if getattr(arguments, name) is not None}
    config = Config.model_validate({**config.model_dump(), **changes})
    uvloop.run(_serve(config, arguments))


async def _serve(config: Config, arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running(config, arguments.log, arguments.host, arguments.port) as network:
        lifeline.report_ready(port=network.port)
        await stopped.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine.carriers.network", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, appended")
    parser.add_argument("--seed", type=int, help="same seed, same history")
    parser.add_argument("--speed", type=float, help="divides every simulated duration")
    parser.add_argument("--config", default="{}", help="JSON text or a file of it, see engine.carriers.network.config")
    return parser.parse_args()


if __name__ == "__main__":
    main()
