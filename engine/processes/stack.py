"""All processes of Carillon under one supervisor: what `carillon dev`, the demo and the crash tests run."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe

from engine.processes.supervisor import Supervisor

HOST = "127.0.0.1"
CARRIER, AGENT, RELAY, COORDINATOR, WORKERS, API = "carrier", "agent", "relay", "coordinator", "worker", "api"
WEBHOOKS = "webhooks"
MODULES = {
    CARRIER: "engine.carriers.network.__main__",
    AGENT: "engine.carriers.agent.__main__",
    RELAY: "workers.relay",
    COORDINATOR: "workers.coordinator",
    WORKERS: "workers.worker",
    WEBHOOKS: "workers.webhooks",
    API: "api_min.serve",
}
CARRIER_ACCOUNT = "sim"
SIM_FILE = "sim.json"  # where `carillon sim` finds the network and the api
NETWORK_LAYER = 0  # stopped last: a draining worker still waits for the carrier's answers


@dataclass(frozen=True, slots=True)
class Network:
    """The simulated outside world: the carrier, and the agent that takes its calls."""

    carrier_url: str
    agent_url: str  # `ws://…`, the target of a `ws_media` agent
    carrier_log: Path  # JSON lines; every create it received: the judge of P2, P3 and P4
    agent_log: Path
    secret: str  # of our account at the carrier, and of the agent's tokens


def start_network(supervisor: Supervisor, folder: Path, config: Mapping[str, object] | None = None) -> Network:
    """Starts carrier and agent and waits until both listen; `config` is `engine.carriers.network.config.Config`'s."""
    carrier_log, agent_log, secret = folder / "carrier.jsonl", folder / "agent.jsonl", token_urlsafe(24)
    account = {"id": CARRIER_ACCOUNT, "secret": secret, "signing_secret": secret}
    config_file = write_private(folder / "carrier.json", json.dumps({**(config or {}), "accounts": [account]}))
    supervisor.start(
        CARRIER,
        MODULES[CARRIER],
        args=["--port", "0", "--log", str(carrier_log), "--config", str(config_file)],
        layer=NETWORK_LAYER,
    )
    supervisor.start(
        AGENT,
        MODULES[AGENT],
        {"CARILLON_AGENT_SECRET": secret},
        ["--port", "0", "--log", str(agent_log)],
        layer=NETWORK_LAYER,
    )
    carrier_port = supervisor.wait_ready(CARRIER)["port"]
    agent_url = supervisor.wait_ready(AGENT)["url"]
    return Network(f"http://{HOST}:{carrier_port}", str(agent_url), carrier_log, agent_log, secret)


def engine_environment(network: Network, port: int) -> dict[str, str]:
    """What the engine's processes need beyond the servers' URLs; the API listens on `port`."""
    return {
        "CARILLON_ENVIRONMENT": "development",
        "CARILLON_HOST": HOST,
        "CARILLON_PORT": str(port),
        "CARILLON_PUBLIC_URL": f"http://{HOST}:{port}",
        "CARILLON_SIMULATED_URL": network.carrier_url,
        "CARILLON_SIMULATED_SECRET": network.secret,
        "CARILLON_SECRET": network.secret,
        "CARILLON_WEBHOOK_ALLOW_PRIVATE": "True",
    }


def start_engine(supervisor: Supervisor, environment: Mapping[str, str], *, workers: int) -> None:
    """Starts relay, coordinator, webhooks, `workers` workers and the api, and waits until all are ready."""
    for name in (RELAY, COORDINATOR, WEBHOOKS, API):
        supervisor.start(name, MODULES[name], environment)
    supervisor.scale(WORKERS, workers, MODULES[WORKERS], environment)
    for child in supervisor.running():
        supervisor.wait_ready(child.name)


def choose_port(preferred: int) -> int:
    """`preferred` if it is free, else a port that is."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does: a port just closed is free
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("the kernel has no port left")


def write_private(path: Path, text: str) -> Path:
    """Writes a secret where only we can read it; a command line, everyone can."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path
