"""`bench lifecycle`: whole voice calls over HTTP: create, callbacks, commands, events, at a carrier that never waits.

Real processes and the real protocol, on the same few CPUs, the simulated carrier among them: its share is told apart.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.embedded.servers import Servers
from engine.processes.stack import AGENT, CARRIER, choose_port, engine_environment, start_network
from workers.bench import campaigns, contacts
from workers.bench.contacts import Plan
from workers.bench.databases import Databases
from workers.bench.engine_side import Engine
from workers.bench.figures import Figure, Line, Result, Sample, alternate

CALL = "voice call"
_SIMULATED = (CARRIER, AGENT)  # groups that are not ours
# Below what two busy cores can do: with all calls at once, callbacks would wait until the carrier repeats them. What a
# core can do is told by the CPU time that a call takes.
CALLS_PER_SECOND = 150.0
_SOON = (0.0, 0.02)
_WAITS = (
    *("setup_s", "ring_s", "greeting_s", "machine_greeting_s", "amd_s", "beep_s"),
    *("screening_s", "talk_s", "patience_s", "record_s", "playback_s", "bridge_s"),
)
# People who answer at once, and no agent to take them: ringing, answered, verdict, our hang-up, end.
_NETWORK = {"voice_mix": {"human": 1.0}, "latency": dict.fromkeys(_WAITS, _SOON)}
_STAGES = ("intent", "create", "settle", "limiter_wait")


def run(servers: Servers, size: int, rounds: int, tell: Callable[[str], None]) -> Result:
    with Databases(servers) as databases:
        (line,) = alternate({CALL: lambda: measure(servers, databases, size)}, rounds, tell)
    return Result("lifecycle", "call", [line], _figures(line))


def measure(servers: Servers, databases: Databases, size: int, profiles: Path | None = None) -> Sample:
    """One round: a campaign of calls that people answer, start to end; raises as `campaigns.run`."""
    plan = Plan((size,), carrier="simulated-command", calls_per_second=CALLS_PER_SECOND)
    with (
        databases.fresh("calls", lambda url: contacts.fill(url, plan)) as url,
        tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder,
        Engine(servers, url, campaigns.UNLIMITED, profiles) as engine,
    ):
        campaigns.set_clock(url)
        network = start_network(engine.supervisor, Path(folder), _NETWORK)
        engine.supervisor.environment |= engine_environment(network, choose_port(0))
        engine.start(with_api=True)
        sample = campaigns.run(servers, url, engine, plan)
        return replace(sample, extra={**sample.extra, **_stages(engine)})


def _stages(engine: Engine) -> dict[str, float]:
    """Seconds that the workers' batches spent in each stage; stages of different batches overlap."""
    return {f"{stage}_s": engine.metric(f"carillon_{stage}_seconds_sum") for stage in _STAGES}


def _figures(line: Line) -> dict[str, Figure]:
    """Per core: of one that does nothing but our part, whoever plays the carrier."""
    shares = line.cpu_us()
    total = shares.pop("total")
    ours = sum(share for group, share in shares.items() if group not in _SIMULATED)
    return {
        "per_second_per_core": 1e6 / ours,
        "per_second_per_core_with_carrier": 1e6 / total,
        **{f"share_of_{group}": share / ours for group, share in shares.items() if group not in _SIMULATED},
        **{name: value for name, value in line.extra().items() if name.endswith("_s")},
    }
