"""`bench lifecycle`: whole voice calls over HTTP: create, callbacks, commands, events, at a carrier that never waits.

Real processes and the real protocol, on the same few CPUs, the simulated carrier among them: its share is told apart.
The same number of calls is made of campaigns of very different sizes: what a call costs must not grow with them.

Then an open loop at half that load: prospects fall due one by one, whatever the engine does, and what counts is the
time from a prospect's `next_attempt_at` until its create stands at the carrier's door. The first seconds are left out:
lanes and buckets that Redis has not seen before begin with a window's wait, so that no flush ever allows a burst.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psycopg

from engine.checks.evidence import read_creates
from engine.clock import Clock
from engine.embedded.servers import Servers
from engine.ids import parse_attempt_ref
from engine.processes.stack import AGENT, CARRIER, choose_port, engine_environment, start_network
from workers.bench import campaigns, contacts, profiled
from workers.bench.contacts import Plan
from workers.bench.databases import Databases
from workers.bench.engine_side import Engine
from workers.bench.figures import Figure, Goal, Line, Result, Sample, alternate

GROWS = (5, 50, 500)  # prospects in the campaign for each call that is made
MOST_GROWTH = 1.2
_SIMULATED = (CARRIER, AGENT)  # groups that are not ours
# Below what two busy cores can do: with all calls at once, callbacks would wait until the carrier repeats them. What a
# core can do is told by the CPU time that a call takes.
CALLS_PER_SECOND = 150.0
# As simulated: 20 ms. What is reported are conversations of a minute, or every number would soon be at rest.
_SPEED = 4_000.0
_SOON = (0.0, 0.02 * _SPEED)
_RINGS = (0.0, 20.0)  # nobody waits for longer than 25
_WAITS = (
    *("setup_s", "greeting_s", "machine_greeting_s", "amd_s", "beep_s"),
    *("screening_s", "talk_s", "patience_s", "record_s", "playback_s", "bridge_s"),
)
# People who answer at once, and no agent to take them: ringing, answered, verdict, our hang-up, end.
_NETWORK = {
    "voice_mix": {"human": 1.0},
    "speed": _SPEED,
    "latency": {**dict.fromkeys(_WAITS, _SOON), "ring_s": _RINGS},
}
_BEGINS_S = 3.0
_WARM_UP_S = 3.0
_STAGGER = """
    update prospects p set next_attempt_at = %(first)s + nth * make_interval(secs => %(step_s)s)
      from (select campaign_id, id, row_number() over (order by id) as nth from prospects) n
     where p.campaign_id = n.campaign_id and p.id = n.id returning p.id, p.next_attempt_at
"""
_STAGES = ("intent", "create", "settle", "limiter_wait")


class _Stage(NamedTuple):
    url: str
    engine: Engine
    clock: Clock
    carrier_log: Path


def run(
    servers: Servers, size: int, rounds: int, tell: Callable[[str], None], *, profiles: Path | None = None
) -> Result:
    """`size` calls of each campaign. `profiles`: a folder for the stacks of a round more, which is not counted."""
    with Databases(servers) as databases:
        lines = alternate(
            {f"of {size * more:,}": partial(measure, servers, databases, size, size * more) for more in GROWS},
            rounds,
            tell,
        )
        tell(f"open loop at {CALLS_PER_SECOND / 2:g}/s")
        latencies = open_loop(servers, databases, size)
        hottest = _profile(servers, databases, size, profiles) if profiles else {}
    growth = lines[-1].cpu_us()["total"] / lines[0].cpu_us()["total"]
    figures: dict[str, Figure] = {**_figures(lines[0]), "growth": growth, **latencies, **hottest}
    return Result("lifecycle", "call", lines, figures, [Goal("growth", MOST_GROWTH, is_most=True)])


def measure(servers: Servers, databases: Databases, calls: int, of: int, profiles: Path | None = None) -> Sample:
    """One round: `calls` calls that people answer, of a campaign of `of`; raises as `campaigns.run_some`."""
    plan = Plan((of,), carrier="simulated-command", calls_per_second=CALLS_PER_SECOND)
    with _stage(servers, databases, plan, profiles) as stage:
        sample = campaigns.run_some(servers, stage.url, stage.engine, calls)
        return replace(sample, extra=_stages(stage.engine))


def _profile(servers: Servers, databases: Databases, calls: int, folder: Path) -> dict[str, Figure]:
    """Where each of our processes spends its time, in words; the whole of it is then in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    measure(servers, databases, calls, calls * GROWS[0], folder)
    return {f"{process} spends most in": words for process, words in profiled.hottest(folder).items()}


def open_loop(servers: Servers, databases: Databases, calls: int) -> dict[str, float]:
    """Milliseconds from `next_attempt_at` to the carrier's door, the median and the 99th percentile."""
    plan = Plan((calls,), carrier="simulated-command")
    with _stage(servers, databases, plan) as stage:
        due = _stagger(stage.url, stage.clock)
        warm_at = min(min(due.values()) + _WARM_UP_S, max(due.values()))
        campaigns.run(servers, stage.url, stage.engine, plan)
        late = sorted(
            create.at - due[parsed[1]]
            for create in read_creates(stage.carrier_log)
            if (parsed := parse_attempt_ref(create.ref)) is not None and due[parsed[1]] >= warm_at
        )
    return {"open_loop_p50_ms": 1e3 * late[len(late) // 2], "open_loop_p99_ms": 1e3 * late[len(late) * 99 // 100]}


def _stagger(url: str, clock: Clock) -> dict[int, float]:
    """Makes the prospects due one after the other, from soon on; returns when (real epoch s), by id."""
    first = clock.engine_at(time.time() + _BEGINS_S)
    with psycopg.connect(url) as connection:
        rows = connection.execute(_STAGGER, {"first": first, "step_s": 2 / CALLS_PER_SECOND}).fetchall()
    return {prospect_id: clock.real_at(at) for prospect_id, at in rows}


@contextmanager
def _stage(servers: Servers, databases: Databases, plan: Plan, profiles: Path | None = None) -> Iterator[_Stage]:
    with (
        databases.fresh(f"calls of {plan.total}", lambda url: contacts.fill(url, plan)) as url,
        tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder,
        Engine(servers, url, campaigns.UNLIMITED, profiles) as engine,
    ):
        clock = campaigns.set_clock(url)
        network = start_network(engine.supervisor, Path(folder), _NETWORK)
        engine.supervisor.environment |= engine_environment(network, choose_port(0))
        engine.start(with_api=True)
        yield _Stage(url, engine, clock, network.carrier_log)


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
