"""`carillon dev`: embedded servers, migrations, seed data and every process, in one terminal, until Ctrl-C."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from engine.embedded.servers import RunningServers, Servers, start_servers
from engine.errors import Unavailable
from engine.processes.stack import (
    HOST,
    MODULES,
    SIM_FILE,
    choose_port,
    engine_environment,
    start_engine,
    start_network,
    write_private,
)
from engine.processes.supervisor import Supervisor, TerminalLog
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.store.seed import seed_dev

LOOK_S = 1.0
PREFERRED_PORT = 8000
KEY_FILE = "key"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help=f"Port of the API; 0: {PREFERRED_PORT}, or a free one.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    folder: Annotated[Path, typer.Option(help="Data, kept between runs.")] = Path(".carillon"),
) -> None:
    """Run everything in one terminal, on embedded servers; Ctrl-C stops it."""
    with stopped_by_signals(), start_servers(folder, keep=True) as running:
        run(running, port or choose_port(PREFERRED_PORT), workers)


def run(running: RunningServers, port: int, workers: int) -> None:
    """Raises Unavailable when a process ends by itself: in development that is to be seen, not hidden by a restart."""
    servers = running.servers
    log = TerminalLog(sys.stdout)
    log("dev", f"data in {servers.folder}")
    with Supervisor(servers.environment(), log, forks=MODULES.values()) as supervisor:
        network = start_network(supervisor, servers.folder)
        environment = engine_environment(network, port)
        key = prepare(servers, network.agent_url)
        start_engine(supervisor, environment, workers=workers)
        places = {"network": network.carrier_url, "api": environment["CARILLON_PUBLIC_URL"]}
        write_private(servers.folder / SIM_FILE, json.dumps(places))
        for line in (f"ready: http://{HOST}:{port} (documentation at /docs)", f"key: {key}", "Ctrl-C stops everything"):
            log("dev", line)
        watch(supervisor, running)


def prepare(servers: Servers, agent_url: str) -> str:
    """Migrates and seeds; answers the `tk_test_…` key, the same at every start on this folder."""
    upgrade(servers.database_url)
    kept = servers.folder / KEY_FILE
    secret = kept.read_text().strip() if kept.exists() else None
    key = asyncio.run(_seed(servers.database_url, secret, agent_url))
    write_private(kept, key)
    return key


async def _seed(database_url: str, secret: str | None, agent_url: str) -> str:
    engine = connect(database_url, pool_size=1)
    try:
        return (await seed_dev(engine, secret=secret, agent={"kind": "ws_media", "url": agent_url})).key
    finally:
        await engine.dispose()


def watch(supervisor: Supervisor, running: RunningServers) -> None:
    """Returns never: it ends with Unavailable when a child or a server does, or by the signal that stops us."""
    while True:
        if child := supervisor.wait_for_death(LOOK_S):
            raise Unavailable(child.obituary())
        if dead := running.dead():
            raise Unavailable(f"the embedded {' and '.join(dead)} ended; see the logs in {running.servers.folder}")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM or a closed terminal end the block in order, however often they come, with exit code 0."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_signal_number: int, _frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # stopping is bounded; hurrying it would only leave work undone
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    except KeyboardInterrupt:
        print("stopped")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
