"""A whole Carillon of which each process, PostgreSQL, Redis and the carrier have a machine of their own."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from api_min.cli.demo.world import seed
from engine.embedded.servers import Servers
from engine.processes import stack as processes
from engine.processes.stack import MODULES, choose_port, engine_environment, write_private
from engine.processes.supervisor import Supervisor, TerminalLog
from engine.store.migrate import upgrade
from tests.acceptance.stack import CIVIL_SPEED, PATIENCE, SPEED, Stack, register_senders
from tests.network.namespaces import Machine, Network
from tests.own_servers import Redis, home, new_postgres

POSTGRES, REDIS, CARRIER = "postgres", "redis", "carrier"
PROCESSES = ["worker-1", "worker-2", "coordinator-1", "coordinator-2", "relay", "api"]
SECRET = "network-secret"
SETTINGS = {
    "CARILLON_HINT_LEASE_S": "4",  # what died with a queue or a worker is enqueued again after this
    "CARILLON_CARRIER_TIMEOUT_S": "2",
    "CARILLON_RECONCILE_AFTER_S": "1",
}


@dataclass(slots=True)
class World:
    stack: Stack
    machines: dict[str, Machine]

    def cut(self, one: str, other: str) -> None:
        self.machines[one].cut(self.machines[other])

    def mend(self, one: str, other: str) -> None:
        self.machines[one].mend(self.machines[other])

    def cut_answers(self, client: str, server: str) -> None:
        self.machines[server].cut_answers(self.machines[client])

    def mend_answers(self, client: str, server: str) -> None:
        self.machines[server].mend(self.machines[client])

    async def has(self, process: str, name: str, value: float) -> bool:
        return await self.figure(process, name) == value

    async def figure(self, process: str, name: str) -> float:
        """The sum of one metric of one process over all its labels."""
        port = self.stack.supervisor.child(process).facts
        assert port is not None
        url = f"http://{self.machines[process].address}:{port['metrics_port']}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = (await answer.text()).splitlines()
        found = [line for line in lines if line.partition("{")[0].split()[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@contextmanager
def running_world(network: Network, folder: Path) -> Iterator[World]:
    """The test's thread is on a machine of its own meanwhile."""
    machines = {name: network.plug() for name in ["test", POSTGRES, REDIS, CARRIER, *PROCESSES]}
    with home(folder / "servers") as made, machines["test"].entered(), (folder / "processes.log").open("w") as lines:
        postgres = new_postgres(made, POSTGRES, machines[POSTGRES].address)
        redis = Redis(made, REDIS, machines[REDIS].address)
        servers = Servers(postgres.url, redis.url(1), redis.url(0), folder)
        try:
            for name, server in ((POSTGRES, postgres), (REDIS, redis)):
                with machines[name].entered():
                    server.start()
            with Supervisor(servers.environment(), TerminalLog(lines)) as supervisor:
                yield _start(supervisor, servers, machines, folder)
        finally:
            redis.stop()
            postgres.stop()


def _start(supervisor: Supervisor, servers: Servers, machines: dict[str, Machine], folder: Path) -> World:
    network = _start_carrier(supervisor, machines[CARRIER], folder)
    address, port = machines["api"].address, choose_port(0)
    url = f"http://{address}:{port}"
    places = {"CARILLON_HOST": address, "CARILLON_PUBLIC_URL": url}
    environment = {**engine_environment(network, port), **SETTINGS, **places}
    upgrade(servers.database_url)
    key, _, _ = asyncio.run(seed(servers.database_url, network.agent_url, CIVIL_SPEED))
    for name in PROCESSES:
        machine = machines[name]
        with machine.entered():
            module = MODULES[name.partition("-")[0]]
            supervisor.start(name, module, {**environment, "CARILLON_METRICS_HOST": machine.address})
    for name in PROCESSES:
        supervisor.wait_ready(name)
    stack = Stack(servers, supervisor, network, environment, url, key, folder / "processes.log")
    asyncio.run(register_senders(stack))
    return World(stack, machines)


def _start_carrier(supervisor: Supervisor, machine: Machine, folder: Path) -> processes.Network:
    """With the agents' side on the same machine."""
    account = {"id": processes.CARRIER_ACCOUNT, "secret": SECRET, "signing_secret": SECRET}
    config = {"seed": 4, "speed": SPEED, "latency": PATIENCE, "accounts": [account]}
    config_file = write_private(folder / "carrier.json", json.dumps(config))
    carrier_log, agent_log = folder / "carrier.jsonl", folder / "agent.jsonl"
    own = ["--host", machine.address]
    with machine.entered():
        args = [*own, "--log", str(carrier_log), "--config", str(config_file)]
        supervisor.start("carrier", MODULES["carrier"], args=args, layer=processes.NETWORK_LAYER)
        secret = {"CARILLON_AGENT_SECRET": SECRET}
        supervisor.start(
            "agent", MODULES["agent"], secret, [*own, "--log", str(agent_log)], layer=processes.NETWORK_LAYER
        )
    carrier_url = f"http://{machine.address}:{supervisor.wait_ready('carrier')['port']}"
    agent_url = str(supervisor.wait_ready("agent")["url"])
    return processes.Network(carrier_url, agent_url, carrier_log, agent_log, SECRET)
